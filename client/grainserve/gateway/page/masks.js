// Turns the masks of a result into shapes: closed rings along the corners of pixels, as `results/outlines.py` does.

const SLICE = 12; // ms of work before the page may draw a frame

/**
 * A grain's outline.
 *
 * @typedef {Object} Shape
 * @property {number} id id of the grain
 * @property {{x: number, y: number, width: number, height: number}} box box around the grain, px
 * @property {(Int32Array|number[])[]} rings corners x, y, x, y, … of each ring, px; holes are rings as well
 * @property {boolean} exact whether the rings are those of a mask; a grain without a mask has its box instead
 */

/**
 * Returns the shapes of a result's grains, in their order. Long work pauses now and then, so that the page goes on.
 *
 * @param {Object} result
 * @returns {Promise<Shape[]>}
 */
export async function shapesOf(result) {
  const shapes = [];
  let begun = performance.now();
  for (const { id, mask, properties } of result.segmentedObjects) {
    const box = properties.boundingBox;
    const rings = mask ? await ringsOf(mask, box, result.metadata.image) : [corners(box)];
    shapes.push({ id, box, rings, exact: Boolean(mask) });
    if (performance.now() - begun < SLICE) continue;
    await new Promise((resolve) => setTimeout(resolve));
    begun = performance.now();
  }
  return shapes;
}

function ringsOf(mask, box, frame) {
  if (Array.isArray(mask)) return mask.map((ring) => ring.flat());
  if (typeof mask === "string") return ringsOfPng(mask, box, frame);
  return trace(unpack(mask, box), box);
}

const corners = ({ x, y, width, height }) => [x, y, x + width, y, x + width, y + height, x, y + height];

/**
 * Unpacks run lengths: five bits a character, the sign in a number's last character. From the fourth number on, each is
 * the difference to the number two places before.
 */
export function runLengths(counts) {
  const runs = [];
  let value = 0, shift = 0;
  for (let at = 0; at < counts.length; at++) {
    const bits = counts.charCodeAt(at) - 48;
    value |= (bits & 0x1f) << shift;
    shift += 5;
    if (bits & 0x20) continue;
    if (bits & 0x10) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    value = shift = 0;
  }
  return runs;
}

/** Returns the pixels of a run-length mask inside a box, row by row: 1 in the grain. */
function unpack({ size: [rows], counts, x = 0, y = 0 }, box) {
  const patch = new Uint8Array(box.width * box.height);
  let place = 0, inside = false;
  for (const run of runLengths(counts)) {
    const end = place + run;
    // Runs go down the columns; a run may reach over several of them.
    for (let at = place; inside && at < end; ) {
      const column = Math.floor(at / rows), row = at - column * rows, stop = Math.min(rows, row + end - at);
      const left = x + column - box.x, top = y + row - box.y;
      const last = Math.min(box.height, y + stop - box.y);
      if (left >= 0 && left < box.width) for (let down = Math.max(0, top); down < last; down++) patch[down * box.width + left] = 1;
      at += stop - row;
    }
    place = end;
    inside = !inside;
  }
  return patch;
}

/** A PNG has the size of the image, or of the grain's box, as `results/masks.py` reads it. */
async function ringsOfPng(mask, box, frame) {
  const bytes = Uint8Array.from(atob(mask), (character) => character.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const whole = picture.width === frame.width && picture.height === frame.height;
  const canvas = new OffscreenCanvas(box.width, box.height), context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, whole ? -box.x : 0, whole ? -box.y : 0);
  picture.close();
  const { data } = context.getImageData(0, 0, box.width, box.height);
  return trace(Uint8Array.from({ length: box.width * box.height }, (_, at) => (data[4 * at] > 127 ? 1 : 0)), box);
}

/** Steps east, south, west, north. */
const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]];

/**
 * Traces the rings around a patch's pixels, the grain on their right hand. Pixels that meet only at a corner lie in
 * separate rings.
 */
function trace(patch, { x: left, y: top, width, height }) {
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && patch[y * width + x];
  const passed = new Uint8Array(patch.length); // pixels whose upper edge lies in a ring already
  const rings = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!at(x, y) || at(x, y - 1) || passed[y * width + x]) continue;
      const ring = [];
      let cornerX = x, cornerY = y, heading = 0;
      do {
        if (heading === 0) passed[cornerY * width + cornerX] = 1;
        cornerX += STEPS[heading][0];
        cornerY += STEPS[heading][1];
        const next = turn(at, cornerX, cornerY, heading);
        if (next !== heading) ring.push(left + cornerX, top + cornerY);
        heading = next;
      } while (cornerX !== x || cornerY !== y || heading !== 0);
      rings.push(Int32Array.from(ring));
    }
  }
  return rings;
}

/** Returns where a ring goes on from a corner: right where the pixel ahead on the right is out, left where both are in. */
function turn(at, x, y, heading) {
  const ahead = [[0, -1, 0, 0], [0, 0, -1, 0], [-1, 0, -1, -1], [-1, -1, 0, -1]][heading]; // left, right of the step ahead
  if (!at(x + ahead[2], y + ahead[3])) return (heading + 1) % 4;
  return at(x + ahead[0], y + ahead[1]) ? (heading + 3) % 4 : heading;
}

/** Tells whether a point lies in a shape, by the even-odd rule. */
export function holds({ box, rings }, x, y) {
  if (x < box.x || y < box.y || x >= box.x + box.width || y >= box.y + box.height) return false;
  let inside = false;
  for (const ring of rings) {
    for (let at = 0, before = ring.length - 2; at < ring.length; before = at, at += 2) {
      const [x0, y0, x1, y1] = [ring[before], ring[before + 1], ring[at], ring[at + 1]];
      if (y0 > y !== y1 > y && x < x0 + ((y - y0) * (x1 - x0)) / (y1 - y0)) inside = !inside;
    }
  }
  return inside;
}

/**
 * Returns the path of a shape.
 *
 * @param {Shape} shape
 * @param {number} step corners nearer than this to the last one, px, are left out: far away, they are not seen
 */
export function pathOf({ rings }, step) {
  const path = new Path2D();
  for (const ring of rings) {
    let x = ring[0], y = ring[1];
    path.moveTo(x, y);
    for (let at = 2; at < ring.length; at += 2) {
      if (Math.abs(ring[at] - x) + Math.abs(ring[at + 1] - y) < step) continue;
      path.lineTo((x = ring[at]), (y = ring[at + 1]));
    }
    path.closePath();
  }
  return path;
}
