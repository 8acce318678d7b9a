// The view that compares samples: their curves, and their figures side by side.

import * as api from "./api.js";
import { sizeChart } from "./chart.js";
import { el, onDo } from "./dom.js";
import { flagList } from "./flags.js";
import { openMenu } from "./menu.js";
import { toSample } from "./router.js";
import { comparisonItems } from "./sample_files.js";
import { interval, table } from "./sample_tables.js";
import { fault, fixed, number, percent, t } from "./words.js";

const COLOURS = 6;

/**
 * Shows a comparison of samples.
 *
 * @param {HTMLElement} root where to show it
 * @param {string[]} ids ids of the samples
 * @returns {Promise<{close: function(): void}>}
 */
export async function showComparison(root, ids) {
  let open = true;
  const report = el("button", { type: "button", class: "primary", "data-do": "report", "aria-haspopup": "menu" }, t("sample.report"), " ▾");
  const head = el("header", { class: "head" }, el("div", {}, el("h1", {}, t("compare.title", { n: ids.length }))), el("div", { class: "actions" }, report));
  const body = el("div", { class: "comparison" }, el("p", { class: "soft", role: "status" }, t("sample.pooling")));
  const article = el("article", { class: "sample" }, head, body);
  root.replaceChildren(article);
  onDo(article, { report: (button) => openMenu(button, comparisonItems(ids)) });
  fill();

  async function fill() {
    try {
      const { samples } = await api.patiently(() => api.comparison(ids), () => open);
      if (open) body.replaceChildren(...figures(samples));
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      if (open) body.replaceChildren(el("p", { class: "flag error", role: "status" }, fault(error)));
    }
  }

  return {
    close() {
      open = false;
    },
  };
}

function figures(samples) {
  const [{ unit }] = samples;
  if (samples.some((each) => each.unit !== unit)) return [el("p", { class: "flag error" }, t("compare.units"))];
  return [
    ...["number", "area"].map((weighting) => curves(samples, weighting, unit)),
    el("section", {}, el("h2", {}, t("compare.figures")), sideBySide(samples, unit)),
    el("section", {}, el("h2", {}, t("flags.title")), ...samples.flatMap((each) => [el("h3", {}, el("a", { href: toSample(each.sampleId) }, each.name)), flagList(each.flags)])),
  ];
}

function curves(samples, weighting, unit) {
  const series = samples.map((each, index) => ({ name: each.name, colour: (index % COLOURS) + 1, dashed: index >= COLOURS, ...each[weighting] }));
  const title = t(`sample.by_${weighting}`);
  return el("section", {}, el("h2", {}, title), sizeChart(series, unit, t("compare.label", { weighting: title })));
}

function sideBySide(samples, unit) {
  const row = (label, read) => [label, ...samples.map(read)];
  const sizes = [10, 50, 90].flatMap((p) => ["number", "area"].map((weighting) => row(`D${p} ${t(`sample.by_${weighting}`)} (${unit})`, (each) => interval(each[weighting].percentiles[p]))));
  return table(
    t("compare.figures"),
    ["", ...samples.map(({ name }) => name)],
    [
      row(t("compare.images"), (each) => number(each.images.length)),
      row(t("sample.grains"), (each) => number(each.grains)),
      row(t("sample.coverage"), (each) => percent(each.coverage)),
      ...sizes,
      row(t("compare.orientation"), ({ orientation: { mean } }) => (mean === null ? "–" : `${fixed(mean, 0)}°`)),
      row(t("compare.resultant"), ({ orientation: { resultant } }) => fixed(resultant, 2)),
    ],
  );
}
