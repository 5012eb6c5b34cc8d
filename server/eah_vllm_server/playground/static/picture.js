// The picture: dropped, pasted, taken, picked, or one of the examples.

import { byId, make, say } from "./dom.js";
import { number, onLanguage, t } from "./i18n.js";
import { change, onSettings, settings } from "./settings.js";

export const EXAMPLES = ["scene-60", "scene-91", "scene-65", "scene-97"];

/** @typedef {{url: string, name: string, type: string, bytes: number}} Picture */

/** @type {{now: Picture | null}} the picture as a data URL, as it is sent */
export const picture = { now: null };
/** @type {Set<() => void>} */
const listeners = new Set();
let error = "";
let asked = 0;

/**
 * Call `then` when there is another picture.
 * @param {() => void} then
 */
export function onPicture(then) {
  listeners.add(then);
}

/** Listen to every way in which a picture can come. */
export function start() {
  for (const id of ["choose", "take"]) byId(id).addEventListener("change", picked);
  const drop = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // otherwise the browser would leave the page and show the file
    drop.classList.remove("over");
    takeFirst(event.dataTransfer?.files);
  });
  document.addEventListener("paste", (event) => {
    if (takeFirst(event.clipboardData?.files)) event.preventDefault();
  });
  for (const name of EXAMPLES) {
    const image = make("img", { src: `playground/examples/${name}.webp`, alt: "", width: 56, height: 56, loading: "lazy" });
    byId("examples").append(make("button", { class: "example", "data-example": name, onclick: () => change({ example: name }) }, image));
  }
  onSettings(showExample);
  onLanguage(write);
  write();
}

/** @param {Event} event */
function picked(event) {
  const input = /** @type {HTMLInputElement} */ (event.target);
  takeFirst(input.files);
  input.value = ""; // so that the same file can be picked again
}

/** @param {FileList | null | undefined} files */
function takeFirst(files) {
  const file = files?.[0];
  if (!file) return false;
  settings.example = "";
  void take(file, file.name || "picture.png");
  return true;
}

/** @type {string} the example that is shown or on its way */
let shown = "";

async function showExample() {
  if (settings.example === shown || !settings.example) return;
  shown = settings.example;
  const turn = ++asked;
  try {
    const response = await fetch(`playground/pictures/${shown}.png`);
    if (!response.ok) throw new Error(`${response.status} ${shown}.png`);
    const file = await response.blob();
    if (turn === asked) await take(file, `${shown}.png`);
  } catch (failed) {
    shown = "";
    error = t("picture_failed", { message: String(failed) });
    write();
  }
}

/**
 * Read a file into a data URL and show it. The server judges the file; it says what it refuses.
 * @param {Blob} file
 * @param {string} name
 */
async function take(file, name) {
  const turn = ++asked;
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  if (turn !== asked) return; // another picture came meanwhile
  shown = settings.example;
  error = "";
  picture.now = { url, name, type: file.type || "image/png", bytes: file.size };
  byId("picture").src = url;
  write();
  for (const then of listeners) then();
}

function write() {
  const image = byId("picture");
  image.hidden = !picture.now;
  image.alt = picture.now ? t("picture_alt", { name: picture.now.name }) : "";
  const size = picture.now ? number(picture.now.bytes / 1024) : "";
  say(byId("picture-said"), error || (picture.now ? t("picture_said", { name: picture.now.name, size }) : t("no_picture")));
  EXAMPLES.forEach((name, at) => {
    const button = byId("examples").querySelector(`[data-example="${name}"]`);
    button.setAttribute("aria-label", t("example", { number: at + 1 }));
    button.setAttribute("aria-pressed", String(settings.example === name));
  });
}
