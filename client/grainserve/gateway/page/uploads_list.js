// The list of files on their way: one row each, with its picture, state, times, and the reason of a failure.

import * as api from "./api.js";
import { arrange, el, find, onDo } from "./dom.js";
import { changed } from "./library.js";
import { attempt } from "./messages.js";
import { go, toImage, toSample } from "./router.js";
import * as uploads from "./uploads.js";
import { duration, fault, t } from "./words.js";

const MOST = 60; // rows shown; the heading counts all
const rows = new Map();
/** @type {{batch: number, ids: string[], names: string[], count: number}|null} files chosen together, to become a sample */
let together = null;

/** Starts the list, and the offer to make a sample of files that were chosen together. */
export function start() {
  onDo(find("#uploads"), {
    again: (button) => uploads.again(of(button)),
    dismiss: (button) => uploads.dismiss(of(button)),
    sample: makeSample,
    later: () => {
      together = null;
      render();
    },
  });
  document.addEventListener("language", render);
  setInterval(() => uploads.all().length && render(), 1000); // elapsed times
}

const of = (button) => uploads.all().find((upload) => rows.get(upload)?.contains(button));

/** Remembers an image that the gateway has taken: those of one drop may become a sample. */
export function stored({ batch, imageId, name, replaces }) {
  if (together?.batch !== batch) together = { batch, images: new Map() };
  together.images.delete(replaces);
  together.images.set(imageId, name);
}

/** Shows the uploads as they are now. */
export function render() {
  const all = uploads.all();
  // Offered once all files of the drop are with the gateway, or failed: a sample should have all of them.
  const sending = all.some(({ batch, imageId, state }) => batch === together?.batch && !imageId && state !== "failed");
  const offered = (together?.images.size ?? 0) > 1 && !sending;
  find("#uploads").hidden = !all.length && !offered;
  find("#uploads-title").hidden = !all.length;
  find("#uploads-count").textContent = all.length ? t("uploads.count", { n: all.length }) : "";
  // Failures come first: they want an answer. Then what moves, then what waits.
  const order = { failed: 0, running: 1, queued: 2, uploading: 3, checking: 4, waiting: 5 };
  const shown = [...all].sort((a, b) => order[a.state] - order[b.state]).slice(0, MOST);
  for (const upload of rows.keys()) if (!all.includes(upload)) rows.delete(upload);
  arrange(find("#uploads ol"), shown.map(row));
  find("#uploads-more").textContent = all.length > MOST ? t("uploads.more", { n: all.length - MOST }) : "";
  const offer = find("#together");
  offer.hidden = !offered;
  if (offered) find("#together button").textContent = t("uploads.make_sample", { n: together.images.size });
}

function row(upload) {
  if (!rows.has(upload)) {
    const parts = [
      el("span", { class: "thumb" }),
      el("span", { class: "name" }),
      el("span", { class: "state" }),
      el("p", { class: "reason" }),
      el("span", { class: "acts" }),
    ];
    rows.set(upload, el("li", {}, ...parts));
  }
  const item = rows.get(upload), [picture, name, state, reason, acts] = item.children;
  if (upload.picture && !picture.firstChild) picture.append(el("img", { src: upload.picture, alt: "" }));
  item.className = upload.state;
  text(name, upload.name);
  name.title = upload.name;
  text(state, stateText(upload));
  text(reason, upload.state === "failed" ? fault(upload.reason) : upload.state === "waiting" && !upload.options ? t("uploads.held") : "");
  reason.hidden = !reason.textContent;
  const wanted = upload.state !== "failed" ? (upload.imageId ? "taken" : "") : upload.reason.key ? "refused" : "failed";
  if (acts.dataset.for !== wanted + document.documentElement.lang) {
    acts.dataset.for = wanted + document.documentElement.lang;
    acts.replaceChildren(...actions(upload, wanted));
  }
  return item;
}

/** Writes a text only where it has changed, so that screen readers and selections are left alone. */
function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function actions(upload, kind) {
  const button = (name, label) => el("button", { type: "button", "data-do": name, "aria-label": `${label}: ${upload.name}` }, label);
  if (kind === "failed") return [button("again", t("uploads.again")), button("dismiss", t("uploads.dismiss"))];
  if (kind === "refused") return [button("dismiss", t("uploads.dismiss"))];
  if (kind === "taken") return [el("a", { href: toImage(upload.imageId) }, t("uploads.look"))];
  return [];
}

function stateText({ state, position, expected, began, tiles }) {
  const elapsed = duration((Date.now() - began) / 1000);
  if (tiles && state === "running") return t("uploads.tiles", { ...tiles, elapsed });
  if (state === "queued" && position > 1) return t("uploads.place", { place: position, elapsed });
  if (["queued", "running"].includes(state)) {
    return expected ? t("uploads.of", { state: t(`states.${state}`), elapsed, expected: duration(expected) }) : t("uploads.since", { state: t(`states.${state}`), elapsed });
  }
  return t(`states.${state}`);
}

async function makeSample() {
  const ids = [...together.images.keys()], names = [...together.images.values()];
  await attempt(async () => {
    const { sampleId } = await api.makeSample(commonName(names), ids);
    together = null;
    render();
    changed();
    go(toSample(sampleId));
  });
}

/** Returns what names begin with, as the name of their sample: sand_1.tif, sand_2.tif → sand; else the first name. */
export function commonName(names) {
  const bare = names.map((name) => name.replace(/\.[^.]+$/, ""));
  let length = 0;
  while (bare.every((name) => length < name.length && name[length] === bare[0][length])) length++;
  const common = bare[0].slice(0, length).replace(/[\s_\-.(#]*0*$/, "").replace(/[\s_\-.(#]+$/, "");
  return (common.length > 1 ? common : bare[0]).slice(0, 100);
}
