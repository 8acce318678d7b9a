// The files and reports that can be saved of a sample.

import * as api from "./api.js";
import { save } from "./dom.js";
import { attempt, say } from "./messages.js";
import { t } from "./words.js";

/** Formats of a sample's export, each with the ending of its file; those of images come as an archive. */
const FORMATS = [
  ["zip", ".zip"],
  ["xlsx", ".xlsx"],
  ["csv", ".csv"],
  ["statistics", "_statistics.json"],
  ["parquet", ".parquet"],
  ["coco", "_coco.json"],
];
const OF_EACH = ["json", "overlay", "sizes", "wadell", "geojson", "geojson-map", "qupath", "labels", "roi"];

/** Returns a name that every system takes for a file. */
const fileName = (name) => name.replace(/[\\/:*?"<>|\p{Cc}]/gu, "_");

/** Returns the menu's actions that save a sample as files. */
export function exportItems({ sampleId, name }) {
  const item = (format, ending) => ({
    label: t(`formats.${format.replaceAll("-", "_")}`),
    run: () => fetched(() => api.sampleExport(sampleId, format), fileName(name) + ending),
  });
  return [
    ...FORMATS.map(([format, ending]) => item(format, ending)),
    { title: t("formats.of_each") },
    ...OF_EACH.map((format) => item(format, `_${format}.zip`)),
  ];
}

/** Returns the menu's actions that save a sample's report. */
export const reportItems = ({ sampleId, name }) =>
  ["html", "pdf"].map((format) => ({
    label: t(`formats.report_${format}`),
    run: () => fetched(() => api.sampleReport(sampleId, format), `${fileName(name)}.${format}`),
  }));

/** Returns the menu's actions that save the report that compares samples. */
export const comparisonItems = (ids) =>
  ["html", "pdf"].map((format) => ({
    label: t(`formats.report_${format}`),
    run: () => fetched(() => api.comparisonReport(ids, format), `${t("compare.file")}.${format}`),
  }));

async function fetched(ask, name) {
  say(t("sample.preparing", { name }));
  // The gateway makes few reports at once, and says "later" to more: they wait their turn.
  await attempt(async () => save(await api.patiently(ask), name), name);
}
