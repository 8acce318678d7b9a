// Turns COCO run-length masks into one label map, and the label map into outlines.

/**
 * Unpacks run lengths: five bits a character, the sign in a number's last character. From the fourth number on, each is
 * the difference to the number two places before.
 */
export function runLengths(counts) {
  const runs = [];
  let value = 0, shift = 0;
  for (const character of counts) {
    const bits = character.charCodeAt(0) - 48;
    value |= (bits & 0x1f) << shift;
    shift += 5;
    if (bits & 0x20) continue;
    if (bits & 0x10) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    value = shift = 0;
  }
  return runs;
}

/**
 * Returns the label map of a result, row by row. Larger grains are painted first, so that a grain inside another stays
 * visible.
 */
export function labelMap(result) {
  const { width, height } = result.metadata.image;
  const labels = new Int32Array(width * height);
  const grains = result.segmentedObjects.filter((grain) => grain.mask && grain.mask.counts);
  for (const grain of [...grains].sort((a, b) => b.properties.area - a.properties.area)) {
    let place = 0, inside = false;
    for (const run of runLengths(grain.mask.counts)) {
      if (inside) for (let i = place; i < place + run; i++) labels[(i % height) * width + Math.floor(i / height)] = grain.id;
      place += run;
      inside = !inside;
    }
  }
  return { labels, width, height };
}

/** Returns the outlines of all grains, or of the one labelled `only`, enlarged by `scale`. */
export function outlines(map, scale, only = 0, box = { x: 0, y: 0, width: map.width, height: map.height }) {
  const { labels, width, height } = map, lines = new Path2D();
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : labels[y * width + x]);
  const parts = (a, b) => a !== b && (!only || a === only || b === only);
  for (let y = box.y; y <= box.y + box.height; y++) {
    for (let x = box.x; x <= box.x + box.width; x++) {
      const here = at(x, y);
      if (parts(here, at(x - 1, y))) { lines.moveTo(x * scale, y * scale); lines.lineTo(x * scale, (y + 1) * scale); }
      if (parts(here, at(x, y - 1))) { lines.moveTo(x * scale, y * scale); lines.lineTo((x + 1) * scale, y * scale); }
    }
  }
  return lines;
}

/** Returns the pixels of the grain labelled `only`, enlarged by `scale`. */
export function area(map, scale, only, box) {
  const fill = new Path2D();
  for (let y = box.y; y < box.y + box.height; y++) {
    for (let x = box.x; x < box.x + box.width; x++) {
      if (map.labels[y * map.width + x] === only) fill.rect(x * scale, y * scale, scale, scale);
    }
  }
  return fill;
}
