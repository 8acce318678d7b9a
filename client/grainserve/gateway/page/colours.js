// Colours of grains by a measure. People who do not tell red from green tell these apart (viridis, Okabe & Ito).

import { measure, titleOf, unitOf } from "./measures.js";
import { number, t } from "./words.js";

const RAMP = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"];
/** Begins as it ends: an axis at 0° lies like one at 180°. */
const CIRCLE = ["#e2d9e2", "#9ebbc9", "#6785be", "#5e43a5", "#2f1436", "#7b224f", "#b75c50", "#d1a88e", "#e2d9e2"];
const CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];

/** Ways to colour, in the order of the menu. */
export const WAYS = ["none", "size", "class", "score", "orientation"];

/**
 * How grains are coloured.
 *
 * @typedef {Object} Colouring
 * @property {function(Object): ?string} of colour of a grain; null: none
 * @property {string} title what the colours stand for
 * @property {string[]} [stops] colours along a ramp, from its low end
 * @property {{at: number, text: string}[]} [ticks] values along the ramp; `at` is 0 to 1
 * @property {{colour: string, text: string}[]} [items] colours that stand for something each
 */

/**
 * Makes a colouring.
 *
 * @param {string} way one of `WAYS`
 * @param {Object[]} grains objects of the result
 * @param {boolean} scaled whether sizes are in µm
 * @returns {Colouring}
 */
export function colouring(way, grains, scaled) {
  if (way === "size") return bySize(grains, scaled);
  if (way === "class") return byClass(grains);
  if (way === "score") return ramp(measure("score"), grains, false, range(values(measure("score"), grains, false)), RAMP);
  if (way === "orientation") return ramp(measure("orientation"), grains, false, [0, 180], CIRCLE);
  return { of: () => null, title: "" };
}

const values = (which, grains, scaled) => grains.map((grain) => which.of(grain, scaled)).filter(Number.isFinite);

function range(found) {
  // Not Math.min(...found): a large image has more grains than a call takes arguments.
  return found.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function bySize(grains, scaled) {
  const which = measure("diameter"), [low, high] = range(values(which, grains, scaled).filter((size) => size > 0));
  return ramp(which, grains, scaled, [low, high], RAMP, Math.log);
}

function ramp(which, grains, scaled, [low, high], stops, along = (value) => value) {
  const share = (value) => (high > low ? (along(value) - along(low)) / (along(high) - along(low)) : 0.5);
  const of = (grain) => {
    const value = which.of(grain, scaled);
    return Number.isFinite(value) ? mixed(stops, Math.min(1, Math.max(0, share(value)))) : null;
  };
  const unit = unitOf(which, scaled);
  const text = (value) => (unit === "°" ? `${number(value)}°` : number(value));
  return { of, title: titleOf(which, scaled), stops, ticks: low <= high ? ticks(low, high, along).map((value) => ({ at: share(value), text: text(value) })) : [] };
}

/** Returns the ends of a range and its middle. */
function ticks(low, high, along) {
  if (low === high) return [low];
  return [low, along === Math.log ? Math.sqrt(low * high) : (low + high) / 2, high];
}

/** Mixes neighbouring colours of a list. */
function mixed(stops, share) {
  const place = share * (stops.length - 1), index = Math.min(stops.length - 2, Math.floor(place));
  const parts = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const [from, to] = [parts(stops[index]), parts(stops[index + 1])];
  return `rgb(${from.map((value, at) => Math.round(value + (place - index) * (to[at] - value))).join(" ")})`;
}

function byClass(grains) {
  const names = [...new Set(grains.map((grain) => grain.class))].sort();
  const colour = (name) => CLASSES[Math.min(names.indexOf(name), CLASSES.length - 1)];
  return { of: (grain) => colour(grain.class), title: t("table.class"), items: names.map((name) => ({ colour: colour(name), text: name })) };
}
