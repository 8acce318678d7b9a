// The tables of a sample's statistics. All numbers are the gateway's; here they are only written out.

import { el } from "./dom.js";
import { toImage } from "./router.js";
import { fixed, has, measured, number, t } from "./words.js";

/** Makes a table with a caption; cells that are arrays are a value and a note below it. */
export function table(caption, head, rows) {
  const cell = (content, index) =>
    el(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {}, ...(Array.isArray(content) ? [content[0], el("small", {}, content[1])] : [content]));
  return el(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...head.map((title, index) => (index || title ? el("th", { scope: "col" }, title) : el("td", {}))))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell)))),
    ),
  );
}

/** Writes a value; its interval, or the reason why there is none, goes below it. */
export function interval({ value, low, high, reason }, write = measured) {
  if (low !== null && high !== null) return [write(value), t("sample.from_to", { low: write(low), high: write(high) })];
  return reason ? [write(value), t(`reasons.${reason}`)] : write(value);
}

/** Makes the table of percentiles by number and by area. */
export function percentiles({ number: byNumber, area, unit }) {
  const row = (label, one, other) => [label, interval(one), interval(other)];
  const rows = Object.keys(byNumber.percentiles)
    .sort((a, b) => a - b)
    .map((p) => row(`D${p}`, byNumber.percentiles[p], area.percentiles[p]));
  rows.push(row(t("sample.mean"), byNumber.mean, area.mean));
  return table(t("sample.sizes", { unit }), ["", t("sample.by_number"), t("sample.by_area")], rows);
}

/** Makes the table of Folk & Ward's graphic measures; null without a scale, which φ needs. */
export function folkWard({ number: byNumber, area }) {
  if (!byNumber.folkWard || !area.folkWard) return null;
  const both = (name, write) => [byNumber, area].map(({ folkWard: found }) => withClass(interval(found[name], write), found[`${name}Class`]));
  const write = (value) => fixed(value, 2);
  const rows = ["mean", "sorting", "skewness", "kurtosis"].map((name) => [t(`folk.${name}`), ...both(name, write)]);
  return table(t("folk.title"), ["", t("sample.by_number"), t("sample.by_area")], rows);
}

function withClass(cell, name) {
  if (!name) return cell;
  const [value, note] = Array.isArray(cell) ? cell : [cell, null];
  const words = classText(name);
  return [value, note ? `${words} · ${note}` : words];
}

/** Returns the name of a class in the reader's language. */
function classText(name) {
  const key = `classes.${name.replace(/[^a-z]+/g, "_")}`;
  return has(key) ? t(key) : name;
}

/** Makes the table of Wentworth's classes; null without a scale. */
export function wentworth({ number: byNumber, area }) {
  if (!byNumber.wentworth || !area.wentworth) return null;
  const rows = Object.keys(byNumber.wentworth)
    .filter((name) => byNumber.wentworth[name] > 0 || area.wentworth[name] > 0)
    .map((name) => [classText(name), fixed(100 * byNumber.wentworth[name], 1), fixed(100 * area.wentworth[name], 1)]);
  return table(t("classes.title"), ["", t("sample.by_number"), t("sample.by_area")], rows);
}

/** Makes the table of ASTM grain size numbers. */
export function astm(numbers) {
  const rows = numbers.map(({ method, g, meanSize, densityUnit, fields, count }) => [
    t(`astm.${method.replaceAll("-", "_")}`),
    interval(g, (value) => fixed(value, 2)),
    `${measured(1000 ** (densityUnit === "mm⁻²" ? 2 : 1) * meanSize)} ${densityUnit === "mm⁻²" ? "µm²" : "µm"}`,
    number(count, 4),
    number(fields),
  ]);
  return table(t("astm.title"), ["", "G", t("astm.mean_size"), t("astm.count"), t("astm.fields")], rows);
}

/** Makes the table of a sample's images; names lead to them. */
export function images({ images: figures, imageIds, unit }, removable) {
  const made = table(
    t("sample.per_image"),
    [t("sample.image"), t("sample.grains"), t("sample.cut"), t("sample.d50_number", { unit }), t("sample.d50_area", { unit }), ...(removable ? [t("sample.take_out_head")] : [])],
    figures.map((each, index) => [
      el("a", { href: toImage(imageIds[index]) }, each.image),
      number(each.grains),
      number(each.atEdge),
      measured(each.d50Number),
      measured(each.d50Area),
      ...(removable ? [el("button", { type: "button", class: "quiet", "data-do": "remove", "data-id": imageIds[index], "aria-label": t("sample.take_out", { name: each.image }) }, "×")] : []),
    ]),
  );
  made.classList.add("per-image");
  return made;
}
