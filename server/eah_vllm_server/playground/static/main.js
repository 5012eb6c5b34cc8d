// Puts the page together.

import { ServerError } from "./api.js";
import * as askForm from "./ask_form.js";
import * as compare from "./compare.js";
import * as copying from "./copying.js";
import { byId, say } from "./dom.js";
import * as i18n from "./i18n.js";
import { read } from "./link.js";
import * as picture from "./picture.js";
import { load, modes, server } from "./server.js";
import { change, settings } from "./settings.js";
import { errorText } from "./side.js";
import * as tabs from "./tabs.js";

const { t } = i18n;

i18n.start();
tabs.start();
copying.start();
askForm.start(() => void connect());
picture.start();
compare.start();
// Most visits need no inspector, so the page comes sooner without it.
tabs.whenFirstShown("inspector", () => void import("./inspector.js").then((inspector) => inspector.start()));
i18n.onLanguage(served);
const badLink = restore();
void connect();

/** Ask the server what it has, and for the key where it wants one. */
async function connect() {
  try {
    await load();
  } catch (error) {
    say(byId("notice"), errorText(error));
    if (error instanceof ServerError && error.status === 401) askForm.askForKey();
    return;
  }
  byId("key").hidden = true;
  const unknown = settings.sides.map((side) => side.mode).filter((mode) => !modes().includes(mode));
  const problems = unknown.length ? [t("unknown_method", { method: unknown.join(t("comma")) })] : [];
  if (badLink) problems.push(t("bad_link", { message: badLink }));
  say(byId("notice"), problems.join(" "));
  askForm.listModels();
  compare.ready();
  served();
}

/** Say what is served. */
function served() {
  const { facts } = server;
  if (!facts) return;
  const said = t("served", { model: facts.models.join(t("comma")), version: facts.version });
  byId("served").textContent = facts.reason ? `${said} ${t("unsupported", { reason: facts.reason })}` : said;
}

/**
 * Take the settings of a share link, if the address holds one.
 * @returns {string} what is wrong with the link; empty where nothing is
 */
function restore() {
  try {
    const said = read(location.hash);
    if (said) change(said);
    return "";
  } catch (error) {
    return String(error);
  }
}
