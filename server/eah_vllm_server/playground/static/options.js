// Controls for the options of a method, made from what `/v1/eah` says of them.

import { make } from "./dom.js";
import { t, tOr } from "./i18n.js";
import { server } from "./server.js";

/** The page always asks for the report. */
const HIDDEN = ["report"];

/**
 * The controls of one method.
 * @param {string} method
 * @param {Record<string, any>} said what the visitor has set; changed by the controls
 * @param {string} place makes the controls' ids unique
 * @param {() => void} onChange
 */
export function controls(method, said, place, onChange) {
  const { options, defaults } = /** @type {import("./server.js").Method} */ (server.facts?.methods[method]);
  const names = Object.keys(options).filter((name) => !HIDDEN.includes(name));
  return names.map((name) => {
    const id = `${place}-${method}-${name}`;
    const set = (/** @type {any} */ value) => {
      if (value === undefined) delete said[name];
      else said[name] = value;
      onChange();
    };
    const input = inputOf(options[name], said[name], { id, name, "aria-describedby": `${id}-help` }, set);
    const meaning = tOr(`${method}_${name}`, options[name].description ?? "");
    const help = name in defaults ? `${meaning} ${t("default_is", { value: shown(defaults[name]) })}` : meaning;
    const label = make("label", { for: id }, make("code", {}, name));
    return make("div", {}, label, input, make("p", { id: `${id}-help`, class: "quiet" }, help));
  });
}

/** @param {any} value */
function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/**
 * A control for an option; empty means that the server's own value holds.
 * @param {any} schema JSON schema of the option
 * @param {any} value
 * @param {Record<string, any>} attributes
 * @param {(value: any) => void} set
 */
function inputOf(schema, value, attributes, set) {
  const kinds = (schema.anyOf ?? [schema]).filter((/** @type {any} */ kind) => kind.type !== "null");
  const [only] = kinds;
  if (kinds.length === 1 && (only.enum || only.type === "boolean")) {
    const choices = only.enum ?? [true, false];
    const listed = choices.map((/** @type {any} */ choice) => make("option", { value: JSON.stringify(choice) }, shown(choice)));
    const select = make("select", attributes, make("option", { value: "" }, t("server_default")), ...listed);
    select.value = value === undefined ? "" : JSON.stringify(value);
    select.addEventListener("change", () => set(select.value ? JSON.parse(select.value) : undefined));
    return select;
  }
  const text = value === undefined ? "" : shown(value);
  const isNumber = kinds.length === 1 && ["number", "integer"].includes(only.type);
  const kind = isNumber ? { inputmode: "decimal" } : {};
  const input = make("input", { ...attributes, ...kind, type: "text", value: text, placeholder: t("server_default"), spellcheck: "false" });
  input.addEventListener("input", () => set(parsed(input.value, kinds)));
  return input;
}

/**
 * What a text means as an option: JSON where the option takes it, several numbers as a list, otherwise the text itself.
 * The server judges the value and says what it refuses.
 * @param {string} text
 * @param {any[]} kinds
 */
export function parsed(text, kinds) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  if (kinds.every((kind) => kind.type === "string")) return text;
  const list = /^-?\d+(\s*,\s*-?\d+)+$/.test(trimmed) ? `[${trimmed}]` : trimmed;
  try {
    const value = JSON.parse(list);
    return typeof value === "number" && kinds.every((kind) => kind.type === "array") ? [value] : value;
  } catch {
    return trimmed;
  }
}
