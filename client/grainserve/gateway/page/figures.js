// The statistics of one image, as the gateway makes them: key figures, remarks and the curve.

import { sizeChart } from "./chart.js";
import { el } from "./dom.js";
import { flagList } from "./flags.js";
import { interval, percentiles } from "./sample_tables.js";
import { fault, number, percent, t } from "./words.js";

/**
 * Makes the key figures and the remarks.
 *
 * @param {Object|null} statistics as `format=statistics` returns them; null where no size can be taken
 * @param {Error|null} reason why there are none
 * @param {Object} result the analysis
 */
export function keyFigures(statistics, reason, result) {
  const { warnings } = result.metadata, grains = result.segmentedObjects.length;
  const figure = (name, value, note) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null));
  const parts = [];
  if (!grains) parts.push(el("p", { class: "flag note" }, t("view.no_grains")));
  else if (!statistics) parts.push(el("p", { class: "flag note" }, reason.code === "no_grains" ? t("view.all_cut", { n: grains }) : fault(reason)));
  else {
    const { number: byNumber, unit, used, atEdge, coverage } = statistics;
    const sizes = [10, 50, 90].map((p) => {
      const [value, note] = [interval(byNumber.percentiles[p])].flat();
      return figure(`D${p}`, `${value} ${unit}`, note);
    });
    parts.push(
      el("dl", { class: "key-figures", id: "figures" }, ...sizes, figure(t("view.grains"), number(statistics.grains), t("view.used", { n: used, cut: atEdge })), figure(t("view.coverage"), percent(coverage))),
    );
    if (statistics.flags?.length) parts.push(flagList(statistics.flags));
  }
  if (warnings.length) parts.push(el("ul", { class: "flags", "aria-label": t("view.warnings") }, ...warnings.map((text) => el("li", { class: "flag note" }, el("span", { class: "sign", "aria-hidden": "true" }, "i"), el("span", {}, text)))));
  return parts;
}

/** Makes the curve with the table of percentiles; nothing where no size can be taken. */
export function curve(statistics, name) {
  if (!statistics) return [];
  const { number: byNumber, area, unit, used, grains, resampling, edgeCorrection } = statistics;
  const series = [
    { name: t("sample.by_number"), colour: 1, ...byNumber },
    { name: t("sample.by_area"), colour: 2, dashed: true, ...area },
  ];
  const note = `${t(edgeCorrection ? "sample.corrected" : "sample.not_corrected")} ${t("view.sizes_of", { n: used, grains })} ${t("sample.holds_places", { level: percent(resampling.level) })}`;
  return [el("h2", {}, t("sample.curve")), sizeChart(series, unit, t("chart.label", { name })), el("p", { class: "soft", id: "percentiles" }, note), percentiles(statistics)];
}
