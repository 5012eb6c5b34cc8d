// What both answers share: the key, the prompt, the model, and how text is sampled.

import { useKey } from "./api.js";
import { byId, make } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { server } from "./server.js";
import { onSettings, settings } from "./settings.js";

export const SAMPLING = [
  { name: "temperature", min: 0, step: "any" },
  { name: "max_tokens", min: 1, step: 1 },
  { name: "min_tokens", min: 0, step: 1 },
  { name: "seed", min: 0, step: 1 },
];

/**
 * Show the controls and listen to them.
 * @param {() => void} onKey called when the visitor has entered a key
 */
export function start(onKey) {
  byId("key").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    useKey(byId("key-value").value);
    onKey();
  });
  byId("prompt").addEventListener("input", () => (settings.prompt = byId("prompt").value));
  byId("model").addEventListener("change", () => (settings.model = byId("model").value));
  onSettings(write);
  onLanguage(write);
  write();
}

/** Show the field for the key: the server asks for one. */
export function askForKey() {
  byId("key").hidden = false;
  byId("key-value").focus();
}

/** List the served models; with one there is nothing to choose. */
export function listModels() {
  const models = server.facts?.models ?? [];
  byId("model").replaceChildren(...models.map((name) => make("option", {}, name)));
  byId("model-row").hidden = models.length < 2;
  byId("model").value = settings.model || models[0];
}

function write() {
  if (byId("prompt").value !== settings.prompt) byId("prompt").value = settings.prompt;
  if (settings.model) byId("model").value = settings.model;
  byId("sampling").replaceChildren(...SAMPLING.flatMap(control));
}

/** @param {{name: string, min: number, step: string | number}} field */
function control({ name, min, step }) {
  const id = `sampling-${name}`;
  const read = (/** @type {Event} */ event) => {
    const value = /** @type {HTMLInputElement} */ (event.target).valueAsNumber;
    if (Number.isNaN(value)) delete settings.sampling[name];
    else settings.sampling[name] = value;
  };
  const value = settings.sampling[name] ?? "";
  const input = make("input", { id, type: "number", min, step, value, oninput: read, "aria-describedby": `${id}-help` });
  const help = make("p", { id: `${id}-help`, class: "quiet" }, t(`sampling_${name}`));
  return [make("div", {}, make("label", { for: id }, make("code", {}, name)), input, help)];
}
