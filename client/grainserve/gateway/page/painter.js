// Paints picture, fills and outlines into a canvas that is larger than the window, so that moving costs one copy.
// A new canvas is painted in slices between frames, and takes the old one's place when it is whole.

import { pathOf } from "./masks.js";

const MARGIN = 0.3; // of the window, on each side
const SLICE = 7; // ms of painting in a frame
const AT_ONCE = 16; // grains painted between two looks at the clock
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
    this.shown = null; // what is painted: {image, x, y, width, height, scale}, px of the picture; `at`: the camera's last scale
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

  /** Tells whether something painted reaches over all of the picture that is in the window. */
  covers({ x, y, width, height }) {
    const { camera } = this;
    const left = Math.max(camera.x, 0), top = Math.max(camera.y, 0);
    const right = Math.min(camera.x + camera.wide / camera.scale, camera.width), bottom = Math.min(camera.y + camera.high / camera.scale, camera.height);
    return left >= x - 0.01 && top >= y - 0.01 && right <= x + width + 0.01 && bottom <= y + height + 0.01;
  }

  /** Begins to paint around the window. What is painted already at this scale is taken over. */
  begin() {
    const { camera, ratio } = this, { scale } = camera, density = scale * ratio;
    const size = { width: Math.round(camera.wide * (1 + 2 * MARGIN) * ratio), height: Math.round(camera.high * (1 + 2 * MARGIN) * ratio) };
    // Read back after each slice, so that the browser draws then and not all at the end.
    const context = new OffscreenCanvas(Math.max(1, size.width), Math.max(1, size.height)).getContext("2d", { willReadFrequently: true });
    const old = !this.stale && this.shown?.scale === scale ? this.shown : null;
    let x = camera.x - (camera.wide * MARGIN) / scale, y = camera.y - (camera.high * MARGIN) / scale;
    if (old) {
      const left = Math.round((x - old.x) * density), top = Math.round((y - old.y) * density);
      [x, y] = [old.x + left / density, old.y + top / density];
      context.drawImage(old.image, -left, -top);
      context.beginPath();
      context.rect(0, 0, size.width, size.height);
      context.rect(-left, -top, old.image.width, old.image.height);
      context.clip("evenodd");
    }
    const view = { x, y, scale: density, width: size.width / density, height: size.height / density };
    context.imageSmoothingEnabled = density < PIXELS;
    this.picture.draw(context, view);
    context.setTransform(density, 0, 0, density, -x * density, -y * density);
    const edge = 4 / scale; // of the widest line
    const within = (box, { x: left, y: top, width, height }, by) => box.x - by >= left && box.y - by >= top && box.x + box.width + by <= left + width && box.y + box.height + by <= top + height;
    const meets = (box) => box.x - edge < x + view.width && box.y - edge < y + view.height && box.x + box.width + edge > x && box.y + box.height + edge > y;
    const seen = this.shapes.filter(({ box }) => meets(box) && !(old && within(box, old, edge)));
    // A fill of many small grains hides no picture, and a halo would.
    const halo = scale > 0.35 * Math.sqrt(this.shapes.length / ((camera.width * camera.height) / 900));
    this.making = { context, x, y, scale, width: view.width, height: view.height, seen, next: 0, halo };
    this.stale = false;
  }

  /** Paints a slice. */
  go() {
    const { making } = this, end = performance.now() + SLICE;
    const { seen, context, scale } = making;
    while (making.next < seen.length && performance.now() < end) {
      for (const stop = Math.min(making.next + AT_ONCE, seen.length); making.next < stop; making.next++) this.grain(context, seen[making.next], scale, making.halo);
      context.getImageData(0, 0, 1, 1);
    }
    if (making.next < seen.length) return;
    this.shown?.image.close();
    this.shown = { image: context.canvas.transferToImageBitmap(), x: making.x, y: making.y, scale, width: making.width, height: making.height, at: scale };
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
    if (factor === 1) context.drawImage(shown.image, Math.round(left), Math.round(top));
    else context.drawImage(shown.image, left, top, shown.image.width * factor, shown.image.height * factor);
  }
}

function stroke(context, path, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}
