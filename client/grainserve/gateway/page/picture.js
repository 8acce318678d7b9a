// The picture below the outlines: a preview at once, sharper parts where the reader looks closer.

const PREVIEW = 2048; // px of the preview's longer side
const KEPT = 96; // parts in memory

/** The picture of an image of width × height px. */
export class Picture {
  /**
   * @param {Object} api functions of `api.js`
   * @param {string} imageId
   * @param {{width: number, height: number}} size size of the image, px
   * @param {function(): void} changed called when another part has come
   */
  constructor(api, imageId, { width, height }, changed) {
    Object.assign(this, { api, imageId, width, height, changed, preview: null, pyramid: null, open: true });
    this.shown = new Set(); // keys of the parts in sight
    this.parts = new Map(); // "level/column/row" → ImageBitmap; null: it is on its way
  }

  /** Fetches the preview; throws where there is none. */
  async load() {
    const { blob } = await this.api.preview(this.imageId, PREVIEW);
    this.preview = await createImageBitmap(blob);
    const longer = Math.max(this.preview.width, this.preview.height);
    if (longer < Math.max(this.width, this.height)) this.pyramid = await this.api.tiles(this.imageId);
  }

  /**
   * Draws a part of the picture, and asks for what it lacks.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {{x: number, y: number, width: number, height: number, scale: number}} view part, px, and canvas px per px
   */
  draw(context, view) {
    const { x, y, scale } = view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    const put = (image, left, top, width, height) => context.drawImage(image, (left - x) * scale, (top - y) * scale, width * scale, height * scale);
    if (!this.preview) {
      context.fillStyle = "#5b6470"; // outlines are drawn on grey
      context.fillRect(-x * scale, -y * scale, this.width * scale, this.height * scale);
      return;
    }
    put(this.preview, 0, 0, this.width, this.height);
    const wanted = this.wanted(view);
    this.shown = new Set(wanted.map(({ key }) => key));
    for (const { key, left, top, width, height } of wanted) {
      const part = this.parts.get(key);
      if (part) put(part, left, top, width, height);
      else if (part === undefined) this.fetch(key);
    }
  }

  /** Returns the parts of a view at the level that has its resolution; none where the preview has it. */
  wanted({ x, y, width, height, scale }) {
    if (!this.pyramid || scale * this.width <= this.preview.width * 1.05) return [];
    const { levels, tileSide } = this.pyramid;
    const level = Math.max(0, levels - 1 - Math.max(0, Math.floor(Math.log2(1 / scale))));
    const side = tileSide * 2 ** (levels - 1 - level); // of a part, px of the image
    const found = [];
    const last = (size, from, length) => Math.min(Math.ceil(size / side), Math.ceil((from + length) / side)) - 1;
    for (let row = Math.max(0, Math.floor(y / side)); row <= last(this.height, y, height); row++) {
      for (let column = Math.max(0, Math.floor(x / side)); column <= last(this.width, x, width); column++) {
        const left = column * side, top = row * side;
        found.push({ key: `${level}/${column}/${row}`, left, top, width: Math.min(side, this.width - left), height: Math.min(side, this.height - top) });
      }
    }
    return found;
  }

  async fetch(key) {
    this.parts.set(key, null);
    try {
      const part = await createImageBitmap(await this.api.tile(this.imageId, ...key.split("/")));
      if (!this.open) return part.close();
      this.parts.delete(key);
      this.parts.set(key, part); // the last that came is the last to go
      for (const [old, image] of this.parts) {
        if (this.parts.size <= KEPT) break;
        if (!image || this.shown.has(old)) continue; // large screens show more than are kept
        image.close();
        this.parts.delete(old);
      }
      this.changed();
    } catch {
      // The preview stays there in its place. A later look asks again.
      setTimeout(() => this.parts.delete(key), 10000);
    }
  }

  close() {
    this.open = false;
    this.preview?.close();
    for (const part of this.parts.values()) part?.close();
  }
}
