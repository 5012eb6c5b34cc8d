// Share links: the settings in the part of the address that no browser sends to a server. They hold no key, and of
// pictures only the name of an example: a picture of one's own would make a link that is too long to send.

import { SAMPLING } from "./ask_form.js";
import { EXAMPLES } from "./picture.js";
import { settings } from "./settings.js";

const MARK = "#s=";

/** The address of this page with these settings. */
export function link() {
  const { prompt, model, example, sampling, sides } = settings;
  return location.href.split("#")[0] + MARK + encodeURIComponent(JSON.stringify({ prompt, model, example, sampling, sides }));
}

/**
 * The settings that a link holds, or null if it holds none. A link comes from anybody, so everything is checked but the
 * values of options, which the server judges.
 * @param {string} hash
 * @returns {Partial<import("./settings.js").Settings> | null}
 */
export function read(hash) {
  if (!hash.startsWith(MARK)) return null;
  const said = JSON.parse(decodeURIComponent(hash.slice(MARK.length)));
  const { prompt, model, example, sampling, sides } = said;
  const good =
    typeof prompt === "string" && typeof model === "string" && (example === "" || EXAMPLES.includes(example)) &&
    isObject(sampling) && Object.entries(sampling).every(isSampling) &&
    Array.isArray(sides) && sides.length === 2 && sides.every(isSide);
  if (!good) throw new Error(JSON.stringify(said).slice(0, 200));
  return { prompt, model, example, sampling, sides };
}

/** What the page has no control for would be sent unseen. @param {[string, any]} entry */
function isSampling([name, value]) {
  return SAMPLING.some((known) => known.name === name) && typeof value === "number";
}

/** @param {any} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {any} side */
function isSide(side) {
  return isObject(side) && typeof side.mode === "string" && isObject(side.options) && Object.values(side.options).every(isObject);
}
