// The scale bar in the picture.

import { number } from "./words.js";

const MOST = 0.25; // of the window's width

/** Returns the longest round length, µm, that takes at most a share of the window. */
export function barLength(umPerPx, scale, wide) {
  const most = (wide * MOST * umPerPx) / scale;
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].find((digit) => digit * power <= most) * power;
}

/** Writes a length in the unit that keeps it short. */
export function lengthText(um) {
  const [factor, unit] = um >= 1e4 ? [1e-4, "cm"] : um >= 1e3 ? [1e-3, "mm"] : um < 1 ? [1e3, "nm"] : [1, "µm"];
  return `${number(um * factor)} ${unit}`;
}

/**
 * Draws a scale bar into the lower right corner of the window.
 *
 * @param {CanvasRenderingContext2D} context in CSS px
 * @param {number} umPerPx µm per px of the picture
 * @param {import("./camera.js").Camera} camera
 */
export function drawScaleBar(context, umPerPx, camera) {
  const length = barLength(umPerPx, camera.scale, camera.wide), width = (length / umPerPx) * camera.scale;
  // Inside the picture where that ends before the window does.
  const end = (size, at, seen) => Math.min(seen, (size - at) * camera.scale);
  const edge = Math.max(width + 40, end(camera.width, camera.x, camera.wide)), right = edge - 24, left = right - width;
  const bottom = Math.max(50, end(camera.height, camera.y, camera.high)) - 20;
  context.font = "600 13px system-ui, 'DejaVu Sans', sans-serif";
  const text = lengthText(length), wide = Math.max(width, context.measureText(text).width) + 20, middle = (left + right) / 2;
  context.fillStyle = "rgb(10 15 22 / 78%)";
  context.beginPath();
  context.roundRect(Math.min(middle - wide / 2, edge - 12 - wide), bottom - 30, wide, 42, 6);
  context.fill();
  context.fillStyle = "#fff";
  context.textAlign = "center";
  context.fillText(text, Math.min(middle, edge - 12 - wide / 2), bottom - 12);
  context.fillRect(left, bottom - 3, width, 4);
  context.fillRect(left, bottom - 6, 1.5, 10);
  context.fillRect(right - 1.5, bottom - 6, 1.5, 10);
}
