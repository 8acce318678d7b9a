// Drop an image, watch its job, see its grains.

import * as api from "./api.js";
import { drawCurve, percentile, sizeCurve, standsFor } from "./curve.js";
import { area, labelMap, outlines } from "./masks.js";
import * as store from "./store.js";

const find = (selector) => document.querySelector(selector);
const COLUMNS = [
  ["id", (g) => g.id],
  ["area", (g, u) => g.properties[u ? "area_um2" : "area"]],
  ["diameter", (g, u) => g.properties[u ? "equivalentDiameter_um" : "equivalentDiameter"]],
  ["major axis", (g, u) => g.properties[u ? "majorAxisLength_um" : "majorAxisLength"]],
  ["minor axis", (g, u) => g.properties[u ? "minorAxisLength_um" : "minorAxisLength"]],
  ["orientation", (g) => g.properties.orientationFromX],
  ["circularity", (g) => g.properties.circularity],
];
const EXTENSION = { csv: "csv", json: "json", overlay: "overlay.png", sizes: "sizes.png" };

let images = store.load(); // the list survives a reload of the page
let shown = null;

// Images in, jobs watched ---------------------------------------------------------------------------------------------

async function submit(file) {
  const entry = { name: file.name, state: "uploading", imageId: null, at: Date.now() };
  images.unshift(entry);
  list();
  try {
    const options = given();
    // All tries share one key, so that a lost answer makes no second job.
    entry.imageId = await patiently(() => api.upload(file, options, (entry.key ??= randomKey())));
    entry.state = "queued";
    keep();
    await watch(entry);
    if (entry.state === "done" && !document.hidden) show(entry);
  } catch (error) {
    fail(entry, error);
  }
}

/** Returns the options of the form; accepts decimal commas. Throws where a field holds no number. */
function given() {
  const form = new FormData(find("#options"));
  const number = (name, title, whole) => {
    const text = form.get(name).trim();
    const valid = whole ? /^\d+$/ : /^\d*[.,]?\d+(e[+-]?\d+)?$/i;
    if (text && !valid.test(text)) throw new Error(`${title} is “${text}”: give a ${whole ? "whole number" : "number, such as 2.5 or 2,5"}`);
    return text.replace(",", ".");
  };
  return {
    um_per_px: number("um_per_px", "the scale", false),
    min_area: number("min_area", "the smallest grain", true),
    ignore_bottom: number("ignore_bottom", "the rows to leave out", true),
    fill: form.get("fill") ?? "",
  };
}

