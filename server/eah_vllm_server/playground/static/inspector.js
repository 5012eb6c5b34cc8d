// The inspector: which heads of which layers have vision sinks, and where in the picture.

import { ServerError, callJson, isStop } from "./api.js";
import { byId, make, say } from "./dom.js";
import * as grid from "./grid.js";
import * as heat from "./heat.js";
import { number, onLanguage, t } from "./i18n.js";
import { MIDDLE, absolute, ladder } from "./ladder.js";
import { onPicture, picture } from "./picture.js";
import { messages, model } from "./request.js";
import { change, settings } from "./settings.js";
import { errorText } from "./side.js";
import * as tabs from "./tabs.js";

/** Milliseconds for which the pointer rests on a cell before its map is asked for: each map is a pass of the prompt. */
const REST = 150;

/** @typedef {import("./grid.js").Cell} Cell */

/** @type {{asked: any, result: any, steps: import("./ladder.js").Ladder, at: number, cell: Cell | null}} */
const state = { asked: null, result: null, steps: { option: "threshold", values: [] }, at: MIDDLE, cell: null };
/** @type {Map<string, any>} maps by layer and head */
const maps = new Map();
/** @type {AbortController | null} */
let asking = null;
let resting = 0;
/** @type {any} */
let table = null;

/** Make the panel. */
export function start() {
  byId("inspector").replaceChildren(
    make("p", { class: "quiet", "data-t": "inspector_intro" }, t("inspector_intro")),
    make("div", { class: "row" }, make("button", { id: "inspect", class: "main", "data-t": "inspect", onclick: () => void inspect() }, t("inspect"))),
    make("p", { id: "inspect-said", class: "quiet", role: "status" }),
    make("p", { id: "inspect-error", class: "error", role: "alert", hidden: true }),
    make(
      "div",
      { id: "inspected", hidden: true },
      make("label", { for: "threshold", "data-t": "threshold_slider" }, t("threshold_slider")),
      make("div", { class: "row" }, make("input", { id: "threshold", type: "range", min: 0, step: 1, oninput: slide }), make("output", { id: "threshold-said", for: "threshold" })),
      make("div", { class: "inspected" },
        make("div", { id: "grid", class: "scroll" }),
        make("figure", {},
          make("div", { class: "overlay" }, make("img", { id: "inspected-picture", alt: "" }), make("canvas", { id: "heat", role: "img" })),
          make("figcaption", {}, make("p", { id: "cell-said", role: "status" })),
          make("button", { id: "use-head", class: "small", hidden: true, onclick: () => state.cell && use(state.cell) }),
        ),
      ),
      make("p", { class: "legend quiet" }, make("span", { class: "scale", "aria-hidden": "true" }), make("span", { "data-t": "grid_legend" }, t("grid_legend"))),
    ),
  );
  onPicture(stale);
  onLanguage(render);
}

/** Ask for all heads of all layers, at every threshold of the slider. */
async function inspect() {
  if (!picture.now) return say(byId("inspect-error"), t("no_picture"));
  const steps = ladder();
  const asked = { model: model(), messages: messages(picture.now.url), [`${steps.option}s`]: steps.values };
  const url = picture.now.url;
  byId("inspect").disabled = true;
  say(byId("inspect-error"), "");
  say(byId("inspect-said"), t("inspecting"));
  try {
    const result = await callJson("v1/eah/inspect", bodyOf(asked));
    Object.assign(state, { asked, result, steps, cell: null });
    state.at = Math.min(MIDDLE, steps.values.length - 1);
    maps.clear();
    byId("inspected-picture").src = url;
    render();
  } catch (error) {
    say(byId("inspect-said"), "");
    const none = error instanceof ServerError && [404, 405].includes(error.status);
    say(byId("inspect-error"), none ? t("no_inspector", { message: errorText(error) }) : errorText(error));
  }
  byId("inspect").disabled = false;
}

/**
 * @param {any} asked
 * @param {object} [more]
 */
function bodyOf(asked, more = {}) {
  const { model, messages, ...thresholds } = asked;
  return { model, messages, eah: { ...thresholds, ...more } };
}

/** What was inspected is another picture than the one that is chosen now. */
function stale() {
  if (state.result) say(byId("inspect-said"), t("stale"));
}

function render() {
  byId("inspected").hidden = !state.result;
  if (!state.result) return;
  const { prompt_tokens, image_tokens } = state.result;
  say(byId("inspect-said"), t("inspected", { prompt_tokens, image_tokens }));
  table = grid.draw(state.result, rest, use);
  byId("grid").replaceChildren(table);
  byId("threshold").max = state.steps.values.length - 1;
  byId("threshold").value = state.at;
  show();
}

function slide() {
  state.at = byId("threshold").valueAsNumber;
  show();
}

/** Show the threshold, the grid and the cell; all of it from what the server has said already. */
function show() {
  const { option, values } = state.steps;
  const mean = number(absolute(state.steps, state.at, state.result.prompt_tokens));
  const said = option === "threshold" ? mean : t("relative", { value: number(values[state.at]), mean });
  byId("threshold-said").textContent = said;
  byId("threshold").setAttribute("aria-valuetext", said);
  grid.paint(table, state.result, state.at);
  showCell();
}

function showCell() {
  const { cell, result } = state;
  const map = cell && maps.get(`${cell.layer} ${cell.head}`);
  const image = byId("inspected-picture");
  const shape = image.naturalWidth ? image.naturalHeight / image.naturalWidth : 1;
  heat.draw(byId("heat"), map, absolute(state.steps, state.at, result.prompt_tokens), shape);
  const best = heat.strongest(map);
  const place = best ? t("strongest", { row: best.row, column: best.column, value: number(best.value) }) : "";
  const where = heat.isUnknown(map) ? t("unknown_grid") : place;
  byId("heat").setAttribute("aria-label", where || t("no_map"));
  byId("use-head").hidden = !cell;
  byId("use-head").textContent = cell ? t("use_head", { ...cell }) : "";
  say(byId("cell-said"), cell ? `${grid.sentence(result, cell, state.at)} ${where}` : t("choose_cell"));
}

/** Show a cell, and ask for its map once the pointer or the focus rests on it. @param {Cell} cell */
function rest(cell) {
  if (state.cell?.layer === cell.layer && state.cell.head === cell.head) return;
  state.cell = cell;
  showCell();
  clearTimeout(resting);
  asking?.abort();
  if (!maps.has(`${cell.layer} ${cell.head}`)) resting = setTimeout(() => void askMap(cell), REST);
}

/** @param {Cell} cell */
async function askMap(cell) {
  const { asked } = state;
  asking = new AbortController();
  const one = { ...asked, [`${state.steps.option}s`]: [state.steps.values[state.at]] };
  try {
    const { map } = await callJson("v1/eah/inspect", bodyOf(one, cell), asking.signal);
    if (asked !== state.asked) return; // something else was inspected meanwhile
    maps.set(`${cell.layer} ${cell.head}`, map);
    showCell();
  } catch (error) {
    if (!isStop(error)) say(byId("inspect-error"), errorText(error));
  }
}

/** Use a head in answer B, where a fixed head has only these two options. @param {Cell} cell */
function use(cell) {
  const [left, right] = settings.sides;
  const mode = right.mode.startsWith("eah") ? right.mode : "eah";
  const options = { ...right.options, eah: { layer: cell.layer, head: cell.head } };
  change({ sides: [left, { mode, options }] });
  tabs.show("compare");
  say(byId("compare-said"), t("head_used", { ...cell }));
  byId("run").focus();
}
