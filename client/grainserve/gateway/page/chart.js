// The cumulative grain-size curve of one or more samples, with the band of its intervals, as SVG.

import { el, svg } from "./dom.js";
import { number, percent, t } from "./words.js";

const WIDTH = 720, HEIGHT = 330;
const LEFT = 52, RIGHT = 706, TOP = 12, BOTTOM = 280;

/**
 * A curve to draw.
 *
 * @typedef {Object} Series
 * @property {string} name
 * @property {Object<string, number>} curve size by percent finer, 0 to 100
 * @property {Object<string, {low: number|null, high: number|null}>} percentiles intervals by percent
 * @property {number} colour 1 to 6
 * @property {boolean} [dashed]
 */

/**
 * Draws curves over a logarithmic axis of sizes.
 *
 * @param {Series[]} series
 * @param {string} unit unit of sizes, µm or px
 * @param {string} label what the figure shows, for those who do not see it
 * @returns {HTMLElement} figure with a legend
 */
export function sizeChart(series, unit, label) {
  const sizes = series.flatMap(({ curve, percentiles }) => [...Object.values(curve), ...ends(percentiles)]).filter((size) => size > 0);
  const low = Math.min(...sizes) * 0.92, high = Math.max(...sizes) * 1.08;
  const x = (size) => LEFT + ((Math.log(size) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (RIGHT - LEFT);
  const y = (p) => BOTTOM - (p / 100) * (BOTTOM - TOP);
  const drawn = series.map(({ curve, percentiles, colour, dashed }) => [
    ...bands(percentiles, x, y).map((points) => svg("polygon", { class: `band series-${colour}`, points })),
    svg("polyline", { class: `curve series-${colour}${dashed ? " dashed" : ""}`, points: line(curve, x, y) }),
  ]);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart" }, ...axes(low, high, x, y, unit), ...drawn.flat());
  const keys = series.map(({ name, colour, dashed }) => el("li", {}, key(colour, dashed), name));
  return el("figure", { class: "sizes" }, picture, el("ul", { class: "legend" }, ...keys));
}

const ends = (percentiles) => Object.values(percentiles).flatMap(({ low, high }) => [low, high]).filter((size) => size !== null);
const ascending = (object) => Object.entries(object).map(([p, value]) => [Number(p), value]).sort((a, b) => a[0] - b[0]);
const at = (x, y) => `${x.toFixed(1)},${y.toFixed(1)}`;

function line(curve, x, y) {
  return ascending(curve).filter(([, size]) => size > 0).map(([p, size]) => at(x(size), y(p))).join(" ");
}

/** Returns the outlines of the parts of a curve that have intervals. */
function bands(percentiles, x, y) {
  const parts = [[]];
  for (const [p, { low, high }] of ascending(percentiles)) {
    if (low > 0 && high > 0) parts[parts.length - 1].push([p, low, high]);
    else if (parts[parts.length - 1].length) parts.push([]);
  }
  return parts
    .filter((part) => part.length > 1)
    .map((part) => [...part.map(([p, low]) => at(x(low), y(p))), ...[...part].reverse().map(([p, , high]) => at(x(high), y(p)))].join(" "));
}

function axes(low, high, x, y, unit) {
  const parts = [];
  for (const p of [0, 25, 50, 75, 100]) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(p), y2: y(p) }));
    parts.push(svg("text", { x: LEFT - 7, y: y(p) + 4, "text-anchor": "end" }, percent(p / 100)));
  }
  for (const size of ticks(low, high)) {
    parts.push(svg("line", { class: "grid", x1: x(size), x2: x(size), y1: TOP, y2: BOTTOM }));
    parts.push(svg("text", { x: x(size), y: BOTTOM + 18, "text-anchor": "middle" }, number(size)));
  }
  parts.push(svg("text", { x: (LEFT + RIGHT) / 2, y: BOTTOM + 40, "text-anchor": "middle" }, t("chart.size", { unit })));
  return parts;
}

/** Returns round sizes within a range: 1, 2, 5 × 10ⁿ; with fewer than four of these, all digits × 10ⁿ. */
function ticks(low, high, digits = [1, 2, 5]) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of digits) {
      const size = Number((digit * 10 ** power).toPrecision(1));
      if (size >= low && size <= high) found.push(size);
    }
  }
  return found.length < 4 && digits.length < 9 ? ticks(low, high, [1, 2, 3, 4, 5, 6, 7, 8, 9]) : found;
}

/** Makes the sample of a curve's line for a legend. */
function key(colour, dashed) {
  return svg("svg", { viewBox: "0 0 30 10", "aria-hidden": "true", class: "key" }, svg("line", { class: `curve series-${colour}${dashed ? " dashed" : ""}`, x1: 1, x2: 29, y1: 5, y2: 5 }));
}

/**
 * Draws a rose diagram of orientations that repeat after 180°.
 *
 * @param {number[]} shares share of the grains in each bin, from 0° (+x) counter-clockwise to 180°
 * @param {number|null} mean mean orientation, degrees; null: none is drawn
 * @param {string} label what the figure shows, for those who do not see it
 */
export function rose(shares, mean, label) {
  const most = Math.max(...shares, 1e-9), step = Math.PI / shares.length;
  const point = (radius, angle) => at(radius * Math.cos(angle), -radius * Math.sin(angle));
  // An area stands for a share, so the radius is its root.
  const wedge = (share, index, turn) => {
    const radius = 90 * Math.sqrt(share / most), from = index * step + turn;
    return svg("path", { class: "wedge", d: `M0,0 L${point(radius, from)} A${radius},${radius} 0 0 0 ${point(radius, from + step)} Z` });
  };
  const wedges = shares.flatMap((share, index) => (share > 0 ? [wedge(share, index, 0), wedge(share, index, Math.PI)] : []));
  const angle = (mean * Math.PI) / 180;
  const axis = mean === null ? [] : [svg("line", { class: "mean", x1: -96 * Math.cos(angle), y1: 96 * Math.sin(angle), x2: 96 * Math.cos(angle), y2: -96 * Math.sin(angle) })];
  const rings = [45, 90].map((r) => svg("circle", { class: "grid", r }));
  return svg("svg", { viewBox: "-100 -100 200 200", role: "img", "aria-label": label, class: "rose" }, ...rings, ...wedges, ...axis);
}