/** Returns 128 random bits as hex digits. Not crypto.randomUUID, which only pages over HTTPS have. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Asks again while the gateway or its storage does not answer, after longer and longer pauses. */
async function patiently(ask) {
  let waiting = null; // the message that this request has shown; messages of others stay when it is answered
  for (let pause = 500; ; pause = Math.min(2 * pause, 10000)) {
    try {
      const answer = await ask();
      if (waiting) clear(waiting);
      return answer;
    } catch (error) {
      if (![0, 429, 502, 503, 504].includes(error.status)) throw error;
      waiting = say(error.message);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function watch(entry) {
  for (let pause = 300; !store.ended(entry); pause = Math.min(1.4 * pause, 3000)) {
    const { state, position, result } = await patiently(() => api.look(entry.imageId));
    Object.assign(entry, { state, position });
    if (result) entry.grains = result.segmentedObjects.length;
    keep();
    if (state !== "done") await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Marks the entry as failed, if its upload or its job failed. Other errors, such as a missing key, are only shown. */
function fail(entry, error) {
  if (entry.imageId && ![404, 410].includes(error.status)) return say(`${entry.name}: ${error.message}`);
  Object.assign(entry, { state: "failed", reason: error.message });
  say(`${entry.name}: ${error.message}`);
  if (error.status === 404) {
    images = images.filter((other) => other !== entry);
    keep([entry.imageId]);
  } else keep();
}

/** Merges this tab's images with those of other tabs. Images without an id are not uploaded; they stay in this tab. */
function keep(gone = []) {
  images = [...images.filter((entry) => !entry.imageId), ...store.merge(images, gone)];
  list();
}

/** Shows a message until the next one; returns it. */
function say(text) {
  find("#message").textContent = text;
  find("#message").hidden = false;
  return text;
}

/** Hides a message, unless another one has replaced it. */
function clear(text) {
  if (find("#message").textContent === text) find("#message").hidden = true;
}

function list() {
  const rows = images.map((entry) => {
    const row = document.createElement("li"), name = document.createElement("span"), state = document.createElement("em");
    name.textContent = row.title = entry.name;
    state.className = entry.state;
    state.textContent = { done: `${entry.grains} grains`, queued: entry.position ? `queued (${entry.position})` : "queued" }[entry.state] ?? entry.state;
    row.append(name, state);
    if (entry === shown?.entry) row.setAttribute("aria-current", "true");
    row.addEventListener("click", () => (entry.state === "done" ? show(entry) : entry.reason && say(`${entry.name}: ${entry.reason}`)));
    return row;
  });
  find("#images").replaceChildren(...rows);
}

// One result ----------------------------------------------------------------------------------------------------------

async function show(entry) {
  try {
    const [{ result }, blob] = await Promise.all([api.look(entry.imageId), api.image(entry.imageId)]);
    const scale = Math.max(1, Math.round(1100 / Math.max(result.metadata.image.width, result.metadata.image.height)));
    shown = { entry, result, map: labelMap(result), scale, unit: result.metadata.units.umPerPx ? "µm" : "px" };
    const { width, height } = shown.map;
    for (const canvas of [find("#picture"), find("#marked")]) Object.assign(canvas, { width: width * scale, height: height * scale });
    const context = find("#picture").getContext("2d");
    try {
      context.drawImage(await createImageBitmap(blob), 0, 0, width * scale, height * scale);
    } catch {
      context.fillRect(0, 0, width * scale, height * scale); // browsers show no TIFF: draw the outlines on black
    }
    shown.lines = outlines(shown.map, scale);
    mark(0);
    describe();
    find("#view").hidden = false;
    list();
  } catch (error) {
    say(`${entry.name}: ${error.message}`); // the entry stays as it is: its job is done
  }
}

function describe() {
  const { entry, result, unit } = shown, grains = result.segmentedObjects, scaled = unit === "µm";
  const { model, version, processTime, warnings } = result.metadata;
  find("#name").textContent = entry.name;
  find("#summary").textContent = [`${grains.length} grains`, `${model} ${version}`, `${processTime.toFixed(1)} s`, ...warnings].join(" · ");
  const size = (grain) => COLUMNS[2][1](grain, scaled), frame = result.metadata.frame ?? result.metadata.image;
  const count = (grain) => standsFor(grain.properties, frame);
  const number = sizeCurve(grains, size, count);
  const byArea = sizeCurve(grains, size, (grain) => count(grain) * grain.properties.area);
  drawCurve(find("#curve"), number, byArea, unit);
  find("#percentiles").textContent = sizes(number, grains, unit);
  const header = document.createElement("tr");
  for (const [title] of COLUMNS) {
    const units = { area: `${unit}²`, diameter: unit, "major axis": unit, "minor axis": unit, orientation: "°" }[title];
    header.append(Object.assign(document.createElement("th"), { textContent: units ? `${title} (${units})` : title }));
  }
  find("#grains thead").replaceChildren(header);
  find("#grains tbody").replaceChildren(
    ...grains.map((grain) => {
      const row = document.createElement("tr");
      row.dataset.id = grain.id;
      for (const [, value] of COLUMNS) row.insertCell().textContent = short(value(grain, scaled));
      row.addEventListener("mouseenter", () => mark(grain.id));
      row.addEventListener("mouseleave", () => mark(0));
      return row;
    }),
  );
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

/** Outlines all grains and fills the one with this id; 0: none. */
function mark(id) {
  if (!shown || shown.marked === id) return;
  shown.marked = id;
  const { map, scale, lines, result } = shown, context = find("#marked").getContext("2d");
  context.clearRect(0, 0, map.width * scale, map.height * scale);
  stroke(context, lines, "rgb(255 255 255 / 75%)", 3.5);
  stroke(context, lines, "#0a4dff", 1.5);
  const grain = result.segmentedObjects.find((each) => each.id === id);
  if (grain) {
    context.fillStyle = "rgb(255 200 60 / 50%)";
    context.fill(area(map, scale, id, grain.properties.boundingBox));
    stroke(context, outlines(map, scale, id, grain.properties.boundingBox), "#ff9500", 3);
  }
  find("#grains tr.marked")?.classList.remove("marked");
  find(`#grains tr[data-id="${id}"]`)?.classList.add("marked");
}

function stroke(context, path, colour, width) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width });
  context.stroke(path);
}

find("#marked").addEventListener("mousemove", (event) => {
  const { map, result, unit } = shown, box = event.target.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * map.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * map.height);
  const id = map.labels[y * map.width + x] ?? 0, tip = find("#tip");
  mark(id);
  tip.hidden = !id;
  if (!id) return;
  const grain = result.segmentedObjects.find((each) => each.id === id);
  const row = find(`#grains tr[data-id="${id}"]`);
  // Not scrollIntoView: it would also scroll the page, and so move the picture away from under the pointer.
  find(".table").scrollTop = row.offsetTop - find(".table").clientHeight / 2;
  const value = (index) => short(COLUMNS[index][1](grain, unit === "µm"));
  tip.textContent = `grain ${id}\n${value(2)} ${unit} across, ${value(1)} ${unit}²\naxes ${value(3)} × ${value(4)} ${unit}, ${value(5)}°`;
  tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 190)}px`;
  tip.style.top = `${event.clientY - box.top + 14}px`;
});
find("#marked").addEventListener("mouseleave", () => {
  mark(0);
  find("#tip").hidden = true;
});

find("#downloads").addEventListener("click", async ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await api.file(shown.entry.imageId, format));
    link.download = `${shown.entry.name.replace(/\.[^.]+$/, "")}.${EXTENSION[format]}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    say(error.message);
  }
});

// Dropping ------------------------------------------------------------------------------------------------------------

const drop = find("#drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") [...event.dataTransfer.files].forEach(submit);
  });
}
find("#file").addEventListener("change", ({ target }) => {
  [...target.files].forEach(submit);
  target.value = "";
});
find("#options").addEventListener("submit", (event) => event.preventDefault());

list();
for (const entry of images) {
  if (!store.ended(entry)) watch(entry).catch((error) => fail(entry, error));
}
store.onChange(() => keep());
