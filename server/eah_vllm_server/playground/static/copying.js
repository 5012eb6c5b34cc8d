// The dialog that shows a text to be copied.

import { byId, say } from "./dom.js";
import { t } from "./i18n.js";

/**
 * Show a text and offer to copy it.
 * @param {string} title
 * @param {string} help
 * @param {string} text
 */
export function show(title, help, text) {
  byId("snippet-title").textContent = title;
  byId("snippet-help").textContent = help;
  byId("snippet-text").textContent = text;
  say(byId("snippet-said"), "");
  byId("snippet").showModal();
}

/** Listen to the dialog's buttons. */
export function start() {
  byId("snippet-close").addEventListener("click", () => byId("snippet").close());
  byId("snippet-copy").addEventListener("click", async () => {
    try {
      // Browsers offer a clipboard to pages of https and of this machine only.
      await navigator.clipboard.writeText(byId("snippet-text").textContent);
      say(byId("snippet-said"), t("copied"));
    } catch {
      getSelection()?.selectAllChildren(byId("snippet-text"));
      byId("snippet-text").focus();
      say(byId("snippet-said"), t("copy_by_hand"));
    }
  });
}
