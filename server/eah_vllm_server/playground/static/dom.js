// Small helpers around the document.

/**
 * The element with this id; the page's own HTML has it.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/**
 * Make an element. Text is always set as text, so nothing that a server or a link says becomes HTML.
 * @param {string} tag
 * @param {Record<string, any>} [properties] attributes; a name with `on` is a listener, and false or null is left out
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Show a text in a live region, or hide the region where there is none.
 * @param {HTMLElement} region
 * @param {string} text
 */
export function say(region, text) {
  region.textContent = text;
  if (region.getAttribute("role") === "alert") region.hidden = !text;
}
