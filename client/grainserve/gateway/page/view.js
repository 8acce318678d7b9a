// The view of one image: its picture with outlines, its table and its curve.

import { drawCurve, percentile, sizeCurve, standsFor } from "./curve.js";
import { el, save, svg } from "./dom.js";
import { area, labelMap, outlines } from "./masks.js";

const COLUMNS = [
  ["id", (g) => g.id],
  ["area", (g, u) => g.properties[u ? "area_um2" : "area"]],
  ["diameter", (g, u) => g.properties[u ? "equivalentDiameter_um" : "equivalentDiameter"]],
  ["major axis", (g, u) => g.properties[u ? "majorAxisLength_um" : "majorAxisLength"]],
  ["minor axis", (g, u) => g.properties[u ? "minorAxisLength_um" : "minorAxisLength"]],
  ["orientation", (g) => g.properties.orientationFromX],
  ["circularity", (g) => g.properties.circularity],
];
const FORMATS = { csv: ["Table (CSV)", "csv"], json: ["Result (JSON)", "json"], overlay: ["Outlines (PNG)", "overlay.png"], sizes: ["Grain sizes (PNG)", "sizes.png"] };

/** Shows an image that is measured. */
export async function showImage(root, imageId, { grain, api, onGrain }) {
  const [{ result }, { blob }, about] = await Promise.all([api.analysis(imageId), api.preview(imageId, 1024, "png"), api.about(imageId)]);
  const scale = Math.max(1, Math.round(1100 / Math.max(result.metadata.image.width, result.metadata.image.height)));
  const map = labelMap(result), unit = result.metadata.units.umPerPx ? "µm" : "px", scaled = unit === "µm";
  const grains = result.segmentedObjects;
  const size = { width: map.width * scale, height: map.height * scale };
  const picture = el("canvas", { id: "picture", ...size }), marked = el("canvas", { id: "marked", ...size });
  const tip = el("div", { id: "tip", role: "status", hidden: true });
  const head = el("tr", {}, ...COLUMNS.map(([title]) => el("th", {}, heading(title, unit))));
  const rows = grains.map((each) => el("tr", { "data-id": each.id }, ...COLUMNS.map(([, value]) => el("td", {}, short(value(each, scaled))))));
  const table = el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "grains" }, el("table", { id: "grains" }, el("thead", {}, head), el("tbody", {}, ...rows)));
  const curve = svg("svg", { id: "curve", viewBox: "0 0 640 300", role: "img", "aria-label": "Cumulative grain-size curve, corrected for the frame" });
  const { model, version, processTime, warnings } = result.metadata;
  const buttons = Object.entries(FORMATS).map(([format, [label]]) => el("button", { type: "button", "data-format": format }, label));
  const measure = (each) => COLUMNS[2][1](each, scaled), frame = result.metadata.frame ?? result.metadata.image;
  const count = (each) => standsFor(each.properties, frame);
  const number = sizeCurve(grains, measure, count);
  root.replaceChildren(
    el("h1", { id: "name" }, about.name),
    el("p", { id: "summary" }, [`${grains.length} grains`, `${model} ${version}`, `${processTime.toFixed(1)} s`, ...warnings].join(" · ")),
    el("div", { id: "stage" }, picture, marked, tip),
    el("nav", { id: "downloads", "aria-label": "Downloads" }, ...buttons),
    el("figure", {}, curve, el("figcaption", { id: "percentiles" }, sizes(number, grains, unit))),
    table,
  );
  drawCurve(curve, number, sizeCurve(grains, measure, (each) => count(each) * each.properties.area), unit);
  picture.getContext("2d").drawImage(await createImageBitmap(blob), 0, 0, size.width, size.height);
  const lines = outlines(map, scale);
  let now = null;

  function mark(id) {
    if (now === id) return;
    now = id;
    const context = marked.getContext("2d");
    context.clearRect(0, 0, size.width, size.height);
    stroke(context, lines, "rgb(255 255 255 / 75%)", 3.5);
    stroke(context, lines, "#0a4dff", 1.5);
    const found = grains.find((each) => each.id === id);
    if (found) {
      context.fillStyle = "rgb(255 200 60 / 50%)";
      context.fill(area(map, scale, id, found.properties.boundingBox));
      stroke(context, outlines(map, scale, id, found.properties.boundingBox), "#ff9500", 3);
    }
    rows.forEach((row) => row.classList.toggle("marked", row.dataset.id === String(id)));
  }

  marked.addEventListener("mousemove", (event) => {
    const box = marked.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * map.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * map.height);
    const id = map.labels[y * map.width + x] ?? 0;
    mark(id);
    tip.hidden = !id;
    if (!id) return;
    const found = grains.find((each) => each.id === id);
    const value = (index) => short(COLUMNS[index][1](found, scaled));
    table.scrollTop = rows.find((row) => row.dataset.id === String(id)).offsetTop - table.clientHeight / 2;
    tip.textContent = `grain ${id}\n${value(2)} ${unit} across, ${value(1)} ${unit}²\naxes ${value(3)} × ${value(4)} ${unit}, ${value(5)}°`;
    tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 190)}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
  });
  marked.addEventListener("click", () => onGrain(now));
  marked.addEventListener("mouseleave", () => {
    mark(0);
    tip.hidden = true;
  });
  root.querySelector("#downloads").addEventListener("click", async ({ target }) => {
    const { format } = target.dataset;
    if (format) save(await api.file(imageId, format), `${about.name.replace(/\.[^.]+$/, "")}.${FORMATS[format][1]}`);
  });
  mark(grain ?? 0);
  return { close() {} };
}

function heading(title, unit) {
  const units = { area: `${unit}²`, diameter: unit, "major axis": unit, "minor axis": unit, orientation: "°" }[title];
  return units ? `${title} (${units})` : title;
}

/** Returns D-values by number, and that they are corrected for the frame. */
function sizes(curve, grains, unit) {
  if (!grains.length) return "No grains were found.";
  if (!curve.length) return `The frame cuts all ${grains.length} grains: no size can be corrected for it.`;
  const values = [10, 50, 90].map((p) => `D${p} ${short(percentile(curve, p / 100))} ${unit}`).join(", ");
  return `By number, corrected for the frame (${curve.length} whole grains of ${grains.length}, weighted by 1/P): ${values}`;
}

/** Returns a number with three significant digits; a dash for a missing value. */
function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
}

function stroke(context, path, colour, width) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width });
  context.stroke(path);
}
