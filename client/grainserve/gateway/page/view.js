// The view of one image: its picture with outlines, its numbers, its table and its curve, which all follow its scale.

import * as api from "./api.js";
import { el } from "./dom.js";
import { makeDownloads } from "./downloads.js";
import { curve, keyFigures } from "./figures.js";
import { makeLegend } from "./legend.js";
import { changed } from "./library.js";
import { shapesOf } from "./masks.js";
import { frameOf, leftOut, measure, unitOf, writer } from "./measures.js";
import { Picture } from "./picture.js";
import { makeScalePanel } from "./scale_panel.js";
import { makeTable } from "./table.js";
import { makeViewer } from "./viewer.js";
import { fault, moment, number, t } from "./words.js";

const TOLD = ["diameter", "area", "major", "minor", "orientation", "circularity", "score"];

/**
 * Shows an image that is measured.
 *
 * @param {HTMLElement} root where to show it
 * @param {string} imageId
 * @param {Object} given
 * @param {number} [given.grain] id of the grain that is chosen from the beginning
 * @param {function(number): void} given.onGrain called when another grain is chosen; 0: none
 * @returns {Promise<{close: function(): void}>}
 */
export async function showImage(root, imageId, { grain: first, onGrain }) {
  const [analysis, about, scale] = await Promise.all([api.analysis, api.about, api.scale].map((ask) => api.patiently(() => ask(imageId))));
  let { result } = analysis, open = true, turn = 0;
  let byId = new Map(), colours = { of: () => null }, left = null, outlines = true, write = null;
  const { image: size, model, version, timestamp, processTime } = result.metadata;
  const frame = frameOf(result), name = about.name || imageId;
  const isLeftOut = ({ properties }) => leftOut({ properties }, frame);
  const scaled = () => Boolean(result.metadata.units.umPerPx);
  const classes = new Set(result.segmentedObjects.map((each) => each.class)).size;
  const shapes = await shapesOf(result);

  const picture = new Picture(api, imageId, size, () => viewer.change());
  const viewer = makeViewer({
    name,
    size,
    shapes,
    picture,
    frame,
    tell,
    onHover: (id) => table.hover(id),
    onPin: (id) => pin(id),
    next: (step) => table.next(step),
  });
  const table = makeTable({
    grains: result.segmentedObjects,
    scaled: scaled(),
    isLeftOut,
    onHover: (id) => viewer.hover(id),
    onPin: (id) => pin(id, true),
    onFilter(ids) {
      left = ids;
      restyle();
    },
  });
  const legend = makeLegend({
    classes: classes > 1,
    onChange(colouring, lines) {
      [colours, outlines] = [colouring, lines];
      restyle();
    },
  });
  const panel = makeScalePanel(imageId, scale, { askLine: viewer.askLine, clearLine: viewer.clearLine, change: refresh });
  const figures = el("div", { class: "figures", "aria-live": "polite" }), sizes = el("section", { class: "curve-of", "aria-label": t("sample.curve") });
  const missing = el("p", { class: "flag note", role: "status", hidden: true });
  const info = [t("view.size", { width: size.width, height: size.height }), `${model} ${version}`, t("view.took", { seconds: number(processTime, 2) }), moment(timestamp)];
  root.replaceChildren(
    el(
      "article",
      { class: "image" },
      el("header", { class: "head" }, el("div", {}, el("h1", { id: "name" }, name), el("p", { class: "soft", id: "summary" }, info.filter(Boolean).join(" · "))), makeDownloads(imageId, name)),
      figures,
      panel.element,
      el("div", { class: "picture-and-table" }, el("section", { class: "picture-of", "aria-label": t("view.picture") }, missing, viewer.stage, legend.element, viewer.help), table.element),
      sizes,
    ),
  );
  fill();
  loadPicture();
  if (first && byId.has(first)) pin(first, true, false);

  /** Shows what depends on the result and its scale; statistics, which take longer, follow. */
  function fill() {
    byId = new Map(result.segmentedObjects.map((each) => [each.id, each]));
    write = writer(result.segmentedObjects, scaled());
    count();
    table.update(result.segmentedObjects, scaled());
    legend.update(result.segmentedObjects, scaled(), marks());
    viewer.scale(result.metadata.units.umPerPx);
  }

  async function count() {
    const mine = ++turn, shown = result;
    figures.setAttribute("aria-busy", "true");
    if (!figures.children.length) figures.append(el("p", { class: "soft" }, t("view.counting")));
    let statistics = null, reason = null;
    try {
      if (shown.segmentedObjects.length) statistics = await api.patiently(() => api.statistics(imageId), () => open && mine === turn);
    } catch (error) {
      reason = error; // such as: the frame cuts all grains
    }
    if (!open || mine !== turn) return;
    figures.replaceChildren(...keyFigures(statistics, reason, shown));
    figures.removeAttribute("aria-busy");
    sizes.replaceChildren(...curve(statistics, name));
  }

  /** Asks for everything that depends on the scale again. */
  async function refresh() {
    const { result: next } = await api.analysis(imageId);
    if (!open) return;
    result = next;
    fill();
    changed();
  }

  async function loadPicture() {
    try {
      await picture.load();
    } catch (error) {
      if (!open) return;
      missing.textContent = `${t("view.no_picture")} ${fault(error)}`;
      missing.hidden = false;
    }
    if (open) viewer.change();
  }

  function marks() {
    const found = [];
    if (result.segmentedObjects.some(isLeftOut)) found.push("cut");
    if (shapes.some(({ exact }) => !exact)) found.push("boxes");
    if (frame.width < size.width || frame.height < size.height) found.push("frame");
    return found;
  }

  function restyle() {
    viewer.style((id) => ({ fill: colours.of(byId.get(id)), dashed: isLeftOut(byId.get(id)), faded: Boolean(left && !left.has(id)) }), outlines);
  }

  function pin(id, seek = false, tellRouter = true) {
    viewer.pin(id, seek);
    table.pin(id);
    if (tellRouter) onGrain(id);
  }

  /** Returns what the tip says of a grain. */
  function tell(id) {
    const grain = byId.get(id);
    const lines = TOLD.map((key) => {
      const which = measure(key), unit = unitOf(which, scaled());
      return `${t(`table.${key}`)} ${write(which, grain)}${unit === "°" ? "" : " "}${unit}`.trim();
    });
    const title = t("view.grain", { id: String(id) });
    return [classes > 1 ? `${title} · ${grain.class}` : title, ...lines, ...(isLeftOut(grain) ? [t("legend.cut")] : [])].join("\n");
  }

  return {
    close() {
      open = false;
      viewer.close();
      table.close();
    },
  };
}
