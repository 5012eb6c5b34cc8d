// One answer of `/v1/chat/completions`, streamed or whole, with its times.

import { LostError, ServerError, call, isStop } from "./api.js";

/**
 * @typedef {object} Answer
 * @property {string} text
 * @property {number | null} first seconds from the request to the first text
 * @property {number} seconds from the request to the end
 * @property {number | null} tokens generated, as the server counts them
 * @property {string | null} finish why the answer ended
 * @property {Record<string, any>} reports by the name of the method, and `verify`
 * @property {boolean} whole whether it came in one piece
 */

/**
 * Ask for an answer.
 * @param {Record<string, any>} body
 * @param {string[]} names fields of the reply that hold reports
 * @param {AbortSignal} signal
 * @param {(answer: Answer) => void} onText called as the answer grows
 * @returns {Promise<Answer>}
 */
export async function ask(body, names, signal, onText) {
  const started = performance.now();
  const since = () => (performance.now() - started) / 1000;
  /** @type {Answer} */
  const answer = { text: "", first: null, seconds: 0, tokens: null, finish: null, reports: {}, whole: !body.stream };
  const take = (/** @type {any} */ event) => {
    if (event.error) throw new ServerError(event.error.code ?? 500, event.error.message ?? String(event.error));
    const choice = event.choices?.[0];
    const piece = choice?.delta?.content ?? choice?.message?.content ?? "";
    if (piece && answer.first === null) answer.first = since();
    if (piece) answer.seconds = since();
    answer.text += piece;
    answer.finish = choice?.finish_reason ?? answer.finish;
    answer.tokens = event.usage?.completion_tokens ?? answer.tokens;
    for (const name of names) if (event[name]) answer.reports[name] = event[name];
    if (piece) onText(answer);
  };
  const response = await call("v1/chat/completions", body, signal);
  if (!body.stream) take(await response.json());
  else for await (const event of events(response)) take(event);
  return answer;
}

/**
 * The events of a stream, up to `[DONE]`.
 * @param {Response} response
 */
export async function* events(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let held = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      throw isStop(error) ? error : new LostError(String(error));
    }
    if (read.done) throw new LostError("the stream ended before [DONE]");
    held += decoder.decode(read.value, { stream: true });
    const lines = held.split(/\r?\n/);
    held = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
    }
  }
}

/**
 * Tokens per second after the first one; for an answer that came in one piece, over all of its time.
 * @param {Answer} answer
 */
export function speed(answer) {
  if (!answer.tokens || answer.first === null) return null;
  if (answer.whole) return answer.tokens / answer.seconds;
  return answer.seconds > answer.first ? (answer.tokens - 1) / (answer.seconds - answer.first) : null;
}
