// What the server says of itself in `/v1/models` and `/v1/eah`.

import { callJson } from "./api.js";

/**
 * A method and what may be said of it.
 * @typedef {{options: Record<string, any>, defaults: Record<string, any>}} Method
 */

/**
 * @typedef {object} Facts
 * @property {string[]} models served names, without the aliases that switch a method on
 * @property {Record<string, Method>} methods those that requests may ask for, by name, `verify` last; none where the server has no EAH
 * @property {string | null} reason why the server cannot use EAH on this model
 * @property {string} version of eah_vllm
 */

/** @type {{facts: Facts | null}} */
export const server = { facts: null };

/** Ask the server what it has. */
export async function load() {
  const [listed, said] = await Promise.all([callJson("v1/models"), callJson("v1/eah")]);
  /** @type {Record<string, Method>} */
  const methods = {};
  for (const [name, method] of Object.entries(said.methods ?? {}))
    if (method.enabled) methods[name] = { options: method.options, defaults: method.defaults ?? {} };
  if (said.verify) methods.verify = { options: said.verify.options, defaults: said.verify.defaults };
  const aliases = new Set(said.aliases);
  server.facts = {
    models: listed.data.map((/** @type {any} */ card) => card.id).filter((/** @type {string} */ id) => !aliases.has(id)),
    methods,
    reason: said.supported ? null : said.reason,
    version: said.versions.eah_vllm,
  };
}

/** The modes of a side: off, each method, and each method whose answer is then checked. */
export function modes() {
  const names = Object.keys(server.facts?.methods ?? {});
  const checked = names.includes("verify") ? names.filter((name) => name !== "verify").map((name) => `${name}+verify`) : [];
  return ["off", ...names, ...checked];
}
