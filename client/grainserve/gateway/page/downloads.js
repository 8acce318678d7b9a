// Files of one image: its report, its table, and every format of `grainserve export`.

import * as api from "./api.js";
import { el, save } from "./dom.js";
import { openMenu } from "./menu.js";
import { attempt, say } from "./messages.js";
import { t } from "./words.js";

/** Formats, each with the ending of its file, as `exports/formats.py` has them. */
const FORMATS = [
  ["csv", ".csv"],
  ["json", ".json"],
  ["statistics", "_statistics.json"],
  ["overlay", "_overlay.png"],
  ["sizes", "_sizes.png"],
  ["labels", "_labels.ome.tif"],
  ["roi", "_rois.zip"],
  ["coco", "_coco.json"],
  ["geojson", ".geojson"],
  ["geojson-map", "_map.geojson"],
  ["qupath", "_qupath.geojson"],
  ["wadell", "_wadell.csv"],
  ["parquet", ".parquet"],
];

/**
 * Makes the buttons that save files.
 *
 * @param {string} imageId
 * @param {string} name name of the image
 */
export function makeDownloads(imageId, name) {
  const stem = name.replace(/\.[^.]+$/, "").replace(/[\\/:*?"<>|\p{Cc}]/gu, "_");
  const fetched = async (ask, file) => {
    say(t("sample.preparing", { name: file }));
    await attempt(async () => save(await ask(), file), file);
  };
  const run = Object.fromEntries([
    ...FORMATS.map(([format, ending]) => [format, () => fetched(() => api.file(imageId, format), stem + ending)]),
    ...["html", "pdf"].map((kind) => [`report_${kind}`, () => fetched(() => api.report(imageId, kind), `${stem}.${kind}`)]),
    ["original", () => fetched(() => api.original(imageId), name)],
  ]);
  const label = (format) => t(`view.file_${format.replaceAll("-", "_")}`);
  const button = (format, text, more = {}) => el("button", { type: "button", "data-format": format, ...more }, text);
  const nav = el(
    "nav",
    { id: "downloads", "aria-label": t("view.files") },
    button("report_pdf", t("view.report")),
    button("csv", t("view.table_file")),
    button("more", `${t("view.save_as")} ▾`, { "aria-haspopup": "menu" }),
  );
  nav.addEventListener("click", ({ target }) => {
    const { format } = target.dataset;
    if (format === "more") openMenu(target, Object.keys(run).map((each) => ({ label: label(each), run: run[each] })));
    else run[format]?.();
  });
  return nav;
}
