// The layer x head grid: a table whose cells are as dark as their head has sinks, moved through by arrow keys.

import { make } from "./dom.js";
import { t } from "./i18n.js";

/** @typedef {{layer: number, head: number}} Cell */

/**
 * Draw the table.
 * @param {any} result answer of `/v1/eah/inspect`
 * @param {(cell: Cell) => void} onLook called for the cell under the pointer or the focus
 * @param {(cell: Cell) => void} onUse called for the cell that is clicked, or chosen by Enter
 * @returns {HTMLTableElement}
 */
export function draw(result, onLook, onUse) {
  const heads = Math.max(...result.layers.map((/** @type {any} */ layer) => layer.heads?.length ?? 0));
  const numbers = Array.from({ length: heads }, (_, head) => make("th", { scope: "col" }, String(head)));
  const top = make("tr", {}, make("th", { scope: "col", class: "corner" }, t("layer_by_head")), ...numbers);
  const rows = result.layers.map((/** @type {any} */ layer) => row(layer, heads));
  const table = make("table", { class: "grid", role: "grid", "aria-label": t("grid_label") }, make("thead", {}, top), make("tbody", {}, ...rows));
  const first = table.querySelector("td[data-head]");
  if (first) first.tabIndex = 0;
  const cellOf = (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).closest("td[data-head]");
  const about = (/** @type {(cell: Cell) => void} */ then) => (/** @type {Event} */ event) => {
    const cell = /** @type {HTMLElement | null} */ (cellOf(event));
    if (cell) then({ layer: Number(cell.dataset.layer), head: Number(cell.dataset.head) });
  };
  table.addEventListener("pointerover", about(onLook));
  table.addEventListener("focusin", about(onLook));
  table.addEventListener("click", (/** @type {Event} */ event) => {
    // A finger cannot point without tapping, so a tap only looks; the button below the picture uses the head.
    const touched = event instanceof PointerEvent && event.pointerType === "touch";
    about(touched ? onLook : onUse)(event);
  });
  table.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const cell = /** @type {HTMLElement | null} */ (cellOf(event));
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      about(onUse)(event);
    } else if (move(cell, event.key)) event.preventDefault();
  });
  return table;
}

/**
 * @param {any} layer
 * @param {number} heads
 */
function row(layer, heads) {
  const header = make("th", { scope: "row" }, String(layer.layer));
  if (!layer.heads) return make("tr", {}, header, make("td", { colspan: heads, class: "reason" }, layer.reason));
  const cells = layer.heads.map((/** @type {any} */ one) => make("td", { "data-layer": layer.layer, "data-head": one.head, tabindex: -1 }));
  return make("tr", {}, header, ...cells);
}

/**
 * Colour and name every cell for one threshold; nothing is asked again.
 * @param {HTMLTableElement} table
 * @param {any} result
 * @param {number} at place of the threshold in the request
 */
export function paint(table, result, at) {
  const layers = new Map(result.layers.map((/** @type {any} */ layer) => [layer.layer, layer]));
  const heads = result.layers.flatMap((/** @type {any} */ layer) => layer.heads ?? []);
  const most = Math.max(1, ...heads.map((/** @type {any} */ one) => one.sinks[at]));
  for (const cell of /** @type {NodeListOf<HTMLElement>} */ (table.querySelectorAll("td[data-head]"))) {
    const layer = /** @type {any} */ (layers.get(Number(cell.dataset.layer)));
    const head = Number(cell.dataset.head);
    const sinks = layer.heads[head].sinks[at];
    const isSource = layer.source_head[at] === head && sinks > 0;
    cell.style.setProperty("--share", String(sinks / most));
    cell.classList.toggle("source", isSource);
    cell.setAttribute("aria-label", sentence(result, { layer: layer.layer, head }, at) + (isSource ? ` ${t("is_source")}` : ""));
  }
}

/**
 * What is said of a cell.
 * @param {any} result
 * @param {Cell} cell
 * @param {number} at
 */
export function sentence(result, cell, at) {
  const layer = result.layers.find((/** @type {any} */ one) => one.layer === cell.layer);
  return t("cell", { ...cell, sinks: layer.heads[cell.head].sinks[at], image_tokens: result.image_tokens });
}

/**
 * Move the focus to a neighbour; rows that hold no heads are skipped.
 * @param {HTMLElement} cell
 * @param {string} key
 */
function move(cell, key) {
  const rows = [.../** @type {HTMLElement} */ (cell.closest("tbody")).querySelectorAll("tr")]
    .map((one) => /** @type {HTMLElement[]} */ ([...one.querySelectorAll("td[data-head]")]))
    .filter((cells) => cells.length);
  const y = rows.findIndex((cells) => cells.includes(cell));
  const x = rows[y].indexOf(cell);
  /** @type {Record<string, HTMLElement | undefined>} */
  const targets = {
    ArrowLeft: rows[y][x - 1],
    ArrowRight: rows[y][x + 1],
    ArrowUp: rows[y - 1]?.[x],
    ArrowDown: rows[y + 1]?.[x],
    Home: rows[y][0],
    End: rows[y].at(-1),
  };
  const next = targets[key];
  if (!next) return key in targets;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
  return true;
}
