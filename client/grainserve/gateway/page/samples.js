// The view of a sample: its pooled statistics, its images, its files and reports.

import * as api from "./api.js";
import { rose, sizeChart } from "./chart.js";
import { ask, confirmed } from "./dialogs.js";
import { el, onDo } from "./dom.js";
import { flagList } from "./flags.js";
import { me } from "./keys.js";
import { changed, onChange } from "./library.js";
import { openMenu } from "./menu.js";
import { attempt, say, sayFault } from "./messages.js";
import { watch } from "./progress.js";
import { go, toComparison, toImage } from "./router.js";
import { exportItems, reportItems } from "./sample_files.js";
import * as tables from "./sample_tables.js";
import { known } from "./samples_list.js";
import { fault, fixed, number, percent, t } from "./words.js";

/**
 * Shows a sample.
 *
 * @param {HTMLElement} root where to show it
 * @param {string} sampleId
 * @returns {Promise<{close: function(): void}>}
 */
export async function showSample(root, sampleId) {
  const ends = [], watched = [];
  let turn = 0; // a late answer must not replace a newer one
  let open = true;
  let sample = await api.patiently(() => api.sampleOf(sampleId), () => open);
  const body = el("div", { class: "statistics", "aria-busy": "true" }, el("p", { class: "soft", role: "status" }, t("sample.pooling")));
  const head = el("header", { class: "head" });
  const article = el("article", { class: "sample" }, head, body);
  root.replaceChildren(article);
  heading();

  function heading() {
    const writes = !me()?.readOnly;
    const menu = (name, label, primary) => el("button", { type: "button", class: primary ? "primary" : null, "data-do": name, "aria-haspopup": "menu" }, label, " ▾");
    head.replaceChildren(
      el("div", {}, el("h1", {}, sample.name), el("p", { class: "soft" }, t("samples.images", { n: sample.imageIds.length }))),
      el("div", { class: "actions" }, menu("report", t("sample.report"), true), menu("files", t("sample.files")), menu("acts", t(writes ? "sample.change" : "sample.more"))),
    );
  }

  async function fill() {
    const mine = ++turn;
    watched.splice(0).forEach((end) => end());
    try {
      const statistics = await api.patiently(() => api.sampleStatistics(sampleId), () => open && mine === turn);
      if (!open || mine !== turn) return;
      body.replaceChildren(...figures(statistics).filter(Boolean));
      waitFor(statistics.leftOut);
      if (statistics.unit === "µm") grainSizeNumbers(statistics);
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      if (!open || mine !== turn) return;
      // No result yet, no grains, or scales that differ: the images say which of them it is.
      const rows = el("ul", { class: "left-out" });
      body.replaceChildren(el("p", { class: error.code === "no_results" ? "flag" : "flag error", role: "status" }, fault(error)), rows);
      await attempt(async () => listImages(rows));
    } finally {
      body.removeAttribute("aria-busy");
    }
  }

  async function listImages(list) {
    const { images } = await api.images({ sample: sampleId, limit: 200 });
    list.append(...images.map((image) => el("li", {}, el("a", { href: toImage(image.imageId) }, image.name), ` · ${told(image)}`)));
    waitFor(images.filter(({ state }) => !["done", "failed"].includes(state)).map(({ imageId }) => ({ imageId, why: "waiting" })));
  }

  /** Shows the statistics anew when images that are still measured are done. */
  function waitFor(leftOut) {
    const waiting = new Set(leftOut.filter(({ why }) => why === "waiting").map(({ imageId }) => imageId));
    for (const id of waiting) {
      const end = watch(id, ({ state }) => {
        if (!["done", "failed"].includes(state)) return;
        waiting.delete(id);
        if (!waiting.size && open) fill();
      });
      watched.push(end);
    }
  }

  function figures(statistics) {
    const { orientation } = statistics;
    const series = [
      { name: t("sample.by_number"), colour: 1, ...statistics.number },
      { name: t("sample.by_area"), colour: 2, dashed: true, ...statistics.area },
    ];
    return [
      flagList(statistics.flags),
      leftOutList(statistics.leftOut),
      keyFigures(statistics),
      section(t("sample.curve"), sizeChart(series, statistics.unit, t("chart.label", { name: sample.name })), el("p", { class: "soft" }, intervalNote(statistics))),
      el(
        "div",
        { class: "pairs" },
        section(t("sample.percentiles"), tables.percentiles(statistics)),
        ...optional(t("folk.heading"), tables.folkWard(statistics)),
        ...optional(t("classes.heading"), tables.wentworth(statistics)),
        el("section", { class: "astm", hidden: true }),
        section(t("orientation.title"), rose(orientation.rose, significant(orientation) ? orientation.mean : null, t("orientation.label")), el("p", {}, orientationText(orientation))),
      ),
      section(t("sample.images_title"), tables.images(statistics, !me()?.readOnly)),
    ];
  }

  /** Adds the ASTM grain sizes, which need the masks of all grains and so take longer. */
  async function grainSizeNumbers({ unit }) {
    const place = body.querySelector(".astm");
    try {
      const { grainSizeNumbers: numbers } = await api.patiently(() => api.sampleStatistics(sampleId, { astm: "all" }), () => open);
      place.replaceChildren(el("h2", {}, t("astm.heading")), tables.astm(numbers));
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      place.replaceChildren(el("h2", {}, t("astm.heading")), el("p", { class: "soft" }, fault(error)));
    }
    place.hidden = unit !== "µm";
  }

  onDo(article, {
    report: (button) => openMenu(button, reportItems(sample)),
    files: (button) => openMenu(button, exportItems(sample)),
    acts: (button) => openMenu(button, acts()),
    remove: (button) => change({ remove: [button.dataset.id] }),
  });

  function acts() {
    const others = known().filter((other) => other.sampleId !== sampleId);
    const items = [
      { label: t("sample.copy_link"), run: () => attempt(async () => (await navigator.clipboard.writeText(location.href), say(t("sample.copied")))) },
      ...others.slice(0, 8).map((other) => ({ label: t("sample.compare_with", { name: other.name }), run: () => go(toComparison([sampleId, other.sampleId])) })),
    ];
    if (me()?.readOnly) return items;
    return [{ label: t("history.rename"), run: rename }, ...items, { label: t("sample.delete"), run: remove, danger: true }];
  }

  async function rename() {
    const fields = [{ name: "name", label: t("samples.name"), value: sample.name, required: true, maxlength: 200 }];
    const answer = await ask({ title: t("history.rename"), fields, yes: t("dialog.save") });
    if (answer?.name.trim()) await change({ name: answer.name.trim() });
  }

  async function change(changes) {
    if (!(await attempt(async () => (sample = await api.changeSample(sampleId, changes))))) return;
    heading();
    changed();
    if (!changes.name) await fill();
  }

  async function remove() {
    if (!(await confirmed(t("sample.delete_one", { name: sample.name }), t("sample.delete_text"), t("sample.delete")))) return;
    if (!(await attempt(() => api.removeSample(sampleId)))) return;
    changed();
    go("#/");
  }

  /** Follows what other tabs, and the history beside this view, do to the sample. */
  async function refresh() {
    try {
      const now = await api.patiently(() => api.sampleOf(sampleId), () => open);
      if (!open || JSON.stringify(now) === JSON.stringify(sample)) return;
      sample = now;
      heading();
      fill();
    } catch (error) {
      if (open && error.status === 404) go("#/"); // deleted elsewhere
      else if (open) sayFault(error);
    }
  }

  /** Shows the statistics anew when images of the sample were deleted in this tab. */
  const onDeleted = ({ detail }) => detail.ids.some((id) => sample.imageIds.includes(id)) && fill();

  document.addEventListener("deleted", onDeleted);
  ends.push(onChange(refresh), () => document.removeEventListener("deleted", onDeleted));
  fill();
  return {
    close() {
      open = false;
      [...ends, ...watched].forEach((end) => end());
    },
  };
}

