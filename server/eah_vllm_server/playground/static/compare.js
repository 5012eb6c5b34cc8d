// Two answers side by side: asks for both at once, stops them, and compares their words.

import { ServerError } from "./api.js";
import { askForKey } from "./ask_form.js";
import { show as showSnippet } from "./copying.js";
import { byId, say } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { link } from "./link.js";
import { onPicture } from "./picture.js";
import { modes } from "./server.js";
import { onSettings, settings } from "./settings.js";
import { AnswerPanel } from "./side.js";
import { onlyIn } from "./words.js";

/** @type {AnswerPanel[]} */
let panels = [];
/** @type {AbortController | null} */
let running = null;

/** Listen to the buttons. */
export function start() {
  byId("run").addEventListener("click", () => void run());
  byId("stop").addEventListener("click", () => running?.abort());
  byId("copy-link").addEventListener("click", () => {
    const help = settings.example ? t("link_help") : t("link_help_no_picture");
    showSnippet(t("copy_link"), help, link());
  });
  byId("prompt").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void run();
  });
  onSettings(() => panels.forEach((panel) => panel.renderControls()));
  onPicture(() => panels.forEach((panel) => panel.renderAnswer()));
  onLanguage(() => {
    panels.forEach((panel) => panel.renderControls());
    panels.forEach((panel) => panel.renderAnswer());
  });
}

/** Make both panels, once it is known what the server has. */
export function ready() {
  for (const side of settings.sides) if (!modes().includes(side.mode)) side.mode = "off";
  panels = settings.sides.map((_, at) => new AnswerPanel(at));
  byId("sides").replaceChildren(...panels.map((panel) => panel.element));
}

/** Ask for both answers. */
export async function run() {
  if (running || !panels.length) return;
  running = new AbortController();
  const { signal } = running;
  busy(true);
  say(byId("compare-said"), t("answering"));
  await Promise.all(panels.map((panel) => panel.run(signal)));
  running = null;
  busy(false);
  const [left, right] = panels;
  const both = left.complete && right.complete;
  if (both) {
    const texts = panels.map((panel) => panel.answer?.text ?? "");
    left.mark(onlyIn(texts[0], texts[1]));
    right.mark(onlyIn(texts[1], texts[0]));
  }
  const same = both && left.answer?.text === right.answer?.text;
  say(byId("compare-said"), t(signal.aborted ? "stopped" : !both ? "failed" : same ? "both_same" : "both_done"));
  if (panels.some(({ error }) => error instanceof ServerError && error.status === 401)) askForKey();
}

/** @param {boolean} is */
function busy(is) {
  const [run, stop] = [byId("run"), byId("stop")];
  const focused = document.activeElement === (is ? run : stop);
  run.disabled = is;
  stop.disabled = !is;
  if (focused) (is ? stop : run).focus(); // a disabled button would lose the focus
}
