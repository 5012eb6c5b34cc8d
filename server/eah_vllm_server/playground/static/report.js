// Reports of methods and of checks, in words.

import { number, t, tOr } from "./i18n.js";

/**
 * Sentences about a report.
 * @param {string} name of the method, or `verify`
 * @param {any} report
 * @returns {string[]}
 */
export function sentences(name, report) {
  if (name === "verify") return aboutCheck(report);
  const layers = report.layers.map((/** @type {any} */ layer) => aboutLayer(name, layer));
  const whole = report.applied ? [] : [t("not_applied", { method: name.toUpperCase(), reason: reasonOf(report.reason) })];
  const partly = report.applied && report.reason ? [t("not_everywhere", { reason: reasonOf(report.reason) })] : [];
  return [...layers, ...whole, ...partly, ...(report.detail ? [report.detail] : [])];
}

/** @param {string | null} reason */
function reasonOf(reason) {
  return reason ? tOr(`reason_${reason}`, reason) : "";
}

/**
 * @param {string} method
 * @param {any} layer
 */
function aboutLayer(method, layer) {
  if (method !== "eah") return t("layer_other", { layer: layer.layer, json: JSON.stringify(layer) });
  const values = { ...layer, share: number(100 * layer.density) };
  if (layer.head === null) return t("layer_unchanged", values);
  return t(layer.reused ? "layer_reused" : "layer_changed", values);
}

/** @param {any} report */
function aboutCheck(report) {
  if (!report.checked) return [t("not_checked", { reason: report.error ?? reasonOf(report.reason) })];
  const denied = report.denied.join(t("comma"));
  const found = report.denied.length ? t("denied", { asked: report.asked, denied }) : t("none_denied", { asked: report.asked });
  const said = report.mentions.filter((/** @type {any} */ one) => one.p_yes !== null && one.p_yes !== undefined);
  const each = said.map((/** @type {any} */ one) => t("p_yes", { object: one.object, p: number(one.p_yes) }));
  return [found, ...(each.length ? [each.join(t("comma"))] : []), ...(report.changed ? [t("rewritten")] : [])];
}
