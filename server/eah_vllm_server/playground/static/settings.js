// What the visitor has set: one object that every part of the page reads, and that a share link restores.

/**
 * One of the two answers: a mode such as `off`, `eah` or `eah+verify`, and the options of each method by its name.
 * @typedef {{mode: string, options: Record<string, Record<string, any>>}} Side
 */

/**
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string} model name of the served model; empty for the server's first one
 * @property {string} example name of the example picture that is shown; empty for a picture of the visitor's own
 * @property {Record<string, number>} sampling `temperature`, `max_tokens`, `min_tokens`, `seed`; what is absent is the server's
 * @property {Side[]} sides
 */

export const FIRST_PROMPT = "Please describe this image in detail.";

/** @type {Settings} */
export const settings = {
  prompt: FIRST_PROMPT,
  model: "",
  example: "",
  sampling: { temperature: 0, max_tokens: 256 },
  sides: [
    { mode: "off", options: {} },
    { mode: "eah", options: {} },
  ],
};

/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * Call `then` after each change of the settings that did not come from the control itself.
 * @param {() => void} then
 */
export function onSettings(then) {
  listeners.add(then);
}

/**
 * Change settings from outside of their controls, which then show them.
 * @param {Partial<Settings>} changes
 */
export function change(changes) {
  Object.assign(settings, changes);
  for (const then of listeners) then();
}

/**
 * The methods that a mode switches on.
 * @param {string} mode
 */
export function methodsOf(mode) {
  return mode === "off" ? [] : mode.split("+");
}