const section = (title, ...parts) => el("section", {}, el("h2", {}, title), ...parts);
const optional = (title, part) => (part ? [section(title, part)] : []);
const told = ({ state, grains, umPerPx }) => (state === "done" ? `${t("history.grains", { n: grains ?? 0 })}, ${umPerPx ? `${number(umPerPx)} µm/px` : t("sample.no_scale")}` : t(`states.${state}`));

function leftOutList(leftOut) {
  if (!leftOut.length) return null;
  const rows = leftOut.map(({ imageId, name, why, message }) => el("li", {}, why === "missing" ? name : el("a", { href: toImage(imageId) }, name), ` · ${t(`sample.why_${why}`)}${message ? `: ${message}` : ""}`));
  return el("ul", { class: "left-out" }, ...rows);
}

function keyFigures({ number: byNumber, unit, grains, used, coverage }) {
  const figure = (name, value, note) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null));
  const sizes = [10, 50, 90].map((p) => {
    const [value, note] = [tables.interval(byNumber.percentiles[p])].flat();
    return figure(`D${p}`, `${value} ${unit}`, note);
  });
  return el("dl", { class: "key-figures" }, ...sizes, figure(t("sample.grains"), number(grains), t("sample.used", { n: used })), figure(t("sample.coverage"), percent(coverage)));
}

function intervalNote({ resampling, intervalsHoldFor, edgeCorrection }) {
  const level = percent(resampling.level);
  const holds = t(intervalsHoldFor === "sample" ? "sample.holds_sample" : "sample.holds_places", { level });
  return `${t(edgeCorrection ? "sample.corrected" : "sample.not_corrected")} ${holds}`;
}

/** Tells whether Rayleigh's test finds a direction, so that a mean means something. */
const significant = ({ pValue }) => pValue !== null && pValue < 0.05;

function orientationText(found) {
  const { mean, resultant, pValue, grains, equant, meanInterval } = found;
  if (!grains) return t("orientation.none");
  const values = { n: grains, equant, resultant: fixed(resultant, 2), p: pValue < 0.001 ? `< ${number(0.001)}` : `= ${fixed(pValue, 3)}` };
  if (!significant(found)) return t("orientation.random", values);
  const ends = meanInterval?.low !== null && meanInterval ? ` (${t("sample.from_to", { low: fixed(meanInterval.low, 0), high: fixed(meanInterval.high, 0) })})` : "";
  return t("orientation.preferred", { ...values, mean: `${fixed(mean, 0)}°${ends}` });
}
