// One of the two answers: its method and options, the text as it comes, times, report, and words that only it says.

import { LostError, ServerError, isStop } from "./api.js";
import { show as showSnippet } from "./copying.js";
import { make } from "./dom.js";
import { number, t } from "./i18n.js";
import { controls } from "./options.js";
import { picture } from "./picture.js";
import { sentences } from "./report.js";
import { body, plainBody } from "./request.js";
import { modes } from "./server.js";
import { methodsOf, settings } from "./settings.js";
import { curl, python } from "./snippets.js";
import { ask, speed } from "./stream.js";
import { marked } from "./words.js";

export class AnswerPanel {
  /** @param {number} at 0 or 1 */
  constructor(at) {
    this.at = at;
    /** @type {import("./stream.js").Answer | null} */
    this.answer = null;
    this.running = false;
    /** @type {unknown} */
    this.error = null;
    /** @type {(string | null)[]} */
    this.only = [];
    this.opened = false;
    this.controls = make("div");
    this.text = make("div", { class: "answer", tabindex: "0", role: "region" });
    this.failure = make("p", { class: "error", role: "alert", hidden: true });
    this.facts = make("div");
    this.element = make("section", { class: "card side", "data-side": at }, this.controls, this.text, this.failure, this.facts);
    this.renderControls();
    this.renderAnswer();
  }

  get name() {
    return t(this.at ? "answer_b" : "answer_a");
  }

  /** Ask the server and show what comes. @param {AbortSignal} signal */
  async run(signal) {
    const side = settings.sides[this.at];
    Object.assign(this, { answer: null, error: null, only: [], running: true });
    this.renderAnswer();
    const grow = (/** @type {import("./stream.js").Answer} */ answer) => {
      this.answer = answer;
      this.text.textContent = answer.text;
    };
    try {
      this.answer = await ask(body(side, picture.now?.url ?? null), methodsOf(side.mode), signal, grow);
    } catch (error) {
      this.error = error;
    }
    this.running = false;
    this.renderAnswer();
  }

  /** Whether the last answer came to its end. */
  get complete() {
    return this.answer !== null && !this.running && !this.error;
  }

  /** Mark words. @param {(string | null)[]} words that only this answer says */
  mark(words) {
    this.only = words;
    this.renderAnswer();
  }

  renderControls() {
    const side = settings.sides[this.at];
    const id = `mode-${this.at}`;
    const select = make("select", { id }, ...modes().map((mode) => make("option", { value: mode }, nameOf(mode))));
    select.value = side.mode;
    select.addEventListener("change", () => {
      side.mode = select.value;
      this.renderControls();
      this.controls.querySelector("select").focus();
    });
    const listed = methodsOf(side.mode).flatMap((method) => {
      const said = (side.options[method] ??= {});
      return [make("p", { class: "method" }, nameOf(method)), ...controls(method, said, `side-${this.at}`, () => this.countOptions())];
    });
    this.summary = make("summary");
    const details = make("details", { open: this.opened }, this.summary, make("div", { class: "options" }, ...listed));
    details.addEventListener("toggle", () => (this.opened = details.open));
    const label = make("label", { for: id }, this.name);
    this.controls.replaceChildren(make("div", { class: "mode" }, make("h3", {}, label), select), ...(listed.length ? [details] : []));
    this.countOptions();
  }

  countOptions() {
    const side = settings.sides[this.at];
    const said = methodsOf(side.mode).flatMap((method) =>
      Object.entries(side.options[method] ?? {}).map(([name, value]) => `${name} ${JSON.stringify(value)}`),
    );
    if (this.summary) this.summary.textContent = said.length ? t("options_are", { said: said.join(t("comma")) }) : t("options");
  }

  renderAnswer() {
    this.text.setAttribute("aria-label", t("text_of", { name: this.name }));
    if (this.answer?.text) this.text.replaceChildren(...marked(this.answer.text.trimStart(), this.only));
    else this.text.replaceChildren(make("span", { class: "quiet" }, t(this.running ? "waiting" : "nothing_yet")));
    const said = this.error && !isStop(this.error) ? errorText(this.error) : "";
    this.failure.textContent = said;
    this.failure.hidden = !said;
    const answer = this.complete ? this.answer : null;
    this.facts.replaceChildren(...(answer ? this.about(answer) : []), this.copies());
  }

  /** @param {import("./stream.js").Answer} answer */
  about(answer) {
    const rate = speed(answer);
    const rows = [
      ["first_token", answer.first === null ? t("none") : t("seconds", { seconds: number(answer.first) })],
      ["speed", rate === null ? t("none") : t("per_second", { tokens: number(rate) })],
      ["length", answer.tokens === null ? t("none") : t("tokens", { tokens: answer.tokens })],
    ];
    const list = rows.map(([key, value]) => make("div", {}, make("dt", {}, t(key)), make("dd", { "data-fact": key }, value)));
    const lines = Object.entries(answer.reports).flatMap(([name, report]) => sentences(name, report));
    if (answer.finish === "length") lines.push(t("cut_by_limit"));
    const only = this.only.length ? [make("p", { class: "only" }, t("only_here", { words: this.only.join(t("comma")) }))] : [];
    const report = lines.length ? [make("ul", { class: "report" }, ...lines.map((line) => make("li", {}, line)))] : [];
    return [make("dl", { class: "facts" }, ...list), ...report, ...only];
  }

  copies() {
    const file = picture.now && { name: picture.now.name, type: picture.now.type };
    const bodyOf = (/** @type {string | null} */ url) => plainBody(settings.sides[this.at], url);
    const help = file ? t("snippet_help", { name: file.name }) : "";
    const copy = (/** @type {string} */ key, /** @type {typeof curl} */ write) =>
      make("button", { class: "small", onclick: () => showSnippet(`${this.name}: ${t(key)}`, help, write(bodyOf, file)) }, t(key));
    return make("div", { class: "row" }, copy("copy_curl", curl), copy("copy_python", python));
  }
}

/** @param {string} mode */
function nameOf(mode) {
  if (mode === "off") return t("off");
  return methodsOf(mode).map((name) => (name === "verify" ? t("verify") : name.toUpperCase())).join(" + ");
}

/** What the visitor reads of an error. @param {unknown} error */
export function errorText(error) {
  if (error instanceof ServerError) return t("server_says", { status: error.status, message: error.message });
  if (error instanceof LostError) return t("lost", { message: error.message });
  return String(error);
}
