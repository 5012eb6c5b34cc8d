// Requests to the server that this page came from, with the key that the visitor entered, and its errors as it says them.

let key = "";

/** @param {string} value the API key; it is kept in this page's memory alone and goes into no link */
export function useKey(value) {
  key = value.trim();
}

/** Whether requests carry a key. */
export function hasKey() {
  return key !== "";
}

/** The server answered with an error; the message is its own. */
export class ServerError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer, or its answer broke off. */
export class LostError extends Error {}

/**
 * Ask the server.
 * @param {string} path relative to the server's root, such as `v1/models`
 * @param {object} [body] sent as JSON by POST; without it the request is a GET
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
export async function call(path, body, signal) {
  /** @type {Record<string, string>} */
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
    response = await fetch(path, { ...init, headers, signal });
  } catch (error) {
    throw isStop(error) ? error : new LostError(String(error));
  }
  if (!response.ok) throw new ServerError(response.status, messageOf(await response.text()));
  return response;
}

/**
 * Ask the server for JSON.
 * @param {string} path
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 */
export async function callJson(path, body, signal) {
  return (await call(path, body, signal)).json();
}

/**
 * Whether an error means that the visitor stopped the request.
 * @param {unknown} error
 */
export function isStop(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * The message of an error answer in any of the server's forms, or the whole text.
 * @param {string} text
 */
export function messageOf(text) {
  try {
    const { error, detail, message } = JSON.parse(text);
    const said = error?.message ?? error ?? detail ?? message;
    return typeof said === "string" ? said : text;
  } catch {
    return text; // no JSON, such as a proxy's page
  }
}
