// The thresholds that the inspector asks about in one request, so that the slider needs no other.

import { server } from "./server.js";

const STEPS = 8;

/**
 * @typedef {object} Ladder
 * @property {"threshold" | "relative_threshold"} option the option of EAH that the steps are values of
 * @property {number[]} values rising; the one in the middle is the server's default
 */

/**
 * Steps of half an octave around the threshold that a bare `"eah": true` gets on this server.
 * @returns {Ladder}
 */
export function ladder() {
  const defaults = server.facts?.methods.eah?.defaults ?? {};
  const option = defaults.relative_threshold === undefined ? "threshold" : "relative_threshold";
  const middle = defaults[option] ?? 0.002;
  const values = Array.from({ length: 2 * STEPS + 1 }, (_, at) => middle * 2 ** ((at - STEPS) / 2));
  const kept = values.map((value, at) => (at === STEPS ? middle : rounded(value)));
  return { option, values: kept.filter((value) => option !== "threshold" || value < 1) };
}

/** The place of the default in the ladder. */
export const MIDDLE = STEPS;

/** @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(3));
}

/**
 * The same threshold as mean attention, for a prompt of so many tokens.
 * @param {Ladder} steps
 * @param {number} at
 * @param {number} promptTokens
 */
export function absolute(steps, at, promptTokens) {
  return steps.option === "threshold" ? steps.values[at] : steps.values[at] / promptTokens;
}
