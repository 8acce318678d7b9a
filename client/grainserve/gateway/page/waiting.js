// The view of an image whose job goes on: its picture, and how far it is.

import * as api from "./api.js";
import { el } from "./dom.js";
import { watch } from "./progress.js";
import { duration, fault, t } from "./words.js";

const SIDE = 1024; // px

/**
 * Waits until an image is measured, and meanwhile shows its picture and state.
 *
 * @param {HTMLElement} root where to show it
 * @param {string} imageId
 * @param {function(): boolean} wanted whether the reader still looks at this image
 * @returns {Promise<boolean>} whether there is a result; where the job failed or the image is gone, the view says so
 */
export async function awaitImage(root, imageId, wanted) {
  let about;
  try {
    about = await api.patiently(() => api.about(imageId), wanted);
  } catch (error) {
    if (wanted()) root.replaceChildren(el("h1", {}, t("waiting.none")), el("p", {}, fault(error)));
    return false;
  }
  if (!wanted() || about.state === "done") return wanted();
  const state = el("p", { role: "timer", class: "progress" });
  const figure = el("figure", { class: "waiting" });
  root.replaceChildren(el("h1", {}, about.name), state, figure);
  if (about.state === "failed") {
    state.setAttribute("role", "status");
    state.textContent = about.error ? fault(about.error) : t("states.failed");
    state.classList.add("bad");
    await picture(figure, imageId, about.name);
    return false;
  }
  picture(figure, imageId, about.name);
  return new Promise((resolve) => {
    let now = about;
    const tell = () => {
      if (wanted()) return (state.textContent = progress(now));
      clearInterval(clock);
      end();
      return resolve(false);
    };
    const clock = setInterval(tell, 1000);
    const end = watch(imageId, (next) => {
      now = { ...now, ...next };
      tell();
      if (!["done", "failed"].includes(now.state) || !wanted()) return;
      clearInterval(clock);
      if (now.state === "failed") {
        state.setAttribute("role", "status");
        state.textContent = now.error ? fault(now.error) : t("states.failed");
        state.classList.add("bad");
      }
      resolve(now.state === "done");
    });
    tell();
  });
}

function progress({ state, position, created, expectedSeconds, tiles }) {
  const since = Date.parse(created);
  const elapsed = Number.isNaN(since) ? null : duration((Date.now() - since) / 1000);
  if (state === "queued" && position > 1) return t("uploads.place_only", { place: position });
  if (tiles && elapsed && state === "running") return t("uploads.tiles", { ...tiles, elapsed });
  if (!elapsed) return t(`states.${state}`);
  if (!expectedSeconds) return t("uploads.since", { state: t(`states.${state}`), elapsed });
  return t("uploads.of", { state: t(`states.${state}`), elapsed, expected: duration(expectedSeconds) });
}

async function picture(figure, imageId, name) {
  try {
    const { blob } = await api.preview(imageId, SIDE);
    const url = URL.createObjectURL(blob);
    const shown = el("img", { src: url, alt: t("waiting.picture", { name }) });
    shown.addEventListener("load", () => URL.revokeObjectURL(url));
    figure.append(shown);
  } catch {
    figure.append(el("p", { class: "soft" }, t("waiting.no_picture")));
  }
}
