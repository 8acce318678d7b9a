// The scale of an image: where it is from, another one typed or drawn, its history, and other images that get it.

import * as api from "./api.js";
import { el } from "./dom.js";
import { changed } from "./library.js";
import { attempt, say } from "./messages.js";
import { fault, moment, number, t } from "./words.js";

/**
 * Makes the panel.
 *
 * @param {string} imageId
 * @param {Object} scale as `api.scale` returns it
 * @param {Object} on
 * @param {function(): Promise<?{x1: number, y1: number, x2: number, y2: number}>} on.askLine lets the reader draw a line
 * @param {function(): void} on.clearLine takes the line off the picture
 * @param {function(Object): Promise<void>} on.change the scale has changed: everything that depends on it follows
 */
export function makeScalePanel(imageId, scale, { askLine, clearLine, change }) {
  let now = scale, line = null;
  const summary = el("summary");
  const revisions = el("ol", { class: "revisions" });
  const echo = el("p", { class: "echo", role: "status" });
  const text = el("input", { id: "scale-text", type: "text", autocomplete: "off", placeholder: t("scale.example"), "aria-describedby": "scale-ways", maxlength: "80" });
  const typed = el("form", { class: "row" }, el("label", { for: "scale-text" }, t("scale.typed")), text, el("button", { class: "primary" }, t("scale.set")), el("button", { type: "button", "data-act": "none" }, t("scale.remove")));
  const ways = el("small", { id: "scale-ways" }, t("scale.ways"));
  const begin = el("button", { type: "button", "data-act": "draw", "aria-expanded": "false" }, t("scale.draw"));
  const length = el("input", { id: "line-length", type: "text", autocomplete: "off", placeholder: t("scale.length_example"), maxlength: "80" });
  const measured = el("form", { class: "row", hidden: true }, el("label", { for: "line-length" }), length, el("button", { class: "primary" }, t("scale.set")), el("button", { type: "button", "data-act": "cancel" }, t("scale.cancel")));
  const hint = el("p", { class: "soft", role: "status", hidden: true }, t("scale.draw_hint"));
  const sample = el("select", { id: "scale-sample" });
  const copy = el("form", { class: "row", hidden: true }, el("label", { for: "scale-sample" }, t("scale.copy")), sample, el("button", {}, t("scale.copy_yes")));
  const writes = el("div", { class: "writes" }, typed, ways, echo, el("div", { class: "row" }, begin), hint, measured, copy);
  const panel = el("details", { class: "scale" }, summary, writes, revisions);

  function show() {
    const from = t(`scale.from_${now.source}`);
    summary.replaceChildren(el("strong", {}, now.umPerPx ? t("scale.is", { scale: now.umPerPx }) : t("scale.none")), now.umPerPx ? ` · ${from}` : "", el("span", { class: "writes change" }, t("scale.change")));
    typed.querySelector("[data-act=none]").hidden = !now.umPerPx;
    const rows = [...now.revisions].reverse().map((each) => el("li", {}, said(each)));
    revisions.replaceChildren(...(rows.length ? [el("li", { class: "title" }, t("scale.history")), ...rows] : []));
    copy.hidden = !now.umPerPx || !sample.options.length;
  }

  const said = ({ umPerPx, source, by, at }) =>
    t("scale.revision", { scale: umPerPx ? t("scale.per_px", { scale: umPerPx }) : t("scale.none"), from: t(`scale.from_${source}`), by: by || t("scale.nobody"), at: moment(at) });

  /** Sends a scale; what the server understood, or why not, goes below the field. */
  async function set(given) {
    panel.setAttribute("aria-busy", "true");
    try {
      now = await api.setScale(imageId, given);
      echo.textContent = now.umPerPx ? t("scale.understood", { scale: now.umPerPx }) : t("scale.removed");
      echo.classList.remove("bad");
      show();
      await change(now);
      return true;
    } catch (error) {
      echo.textContent = fault(error);
      echo.classList.add("bad");
      return false;
    } finally {
      panel.removeAttribute("aria-busy");
    }
  }

  function endLine() {
    line = null;
    measured.hidden = hint.hidden = true;
    begin.setAttribute("aria-expanded", "false");
    clearLine();
  }

  typed.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!text.value.trim()) return text.focus();
    const good = await set({ text: text.value.trim() });
    text.setAttribute("aria-invalid", String(!good));
    if (good) text.value = "";
  });
  measured.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!length.value.trim()) return length.focus();
    const good = await set({ line, length: length.value.trim() });
    length.setAttribute("aria-invalid", String(!good));
    if (good) endLine();
  });
  copy.addEventListener("submit", (event) => {
    event.preventDefault();
    const images = sample.value.split(",").filter((id) => id !== imageId);
    attempt(async () => {
      now = await api.setScale(imageId, { umPerPx: now.umPerPx, source: now.source, images });
      changed();
      show();
      say(t("scale.copied", { n: images.length }));
    });
  });
  panel.addEventListener("click", async ({ target }) => {
    const { act } = target.dataset;
    if (act === "none") await set({ umPerPx: null });
    if (act === "cancel") endLine();
    if (act !== "draw") return;
    measured.hidden = true;
    hint.hidden = false;
    begin.setAttribute("aria-expanded", "true");
    line = await askLine();
    hint.hidden = true;
    if (!line) return endLine();
    measured.querySelector("label").textContent = t("scale.length", { px: number(Math.hypot(line.x2 - line.x1, line.y2 - line.y1)) });
    measured.hidden = false;
    length.focus();
  });

  /** Finds the samples that the image is in; their other images can get its scale. */
  async function fillSamples() {
    const found = [];
    for (let after; ; ) {
      const { samples, next } = await api.samples({ limit: 100, after });
      found.push(...samples.filter(({ imageIds }) => imageIds.includes(imageId) && imageIds.length > 1));
      if (!(after = next)) break;
    }
    sample.replaceChildren(...found.map(({ name, imageIds }) => el("option", { value: imageIds.join(",") }, t("scale.copy_to", { name, n: imageIds.length - 1 }))));
    show();
  }
  // Opened for the first time: who never opens it asks for no samples.
  panel.addEventListener("toggle", () => attempt(fillSamples), { once: true });

  show();
  return { element: panel, get umPerPx() { return now.umPerPx; } };
}
