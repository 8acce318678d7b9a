// What hands do on the picture: mouse, fingers, pen and keys move the camera and choose grains.

const STILL = 5; // CSS px that a finger may move in a tap

/**
 * Listens to a canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {import("./camera.js").Camera} camera
 * @param {Object} on what follows
 * @param {function(): void} on.move the camera moved
 * @param {function(number, number): void} on.hover the pointer is at a place of the window, CSS px
 * @param {function(): void} on.leave it left
 * @param {function(number, number): void} on.press the place was clicked, or tapped
 * @param {function(string): boolean} on.key a key was pressed that moves no camera; returns whether it meant something
 * @param {function(number, number): ?{drag: function, end: function}} on.draw a drag begins: what draws instead of moving the picture
 */
export function listen(canvas, camera, on) {
  const down = new Map(); // pointers on the picture, by id
  let moved = false, drawing = null;
  const place = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [clientX - box.left, clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    canvas.setPointerCapture(event.pointerId);
    if (!down.size) moved = false;
    down.set(event.pointerId, place(event));
    drawing = down.size === 1 ? on.draw(...place(event)) : null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = down.get(event.pointerId);
    if (!before) return on.hover(...now);
    if (drawing) {
      moved = true;
      return drawing.drag(...now);
    }
    if (!moved && down.size === 1 && Math.hypot(now[0] - before[0], now[1] - before[1]) < STILL) return;
    moved = true;
    if (down.size === 1) camera.pan(now[0] - before[0], now[1] - before[1]);
    else pinch(event.pointerId, before, now);
    down.set(event.pointerId, now);
    on.move();
  });

  /** Two fingers: the picture follows both of them. */
  function pinch(id, before, now) {
    const [, other] = [...down].find(([each]) => each !== id);
    const apart = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
    const middle = ([x, y]) => [(x + other[0]) / 2, (y + other[1]) / 2];
    camera.zoom(apart(now) / apart(before), ...middle(before), middle(now));
  }

  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (drawing) drawing.end(event.type === "pointerup");
    else if (!moved && event.type === "pointerup" && event.button === 0) on.press(...place(event));
    drawing = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", on.leave);

  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      // A touchpad's pinch arrives as a wheel with Ctrl, in small steps. Some browsers count in lines.
      const step = event.deltaY * (event.deltaMode ? 20 : 1) * (event.ctrlKey ? 5 : 1);
      camera.zoom(Math.exp(-Math.max(-240, Math.min(240, step)) / 480), ...place(event));
      on.move();
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", (event) => {
    camera.zoom(event.shiftKey ? 0.5 : 2, ...place(event));
    on.move();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pan = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    const zoom = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 }[event.key];
    if (pan) camera.pan(...pan);
    else if (zoom) camera.zoom(zoom);
    else if (event.key === "0") camera.fit();
    else {
      if (on.key(event.key)) event.preventDefault();
      return;
    }
    event.preventDefault();
    on.move();
  });
}
