// What is known of a grain: its measures, as the table lists them and as the picture can be coloured by.

import { fixed, t } from "./words.js";

/**
 * A measure of a grain.
 *
 * @typedef {Object} Measure
 * @property {string} name name in the dictionary, `table.NAME`
 * @property {function(Object, boolean): (number|string|null)} of its value; true: in µm, where it is a length or an area
 * @property {string} [kind] length, area, angle or text; none: a number without a unit
 */

const length = (key) => ({ kind: "length", of: ({ properties }, scaled) => properties[scaled ? `${key}_um` : key] });
const plain = (key) => ({ of: ({ properties }) => properties[key] });

/** @type {Measure[]} */
export const MEASURES = [
  { name: "id", of: ({ id }) => id },
  { name: "class", kind: "text", of: (grain) => grain.class },
  { name: "diameter", ...length("equivalentDiameter") },
  { name: "area", kind: "area", of: ({ properties }, scaled) => properties[scaled ? "area_um2" : "area"] },
  { name: "major", ...length("majorAxisLength") },
  { name: "minor", ...length("minorAxisLength") },
  { name: "feret", ...length("feretMax") },
  { name: "orientation", kind: "angle", ...plain("orientationFromX") },
  { name: "circularity", ...plain("circularity") },
  { name: "aspect", ...plain("aspectRatio") },
  { name: "score", of: ({ score }) => score },
];

/** Returns the measure of a name. */
export const measure = (name) => MEASURES.find((each) => each.name === name);

/** Returns the unit of a measure; "" where it has none. */
export function unitOf({ kind }, scaled) {
  const unit = scaled ? "µm" : "px";
  return { length: unit, area: `${unit}²`, angle: "°" }[kind] ?? "";
}

/** Returns a measure's name with its unit. */
export function titleOf(which, scaled) {
  const unit = unitOf(which, scaled), name = t(`table.${which.name}`);
  return unit ? `${name} (${unit})` : name;
}

/**
 * Makes a function that writes a grain's value of a measure in the reader's way. All values of a measure have as many
 * decimal places, so that they line up: three digits of a middling one.
 *
 * @param {Object[]} grains
 * @param {boolean} scaled whether lengths and areas are in µm
 * @returns {function(Measure, Object): string}
 */
export function writer(grains, scaled) {
  const places = new Map();
  for (const { name, of } of MEASURES) {
    const found = grains.map((grain) => of(grain, scaled)).filter((value) => Number.isFinite(value) && value !== 0);
    const middle = Math.abs(found.sort((a, b) => a - b)[Math.floor(found.length / 2)] ?? 1);
    places.set(name, Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(middle)))));
  }
  return ({ name, kind, of }, grain) => {
    const value = of(grain, scaled);
    if (name === "id") return String(value);
    return kind === "text" ? value : fixed(value, places.get(name));
  };
}

/**
 * Tells whether sizes are taken without a grain: the frame cuts it, or it is as long as the frame, so that the chance of
 * seeing it whole is none (`grainserve.results.edge_correction`).
 */
export function leftOut({ properties: { touchesEdge, boundingBox } }, frame) {
  return touchesEdge || boundingBox.width >= frame.width || boundingBox.height >= frame.height;
}

/** Returns the part of an image that was measured. */
export const frameOf = ({ metadata }) => metadata.frame ?? { x: 0, y: 0, width: metadata.image.width, height: metadata.image.height };
