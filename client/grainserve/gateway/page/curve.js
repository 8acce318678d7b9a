// The cumulative grain-size curve, as `grainserve analyze` draws it.

const LEFT = 46, RIGHT = 624, TOP = 14, BOTTOM = 258;

/**
 * Returns how many grains of the population a grain of the frame stands for, as `grainserve.results.edge_correction`:
 * none where the frame cuts it, else one over the chance that a frame holds it whole (Miles–Lantuéjoul).
 */
export function standsFor({ touchesEdge, boundingBox }, frame) {
  const chance = Math.max(0, 1 - boundingBox.width / frame.width) * Math.max(0, 1 - boundingBox.height / frame.height);
  return touchesEdge || !chance ? 0 : 1 / chance;
}

/** Returns the sizes in ascending order, each with the share that is finer, half of the grain's own weight included. */
export function sizeCurve(grains, size, weight) {
  const sorted = grains.map((grain) => [size(grain), weight(grain)]).filter(([d, w]) => d > 0 && w > 0);
  sorted.sort((a, b) => a[0] - b[0]);
  const total = sorted.reduce((sum, [, w]) => sum + w, 0);
  let below = 0;
  return sorted.map(([d, w]) => {
    below += w;
    return [d, (below - w / 2) / total];
  });
}

/** Returns the size below which the given share lies, interpolated linearly between grains. */
export function percentile(curve, share) {
  if (!curve.length) return NaN;
  const i = curve.findIndex(([, finer]) => finer >= share);
  if (i < 0) return curve[curve.length - 1][0];
  if (i === 0) return curve[0][0];
  const [[d0, f0], [d1, f1]] = [curve[i - 1], curve[i]];
  return d0 + ((share - f0) / (f1 - f0)) * (d1 - d0);
}

/** Draws the number-weighted and the area-weighted curve over a logarithmic size axis. */
export function drawCurve(svg, number, area, unit) {
  svg.replaceChildren();
  if (!number.length) return;
  const low = number[0][0] * 0.9, high = number[number.length - 1][0] * 1.1;
  const x = (d) => LEFT + ((Math.log(d) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (RIGHT - LEFT);
  const y = (share) => BOTTOM - share * (BOTTOM - TOP);
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    add(svg, "line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(share), y2: y(share) });
    add(svg, "text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`);
  }
  for (const size of ticks(low, high)) {
    add(svg, "line", { class: "grid", x1: x(size), x2: x(size), y1: TOP, y2: BOTTOM });
    add(svg, "text", { x: x(size), y: BOTTOM + 16, "text-anchor": "middle" }, String(size));
  }
  add(svg, "text", { x: (LEFT + RIGHT) / 2, y: BOTTOM + 34, "text-anchor": "middle" }, `equivalent diameter (${unit})`);
  for (const [name, curve] of [["area", area], ["number", number]]) {
    const points = curve.map(([d, finer]) => `${x(d).toFixed(1)},${y(finer).toFixed(1)}`).join(" ");
    add(svg, "polyline", { class: name, points });
  }
  add(svg, "line", { class: "number", x1: LEFT + 14, x2: LEFT + 44, y1: TOP + 12, y2: TOP + 12 });
  add(svg, "text", { x: LEFT + 50, y: TOP + 16 }, "finer by number");
  add(svg, "line", { class: "area", x1: LEFT + 14, x2: LEFT + 44, y1: TOP + 28, y2: TOP + 28 });
  add(svg, "text", { x: LEFT + 50, y: TOP + 32 }, "finer by area");
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

function add(parent, name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
}
