// The page's languages: one module of strings each, and the texts of the HTML.

import en from "./strings/en.js";
import zh from "./strings/zh.js";
import { byId } from "./dom.js";

/** @type {Record<string, Record<string, string>>} */
const LANGUAGES = { en, zh };
const KEPT = "eah_playground_language";
/** @type {Set<() => void>} */
const listeners = new Set();
let language = preferred();

function preferred() {
  const wanted = [kept(), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return wanted.find((tag) => tag && tag in LANGUAGES) ?? "en";
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

/**
 * The text of a key in the page's language, with `{name}` replaced.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = LANGUAGES[language][key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * The same, or another text where the language has none: for options that other packages bring.
 * @param {string} key
 * @param {string} other
 */
export function tOr(key, other) {
  return LANGUAGES[language][key] ?? other;
}

/** The language's tag, such as `en`. */
export function tag() {
  return language;
}

/**
 * A number for people, with few digits.
 * @param {number} value
 */
export function number(value) {
  return new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);
}

/**
 * Call `then` whenever the language changes; the listener renders its texts anew.
 * @param {() => void} then
 */
export function onLanguage(then) {
  listeners.add(then);
}

/** Write the texts that the HTML asks for, and listen to the choice of language. */
export function start() {
  const select = byId("language");
  select.value = language;
  select.addEventListener("change", () => {
    language = select.value;
    try {
      localStorage.setItem(KEPT, language);
    } catch {
      // Then the choice lasts as long as the page.
    }
    write();
    for (const then of listeners) then();
  });
  write();
}

function write() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  document.title = `eah_vllm ${t("title")}`;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.getAttribute("data-t") ?? "");
  for (const element of document.querySelectorAll("[data-t-label]"))
    element.setAttribute("aria-label", t(element.getAttribute("data-t-label") ?? ""));
}
