// Which words only one of two answers says.

import { make } from "./dom.js";

/**
 * A text in pieces, words and what stands between them; Chinese text is split into words too.
 * @param {string} text
 * @returns {{text: string, word: string | null}[]}
 */
export function pieces(text) {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  return [...segmenter.segment(text)].map(({ segment, isWordLike }) => ({
    text: segment,
    word: isWordLike ? segment.toLocaleLowerCase() : null,
  }));
}

/**
 * The words of a text that another text does not have anywhere, in their order, each once.
 * @param {string} text
 * @param {string} other
 */
export function onlyIn(text, other) {
  const theirs = new Set(pieces(other).map((piece) => piece.word));
  return [...new Set(pieces(text).map((piece) => piece.word))].filter((word) => word && !theirs.has(word));
}

/**
 * The text as nodes, with some words marked.
 * @param {string} text
 * @param {(string | null)[]} words
 */
export function marked(text, words) {
  const wanted = new Set(words);
  return pieces(text).map((piece) => (piece.word && wanted.has(piece.word) ? make("mark", {}, piece.text) : piece.text));
}
