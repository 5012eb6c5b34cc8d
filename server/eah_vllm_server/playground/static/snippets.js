// A side's request as a command and as a program; both ask for the whole answer at once.

import { hasKey } from "./api.js";

const PICTURE = "PICTURE";

/** @typedef {{name: string, type: string} | null} File name and type of the picture's file */

/** Where the server's API is, as this page reached it. */
function base() {
  return new URL("v1", document.baseURI).href;
}

/**
 * The request for `curl`, for a shell in whose folder the picture's file lies.
 * @param {(url: string | null) => Record<string, any>} bodyOf makes the body with the URL of the picture
 * @param {File} file
 */
export function curl(bodyOf, file) {
  const json = JSON.stringify(bodyOf(file && PICTURE), null, 1);
  // The text between the two EOF is read as in double quotes, so that the picture's file can be put in.
  const quoted = json.replace(/[\\$`]/g, "\\$&");
  const picture = file && `data:${file.type};base64,$(base64 < ${inShell(file.name)} | tr -d '\\n')`;
  const filled = picture ? quoted.replace(`"url": "${PICTURE}"`, () => `"url": "${picture}"`) : quoted;
  const key = hasKey() ? ` -H "Authorization: Bearer $API_KEY"` : "";
  return `curl -s ${base()}/chat/completions -H 'Content-Type: application/json'${key} -d @- <<EOF\n${filled}\nEOF`;
}

/** @param {string} text */
function inShell(text) {
  return /^[\w.-]+$/.test(text) && !text.startsWith("-") ? text : `'./${text.replaceAll("'", "'\\''")}'`;
}

const KNOWN = ["model", "messages", "temperature", "max_tokens", "seed"];

/**
 * The request for the `openai` package of Python.
 * @param {(url: string | null) => Record<string, any>} bodyOf
 * @param {File} file
 */
export function python(bodyOf, file) {
  const body = bodyOf(file && PICTURE);
  const arguments_ = KNOWN.filter((name) => name in body).map((name) => `${name}=${literal(body[name])}`);
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !KNOWN.includes(name)));
  if (Object.keys(extra).length) arguments_.push(`extra_body=${literal(extra)}`);
  const lines = arguments_.map((one) => `    ${one},\n`).join("");
  const key = hasKey() ? `os.environ["API_KEY"]` : `"none"`;
  const url = file ? `url = "data:${file.type};base64," + base64.b64encode(Path(${literal(file.name)}).read_bytes()).decode()\n` : "";
  return (
    (file ? "import base64\n" : "") + (hasKey() ? "import os\n" : "") + (file ? "from pathlib import Path\n" : "") +
    (file || hasKey() ? "\n" : "") + `from openai import OpenAI\n\nclient = OpenAI(base_url=${literal(base())}, api_key=${key})\n${url}` +
    `reply = client.chat.completions.create(\n${lines.replace(`"url": "${PICTURE}"`, `"url": url`)})\n` +
    "print(reply.choices[0].message.content)\n" +
    Object.keys(extra).filter((name) => typeof extra[name] !== "number").map((name) => `print(getattr(reply, ${literal(name)}, None))\n`).join("")
  );
}

/**
 * A value of JSON as Python writes it; strings are the same in both.
 * @param {any} value
 * @returns {string}
 */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
}
