// Where the reader looks: which part of the picture is shown, and how large.

const MOST = 64; // CSS px per px of the picture

/** A view of a picture of width × height px in a window of CSS px. `scale` is CSS px per px, (x, y) the window's corner. */
export class Camera {
  constructor(width, height) {
    Object.assign(this, { width, height, scale: 1, x: 0, y: 0, wide: 1, high: 1, fitted: true });
  }

  /** Takes the window's size; a picture that fitted before fits again, another one keeps its middle. */
  resize(wide, high) {
    const middle = this.point(this.wide / 2, this.high / 2);
    Object.assign(this, { wide, high });
    if (this.fitted) this.fit();
    else this.centre(middle.x, middle.y);
  }

  /** Returns the point of the picture at a place of the window. */
  point(left, top) {
    return { x: this.x + left / this.scale, y: this.y + top / this.scale };
  }

  get fitting() {
    return Math.min(this.wide / this.width, this.high / this.height);
  }

  /** Shows the whole picture. */
  fit() {
    this.scale = this.fitting;
    this.centre(this.width / 2, this.height / 2);
    this.fitted = true;
  }

  /** Moves by CSS px. */
  pan(left, down) {
    this.x -= left / this.scale;
    this.y -= down / this.scale;
    this.hold();
  }

  /** Enlarges by a factor; the point at a place of the window stays there, or moves to another place. */
  zoom(factor, left = this.wide / 2, top = this.high / 2, to = [left, top]) {
    const { x, y } = this.point(left, top);
    this.scale = Math.min(MOST, Math.max(this.fitting * 0.5, this.scale * factor));
    this.x = x - to[0] / this.scale;
    this.y = y - to[1] / this.scale;
    this.hold();
  }

  /** Puts a point of the picture into the middle of the window. */
  centre(x, y) {
    this.x = x - this.wide / 2 / this.scale;
    this.y = y - this.high / 2 / this.scale;
    this.hold();
  }

  /** Brings a box of the picture into the window, moving no more than it needs, and enlarging where it is tiny. */
  reveal({ x, y, width, height }) {
    const extent = Math.max(width, height);
    if (extent * this.scale < 24) this.zoom(24 / (extent * this.scale));
    const margin = 20 / this.scale, seen = { width: this.wide / this.scale, height: this.high / this.scale };
    const inside = x >= this.x + margin && y >= this.y + margin && x + width <= this.x + seen.width - margin && y + height <= this.y + seen.height - margin;
    if (!inside && !this.fitted) this.centre(x + width / 2, y + height / 2);
  }

  /** Keeps a part of the picture in the middle of the window. */
  hold() {
    const along = (at, size, seen) => Math.min(size - seen / 2, Math.max(-seen / 2, at));
    this.x = along(this.x, this.width, this.wide / this.scale);
    this.y = along(this.y, this.height, this.high / this.scale);
    this.fitted = false;
  }
}
