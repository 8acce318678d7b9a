// Small pictures of images, fetched when their row comes into view.

import * as api from "./api.js";

const SIDE = 96; // px: two for each CSS px
const MOST = 300; // pictures that are kept

/** @type {Map<string, string>} blob URL by image id; "": there is none */
const kept = new Map();
const wanted = new WeakMap();
const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    show(target, wanted.get(target));
  }
});

/** Shows an image's small picture in an `img` element, as soon as that is in view. */
export function thumb(picture, imageId) {
  if (wanted.get(picture) === imageId) return;
  wanted.set(picture, imageId);
  if (kept.get(imageId)) picture.src = kept.get(imageId);
  else observer.observe(picture);
}

async function show(picture, imageId) {
  if (!kept.has(imageId)) {
    try {
      kept.set(imageId, URL.createObjectURL((await api.preview(imageId, SIDE)).blob));
    } catch {
      return; // the row goes without; it is asked for anew when the row is made anew
    }
    const [oldest] = kept.keys();
    if (kept.size > MOST) {
      URL.revokeObjectURL(kept.get(oldest));
      kept.delete(oldest);
    }
  }
  picture.src = kept.get(imageId);
}
