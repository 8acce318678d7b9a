// A scale as people write it: 2,5 or 2.5 µm/px, 0.4 px/µm, 2500 nm/px, 1 mm = 412 px.

const MICROMETRES = { nm: 1e-3, µm: 1, um: 1, mm: 1e3, cm: 1e4, m: 1e6 };
const NUMBER = String.raw`(\d+(?:[.,]\d*)?|[.,]\d+)(?:e([+-]?\d+))?`;
const UNIT = "(nm|µm|um|mm|cm|m)";
const ONE = new RegExp(`^${NUMBER}$`);
const LENGTH_PER_PIXEL = new RegExp(`^${NUMBER}${UNIT}(?:(?:/|per|pro|je)?(?:px|pixel))?$`);
const PIXELS_PER_LENGTH = new RegExp(`^${NUMBER}(?:px|pixel)(?:/|per|pro|je)${UNIT}$`);
const EQUATION = new RegExp(`^${NUMBER}${UNIT}=${NUMBER}(?:px|pixel)$`);

/** Reads a whole part, a decimal part after a comma or a point, and a power of ten. */
const value = (digits, power = "0") => Number(`${digits.replace(",", ".")}e${power}`);

/**
 * Reads a scale.
 *
 * @param {string} text
 * @returns {number|null} µm per px; null where the text is none
 */
export function readScale(text) {
  // μ (Greek mu) and µ (micro sign) are two characters that look alike.
  const plain = text.replace(/\s/g, "").replace(/μ/g, "µ").toLowerCase();
  let match, found = null;
  if ((match = ONE.exec(plain))) found = value(match[1], match[2]);
  else if ((match = LENGTH_PER_PIXEL.exec(plain))) found = value(match[1], match[2]) * MICROMETRES[match[3]];
  else if ((match = PIXELS_PER_LENGTH.exec(plain))) found = MICROMETRES[match[3]] / value(match[1], match[2]);
  else if ((match = EQUATION.exec(plain))) found = (value(match[1], match[2]) * MICROMETRES[match[3]]) / value(match[4], match[5]);
  return found !== null && found > 0 && Number.isFinite(found) ? found : null;
}
