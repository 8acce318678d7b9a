// What colours, dashes and hatches mean, and the choice of colours.

import { colouring, WAYS } from "./colours.js";
import { el, svg } from "./dom.js";
import { t } from "./words.js";

/**
 * Makes the legend with its controls.
 *
 * @param {Object} given
 * @param {boolean} given.classes whether grains have different classes
 * @param {function(import("./colours.js").Colouring, boolean): void} given.onChange colours were chosen, or outlines
 */
export function makeLegend({ classes, onChange }) {
  const ways = WAYS.filter((way) => way !== "class" || classes);
  const choice = el("select", { id: "colour" }, ...ways.map((way) => el("option", { value: way }, t(`legend.${way}`))));
  const outlines = el("input", { type: "checkbox", id: "outlines" });
  outlines.checked = true;
  const meaning = el("div", { class: "meaning" });
  const element = el(
    "div",
    { class: "picture-legend" },
    el("div", { class: "choices" }, el("label", { for: "colour" }, t("legend.colour")), choice, el("label", { class: "check" }, outlines, t("legend.outlines"))),
    meaning,
  );
  let grains = [], scaled = false, marks = [];
  const show = () => {
    const chosen = colouring(grains.length ? choice.value : "none", grains, scaled);
    meaning.replaceChildren(...[colours(chosen), ...marks].filter(Boolean));
    onChange(chosen, outlines.checked);
  };
  element.addEventListener("change", show);
  return {
    element,
    /** Takes grains, whether they have sizes in µm, and which marks the picture has: cut, boxes, frame. */
    update(nextGrains, nextScaled, kinds) {
      [grains, scaled] = [nextGrains, nextScaled];
      marks = kinds.map((kind) => el("span", { class: "mark" }, sample(kind), t(`legend.${kind}`)));
      show();
    },
  };
}

function colours({ title, stops, ticks, items }) {
  if (items) return el("div", { class: "items", role: "group", "aria-label": title }, ...items.map(({ colour, text }) => el("span", { class: "mark" }, swatch(colour), text)));
  if (!stops || !ticks.length) return null;
  const id = "ramp-colours";
  const gradient = svg("linearGradient", { id }, ...stops.map((colour, index) => svg("stop", { offset: index / (stops.length - 1), "stop-color": colour })));
  const texts = ticks.map(({ at, text }) => svg("text", { x: 12 + 216 * at, y: 31, "text-anchor": at < 0.1 ? "start" : at > 0.9 ? "end" : "middle", dx: at < 0.1 ? -12 : at > 0.9 ? 12 : 0 }, text));
  const label = `${title}: ${ticks.map(({ text }) => text).join(" – ")}`;
  const bar = svg("svg", { viewBox: "0 0 240 36", class: "ramp", role: "img", "aria-label": label }, gradient, svg("rect", { width: 240, height: 14, rx: 3, fill: `url(#${id})` }), ...texts);
  return el("div", { class: "ramp-of" }, el("span", {}, title), bar);
}

const swatch = (colour) => svg("svg", { viewBox: "0 0 16 16", class: "swatch", "aria-hidden": "true" }, svg("rect", { width: 16, height: 16, rx: 3, fill: colour }));

/** Draws a mark as the picture has it. */
function sample(kind) {
  const inside = {
    cut: [svg("path", { d: "M0 8 8 0M0 16 16 0M8 16 16 8", class: "hatched" }), svg("rect", { x: 1, y: 1, width: 14, height: 14, class: "outline dashed" })],
    boxes: [svg("rect", { x: 1, y: 1, width: 14, height: 14, class: "outline dashed" })],
    frame: [svg("rect", { x: 1, y: 1, width: 14, height: 14, class: "outline frame dashed" })],
  }[kind];
  return svg("svg", { viewBox: "0 0 16 16", class: "swatch", "aria-hidden": "true" }, svg("rect", { width: 16, height: 16, class: "ground" }), ...inside);
}
