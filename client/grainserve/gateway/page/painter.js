// Paints picture, fills and outlines into a canvas that is larger than the window, so that moving costs one copy.
// A new canvas is painted in slices between frames, and takes the old one's place when it is whole.

import { pathOf } from "./masks.js";

const MARGIN = 0.3; // of the window, on each side
const SLICE = 5; // ms of painting in a frame
const REST = 120; // ms without zoom, after which the picture is painted at its new scale
const PIXELS = 6; // device px per px of the picture from which on its pixels are shown as squares
const HALO = "rgb(255 255 255 / 70%)";
const LINE = "#0b4fd6";
const FADED = "rgb(120 130 145 / 75%)";

/**
 * How a shape is painted.
 *
 * @typedef {Object} Style
 * @property {?string} fill colour; null: none
 * @property {boolean} dashed whether sizes are taken without the grain
 * @property {boolean} faded whether the table's filters hide the grain
 */

export class Painter {
  /**
   * @param {import("./masks.js").Shape[]} shapes
   * @param {import("./picture.js").Picture} picture
   * @param {import("./camera.js").Camera} camera
   */
  constructor(shapes, picture, camera) {
    // The largest first, so that a grain inside another stays visible.
    this.shapes = [...shapes].sort((a, b) => b.box.width * b.box.height - a.box.width * a.box.height);
    Object.assign(this, { picture, camera, ratio: 1, outlines: true, style: () => ({ fill: null, dashed: false, faded: false }) });
    this.paths = new Map(); // step → shape → path
    this.shown = null; // what is painted: {canvas, x, y, scale, wide, high}
    this.making = null; // what is being painted
    this.stale = true;
    this.zoomed = 0; // when the scale changed last
  }

  /** Says that something else than the camera has changed. */
  change() {
    this.stale = true;
    this.making = null;
  }

  /** Returns a shape's path, as coarse as is not seen at a scale. */
  path(shape, scale) {
    const step = scale * this.ratio >= 1 ? 0 : 2 ** Math.floor(-Math.log2(scale * this.ratio)) * 0.7;
    const known = this.paths.get(step) ?? new Map();
    this.paths.set(step, known);
    if (!known.has(shape)) known.set(shape, pathOf(shape, step));
    return known.get(shape);
  }

  /**
   * Paints the window; returns whether another frame has something to do.
   *
   * @param {CanvasRenderingContext2D} context of the window's canvas
   */
  paint(context) {
    const { camera, shown } = this;
    const now = performance.now();
    const fits = shown && shown.scale === camera.scale;
    if (shown && shown.at !== camera.scale) this.zoomed = now;
    if (shown) shown.at = camera.scale;
    const covers = shown && this.covers(shown);
    if (!this.making && (this.stale || !covers || !fits) && (this.stale || fits || now - this.zoomed > REST || !covers)) this.begin();
    if (this.making && (this.making.scale !== camera.scale ? now - this.zoomed > REST : !this.covers(this.making))) this.begin();
    if (this.making) this.go();
    this.copy(context);
    return this.making !== null || this.stale || this.shown.scale !== camera.scale;
  }

  covers({ x, y, scale, wide, high }) {
    const { camera } = this;
    const left = Math.max(camera.x, 0), top = Math.max(camera.y, 0);
    const right = Math.min(camera.x + camera.wide / camera.scale, camera.width), bottom = Math.min(camera.y + camera.high / camera.scale, camera.height);
    return left >= x - 0.01 && top >= y - 0.01 && right <= x + wide / scale + 0.01 && bottom <= y + high / scale + 0.01;
  }

  begin() {
    const { camera, ratio } = this;
    const wide = camera.wide * (1 + 2 * MARGIN), high = camera.high * (1 + 2 * MARGIN), { scale } = camera;
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(wide * ratio)), Math.max(1, Math.round(high * ratio)));
    const context = canvas.getContext("2d");
    const x = camera.x - (camera.wide * MARGIN) / scale, y = camera.y - (camera.high * MARGIN) / scale;
    const view = { x, y, scale: scale * ratio, width: wide / scale, height: high / scale };
    context.imageSmoothingEnabled = scale * ratio < PIXELS;
    this.picture.draw(context, view);
    context.setTransform(view.scale, 0, 0, view.scale, -x * view.scale, -y * view.scale);
    const seen = this.shapes.filter(({ box }) => box.x < x + view.width && box.y < y + view.height && box.x + box.width > x && box.y + box.height > y);
    // A fill of many small grains hides no picture, and a halo would.
    const halo = scale > 0.35 * Math.sqrt(this.shapes.length / ((camera.width * camera.height) / 900));
    this.making = { canvas, context, x, y, scale, wide, high, seen, next: 0, halo };
    this.stale = false;
  }

  go() {
    const { making } = this, end = performance.now() + SLICE;
    const { seen, context, scale } = making;
    while (making.next < seen.length && performance.now() < end) {
      for (const stop = Math.min(making.next + 20, seen.length); making.next < stop; making.next++) this.grain(context, seen[making.next], scale, making.halo);
    }
    if (making.next < seen.length) return;
    this.shown = { ...making, at: making.scale };
    this.making = null;
  }

  grain(context, shape, scale, halo) {
    const { fill, dashed, faded } = this.style(shape.id), path = this.path(shape, scale);
    if (fill && !faded) {
      context.globalAlpha = 0.62;
      context.fillStyle = fill;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    if (!this.outlines) return;
    if (dashed && !faded) {
      context.fillStyle = this.hatch(context, scale);
      context.fill(path, "evenodd");
    }
    context.setLineDash(dashed || !shape.exact ? [5 / scale, 4 / scale] : []);
    if (halo && !faded) stroke(context, path, HALO, 3.2 / scale);
    stroke(context, path, faded ? FADED : LINE, (faded ? 0.8 : 1.5) / scale);
  }

  /** Returns slanted lines, equally far apart at each scale. */
  hatch(context, scale) {
    if (!this.tile) {
      this.tile = new OffscreenCanvas(8, 8);
      const lines = this.tile.getContext("2d");
      lines.strokeStyle = "rgb(255 255 255 / 85%)";
      lines.lineWidth = 1.6;
      for (const shift of [-8, 0, 8]) {
        lines.moveTo(shift - 1, 9);
        lines.lineTo(shift + 9, -1);
      }
      lines.stroke();
    }
    const pattern = context.createPattern(this.tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / scale / this.ratio));
    return pattern;
  }

  /** Copies what is painted into the window; below it, the picture alone where nothing is painted yet. */
  copy(context) {
    const { camera, ratio, shown } = this;
    const { canvas } = context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!shown || !this.covers(shown)) this.picture.draw(context, { x: camera.x, y: camera.y, scale: camera.scale * ratio, width: camera.wide / camera.scale, height: camera.high / camera.scale });
    if (!shown) return;
    const factor = camera.scale / shown.scale;
    const left = (shown.x - camera.x) * camera.scale * ratio, top = (shown.y - camera.y) * camera.scale * ratio;
    if (factor === 1) context.drawImage(shown.canvas, Math.round(left), Math.round(top));
    else context.drawImage(shown.canvas, left, top, shown.canvas.width * factor, shown.canvas.height * factor);
  }
}

function stroke(context, path, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}
