// The body of a request, from the settings; the snippets show the same one.

import { methodsOf, settings } from "./settings.js";
import { server } from "./server.js";

/** Actions of `verify` that need the whole answer before they can say anything, so that it cannot be streamed. */
const WHOLE = ["rewrite", "best_of"];

/**
 * The messages: the picture, if there is one, and the prompt.
 * @param {string | null} url of the picture
 */
export function messages(url) {
  const picture = url ? [{ type: "image_url", image_url: { url } }] : [];
  return [{ role: "user", content: [...picture, { type: "text", text: settings.prompt }] }];
}

/** The name of the model that is asked. */
export function model() {
  return settings.model || server.facts?.models[0] || "";
}

/**
 * Whether an answer can come piece by piece.
 * @param {import("./settings.js").Side} side
 */
function streams(side) {
  if (!methodsOf(side.mode).includes("verify")) return true;
  const action = side.options.verify?.action ?? server.facts?.methods.verify?.defaults.action;
  return !WHOLE.includes(action);
}

/**
 * The body without its picture and without what only this page needs.
 * @param {import("./settings.js").Side} side
 * @param {string | null} url
 * @returns {Record<string, any>}
 */
export function plainBody(side, url) {
  /** @type {Record<string, any>} */
  const body = { model: model(), messages: messages(url), ...settings.sampling };
  for (const name of methodsOf(side.mode)) {
    const said = side.options[name] ?? {};
    if (name !== "verify") body[name] = { ...said, report: true };
    else body[name] = Object.keys(said).length ? said : true;
  }
  return body;
}

/**
 * The body that this page sends.
 * @param {import("./settings.js").Side} side
 * @param {string | null} url
 */
export function body(side, url) {
  const stream = streams(side);
  return { ...plainBody(side, url), ...(stream ? { stream, stream_options: { include_usage: true } } : {}) };
}
