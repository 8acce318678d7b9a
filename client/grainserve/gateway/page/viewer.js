// The picture of an image with its grains: it is moved, enlarged, pointed at and drawn on.

import { Camera } from "./camera.js";
import { el } from "./dom.js";
import { listen } from "./gestures.js";
import { holds } from "./masks.js";
import { Painter } from "./painter.js";
import { drawScaleBar } from "./scale_bar.js";
import { t } from "./words.js";

const HOVER = "#ffb000";
const PIN = "#ff5a1f";

/**
 * Makes a viewer.
 *
 * @param {Object} given
 * @param {string} given.name name of the image
 * @param {{width: number, height: number}} given.size size of the image, px
 * @param {import("./masks.js").Shape[]} given.shapes grains
 * @param {import("./picture.js").Picture} given.picture
 * @param {{x: number, y: number, width: number, height: number}} given.frame part that was measured
 * @param {function(number): string} given.tell what is told of a grain, by its id
 * @param {function(number): void} given.onHover a grain is pointed at; 0: none
 * @param {function(number): void} given.onPin a grain is chosen; 0: none
 * @param {function(number): number} given.next the grain that many places after the chosen one, in the table's order
 */
export function makeViewer({ name, size, shapes, picture, frame, tell, onHover, onPin, next }) {
  const canvas = el("canvas", { id: "picture", tabindex: "0", role: "application", "aria-describedby": "picture-help" });
  canvas.setAttribute("aria-label", t("view.canvas", { name, n: shapes.length }));
  const tip = el("div", { id: "tip", role: "status", hidden: true });
  const button = (act, text, label) => el("button", { type: "button", "data-act": act, "aria-label": label, title: label }, text);
  const buttons = el("div", { class: "zoom" }, button("in", "+", t("view.zoom_in")), button("out", "−", t("view.zoom_out")), button("fit", "⤢", t("view.fit")));
  const stage = el("div", { id: "stage" }, canvas, tip, buttons);
  const help = el("p", { id: "picture-help", class: "soft" }, t("view.help"));
  const context = canvas.getContext("2d");
  const camera = new Camera(size.width, size.height), painter = new Painter(shapes, picture, camera);
  const byId = new Map(shapes.map((shape) => [shape.id, shape]));
  const smallestFirst = [...painter.shapes].reverse();
  let hovered = 0, pinned = 0, umPerPx = null, line = null, drawing = null, asked = false, open = true;
  let hidden = () => false; // tells of a grain whether the filters hide it

  function draw() {
    asked = false;
    if (!open) return;
    const again = painter.paint(context);
    // For tests, and for whoever looks into the page.
    Object.assign(canvas.dataset, { view: [camera.scale, camera.x, camera.y].map((value) => value.toPrecision(8)).join(" "), painted: !again });
    context.setTransform(painter.ratio, 0, 0, painter.ratio, 0, 0);
    outside();
    for (const [id, colour, alpha] of [[hovered, HOVER, 0.4], [pinned, PIN, 0.3]]) highlight(byId.get(id), colour, alpha);
    if (line) drawLine(line);
    if (umPerPx) drawScaleBar(context, umPerPx, camera);
    if (again) request();
  }

  function request() {
    canvas.dataset.painted = false;
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  }

  /** Dims what was not measured. */
  function outside() {
    if (frame.width === size.width && frame.height === size.height) return;
    const { scale } = camera;
    const rectangle = (box) => [(box.x - camera.x) * scale, (box.y - camera.y) * scale, box.width * scale, box.height * scale];
    context.beginPath();
    context.rect(...rectangle({ x: 0, y: 0, ...size }));
    context.rect(...rectangle(frame));
    context.fillStyle = "rgb(15 20 28 / 55%)";
    context.fill("evenodd");
    context.setLineDash([8, 5]);
    context.lineWidth = 1.5;
    context.strokeStyle = "#fff";
    context.strokeRect(...rectangle(frame));
    context.setLineDash([]);
  }

  function highlight(shape, colour, alpha) {
    if (!shape) return;
    const { scale, x, y } = camera, path = painter.path(shape, scale);
    context.save();
    context.transform(scale, 0, 0, scale, -x * scale, -y * scale);
    context.globalAlpha = alpha;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    for (const [stroke, width] of [["#fff", 4.5], [colour, 2.5]]) {
      Object.assign(context, { strokeStyle: stroke, lineWidth: width / scale });
      context.stroke(path);
    }
    context.restore();
  }

  function drawLine({ x1, y1, x2, y2 }) {
    const { scale, x, y } = camera;
    context.beginPath();
    context.moveTo((x1 - x) * scale, (y1 - y) * scale);
    context.lineTo((x2 - x) * scale, (y2 - y) * scale);
    for (const [stroke, width] of [["#000", 5], ["#ffe14d", 2.5]]) {
      Object.assign(context, { strokeStyle: stroke, lineWidth: width });
      context.stroke();
    }
    for (const [left, top] of [[x1, y1], [x2, y2]]) {
      context.beginPath();
      context.arc((left - x) * scale, (top - y) * scale, 4.5, 0, 7);
      context.fillStyle = "#ffe14d";
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = "#000";
      context.stroke();
    }
  }

  /** Returns the id of the grain at a place of the window; 0: there is none. */
  function at(left, top) {
    const { x, y } = camera.point(left, top);
    return smallestFirst.find((shape) => !hidden(shape.id) && holds(shape, x, y))?.id ?? 0;
  }

  function point(id) {
    if (id === hovered) return;
    hovered = id;
    onHover(id);
    request();
  }

  function showTip(id, left, top) {
    tip.hidden = !id;
    if (!id) return;
    tip.textContent = tell(id);
    tip.style.left = `${Math.max(0, Math.min(left + 14, camera.wide - tip.offsetWidth - 4))}px`;
    tip.style.top = `${top + tip.offsetHeight + 18 > camera.high ? Math.max(0, top - tip.offsetHeight - 10) : top + 14}px`;
  }

  /** Shows what is known of a grain beside it, for those who came by keys. */
  function tipBeside(id) {
    const shape = byId.get(id);
    if (!shape) return (tip.hidden = true);
    const { box } = shape;
    showTip(id, (box.x + box.width - camera.x) * camera.scale - 10, (box.y + box.height / 2 - camera.y) * camera.scale - 20);
  }

  listen(canvas, camera, {
    move() {
      tip.hidden = true;
      request();
    },
    hover(left, top) {
      const id = drawing ? 0 : at(left, top);
      point(id);
      showTip(id, left, top);
    },
    leave() {
      point(0);
      tip.hidden = true;
    },
    press(left, top) {
      const id = at(left, top);
      onPin(id);
      showTip(id, left, top);
    },
    key(key) {
      const step = { n: 1, N: 1, p: -1, P: -1 }[key];
      if (step) onPin(next(step));
      else if (key === "Enter" && !pinned) onPin(hovered || nearest());
      else if (key === "Escape" && drawing) stop();
      else if (key === "Escape" && pinned) onPin(0);
      else return false;
      camera.fitted || !pinned || reveal(pinned);
      tipBeside(pinned);
      return true;
    },
    draw(left, top) {
      if (!drawing) return null;
      const from = camera.point(left, top);
      line = { x1: from.x, y1: from.y, x2: from.x, y2: from.y };
      return {
        drag(nowLeft, nowTop) {
          const to = camera.point(nowLeft, nowTop);
          Object.assign(line, { x2: to.x, y2: to.y });
          request();
        },
        end(whole) {
          const { done } = drawing;
          canvas.classList.remove("drawing");
          drawing = null;
          done(whole && Math.hypot(line.x2 - line.x1, line.y2 - line.y1) >= 2 ? line : null);
        },
      };
    },
  });

  function stop() {
    canvas.classList.remove("drawing");
    const { done } = drawing;
    drawing = null;
    done(null);
  }

  /** Returns the grain nearest to the middle of the window. */
  function nearest() {
    const middle = camera.point(camera.wide / 2, camera.high / 2);
    const far = ({ box }) => Math.hypot(box.x + box.width / 2 - middle.x, box.y + box.height / 2 - middle.y);
    const seen = shapes.filter(({ id }) => !hidden(id));
    return seen.reduce((best, shape) => (!best || far(shape) < far(best) ? shape : best), null)?.id ?? 0;
  }

  function reveal(id) {
    const shape = byId.get(id);
    if (shape) camera.reveal(shape.box);
    request();
  }

  buttons.addEventListener("click", ({ target }) => {
    const { act } = target.dataset;
    if (act === "in") camera.zoom(1.5);
    if (act === "out") camera.zoom(1 / 1.5);
    if (act === "fit") camera.fit();
    tip.hidden = true;
    request();
  });

  const watcher = new ResizeObserver(() => {
    const { clientWidth, clientHeight } = canvas;
    if (!clientWidth || !clientHeight) return;
    painter.ratio = Math.min(2, devicePixelRatio || 1);
    Object.assign(canvas, { width: Math.round(clientWidth * painter.ratio), height: Math.round(clientHeight * painter.ratio) });
    camera.resize(clientWidth, clientHeight);
    painter.change();
    draw();
  });
  watcher.observe(canvas);

  return {
    stage,
    help,
    camera,
    /** Paints anew, with another style, and outlines or none. */
    style(style, outlines = painter.outlines) {
      Object.assign(painter, { style, outlines });
      hidden = (id) => style(id).faded;
      painter.change();
      request();
    },
    /** Paints anew: the picture has another part. */
    change() {
      painter.change();
      request();
    },
    /** Sets the scale that the bar is drawn by; null: none is drawn. */
    scale(value) {
      umPerPx = value;
      request();
    },
    /** Marks a grain that is pointed at elsewhere. */
    hover(id) {
      hovered = id;
      request();
    },
    /** Marks the chosen grain, and brings it into the window. */
    pin(id, seek) {
      pinned = id;
      if (id && seek) reveal(id);
      request();
    },
    /** Lets the reader draw a line; answers its ends, px, or null. */
    askLine() {
      if (drawing) stop();
      line = null;
      canvas.classList.add("drawing");
      canvas.focus();
      request();
      return new Promise((done) => (drawing = { done }));
    },
    /** Takes the line off. */
    clearLine() {
      if (drawing) stop();
      line = null;
      request();
    },
    close() {
      open = false;
      watcher.disconnect();
      picture.close();
    },
  };
}
