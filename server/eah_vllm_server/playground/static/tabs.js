// The tabs above the results.

import { byId } from "./dom.js";

const NAMES = ["compare", "inspector"];
/** @type {Map<string, () => void>} */
const waiting = new Map();

/**
 * Call `then` when a tab is shown for the first time.
 * @param {string} name
 * @param {() => void} then
 */
export function whenFirstShown(name, then) {
  waiting.set(name, then);
}

/** Let the arrow keys and clicks choose a tab. */
export function start() {
  for (const name of NAMES) {
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => show(name));
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const next = NAMES[(NAMES.indexOf(name) + step + NAMES.length) % NAMES.length];
      show(next);
      byId(`tab-${next}`).focus();
    });
  }
  show("compare");
}

/** @param {string} name */
export function show(name) {
  for (const other of NAMES) {
    byId(other).hidden = other !== name;
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
  }
  waiting.get(name)?.();
  waiting.delete(name);
}
