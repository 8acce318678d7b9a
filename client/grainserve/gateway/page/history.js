// The images of this key, as the gateway lists them: search, pages, selection; the same in every tab.

import * as api from "./api.js";
import { arrange, el, find, onDo } from "./dom.js";
import * as acts from "./history_acts.js";
import { onChange } from "./library.js";
import { sayFault } from "./messages.js";
import { watch } from "./progress.js";
import { read, toImage } from "./router.js";
import { thumb } from "./thumbs.js";
import * as uploads from "./uploads.js";
import { fault, number, shortMoment, t } from "./words.js";

const PAGE = 50;
const ROUNDS = 20; // questions for one look at most: where a search finds little, pages come with few images or none

/** @type {Map<string, HTMLElement>} rows by image id */
const rows = new Map();
/** @type {Object[]} images as the gateway lists them */
let images = [];
let next = null;
let pages = 1;
let asked = 0;
const followed = new Map();
/** @type {Set<string>} ids of the images that are selected */
const selected = new Set();

/** Starts the list. */
export function start() {
  const section = find("#history");
  onDo(section, {
    more: () => load(pages + 1),
    acts: (button) => acts.openFor(button, one(button)),
    again: (button) => acts.measureAgain(one(button)),
    tag: (button) => search(`#${button.textContent}`),
    sample: () => acts.makeSample(chosen()).then((made) => made && clear()),
    extend: (button) => acts.addToSample(button, chosen()),
    tags: () => acts.tag(chosen()),
    delete: () => acts.remove(chosen()).then((done) => done && clear()),
    clear,
  });
  section.addEventListener("change", ({ target }) => target.matches("li input") && select(target));
  let typing;
  find("#search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => load(1), 250);
  });
  find("#search").addEventListener("search", () => load(1));
  for (const event of ["language", "caller"]) document.addEventListener(event, render);
  onChange(() => load(pages));
}

/** Searches the list for a text, or for a tag written as #tag. */
export function search(text) {
  find("#search").value = text;
  load(1);
}

/** Loads the list anew, with so many of its pages. */
export async function load(wanted = pages) {
  const mine = ++asked;
  const text = find("#search").value.trim();
  const what = text.startsWith("#") ? { tag: text.slice(1) } : { search: text };
  try {
    const found = [];
    let after = null;
    for (let round = 0; round < ROUNDS && found.length < wanted * PAGE; round++) {
      const answer = await api.patiently(() => api.images({ limit: PAGE, after, ...what }), () => mine === asked);
      if (mine !== asked) return; // a later question is under way: its answer counts
      found.push(...answer.images);
      after = answer.next;
      if (!after) break;
    }
    [images, next, pages] = [found, after, wanted];
  } catch (error) {
    if (mine === asked && error.status !== 401) sayFault(error);
    return;
  }
  follow();
  render();
}

/** Follows the images whose jobs go on, also those of other tabs and of this one before it was loaded anew. */
function follow() {
  const running = new Set(images.filter(({ state }) => !["done", "failed"].includes(state)).map(({ imageId }) => imageId));
  for (const [id, end] of followed) if (!running.has(id)) (end(), followed.delete(id));
  for (const id of running) if (!followed.has(id)) followed.set(id, watch(id, (now) => update(id, now)));
}

function update(id, now) {
  const image = images.find(({ imageId }) => imageId === id);
  if (!image) return;
  if (now.error?.status === 404) images = images.filter((each) => each !== image);
  else Object.assign(image, now);
  if (["done", "failed"].includes(now.state)) followed.delete(id);
  render();
}

const one = (element) => images.find(({ imageId }) => imageId === element.closest("[data-id]").dataset.id);
const chosen = () => images.filter(({ imageId }) => selected.has(imageId));

function select(box) {
  const { id } = box.closest("[data-id]").dataset;
  if (box.checked) selected.add(id);
  else selected.delete(id);
  render();
}

function clear() {
  selected.clear();
  render();
}

/** Shows the list as it is now. Rows of files that this tab is sending stay out: they are in the list of uploads. */
export function render() {
  const sent = new Set(uploads.all().map(({ imageId }) => imageId));
  const shown = images.filter(({ imageId }) => !sent.has(imageId));
  const ids = new Set(images.map(({ imageId }) => imageId));
  for (const id of rows.keys()) if (!ids.has(id)) rows.delete(id);
  for (const id of selected) if (!ids.has(id)) selected.delete(id);
  arrange(find("#history ol"), shown.map(row));
  const searching = find("#search").value.trim() !== "";
  find("#history-empty").hidden = shown.length > 0;
  find("#history-empty").textContent = t(searching ? "history.none_found" : "history.empty");
  find("#history [data-do=more]").hidden = !next;
  find("#selection").hidden = !selected.size;
  find("#selected").textContent = t("history.selected", { n: selected.size });
}

function row(image) {
  const { imageId: id, state, tags = [] } = image, name = image.name || id;
  if (!rows.has(id)) {
    const parts = [
      el("input", { type: "checkbox" }),
      el("a", { href: toImage(id) }, el("span", { class: "thumb" }, el("img", { alt: "", loading: "lazy" })), el("span", { class: "name" })),
      el("span", { class: "state" }),
      el("span", { class: "tags" }),
      el("p", { class: "reason" }),
      el("button", { type: "button", class: "quiet", "data-do": "acts", "aria-haspopup": "menu" }, "⋯"),
    ];
    rows.set(id, el("li", { "data-id": id }, ...parts));
  }
  const item = rows.get(id), [box, link, meta, chips, reason, button] = item.children;
  const picture = find("img", link);
  thumb(picture, id);
  box.checked = selected.has(id);
  box.setAttribute("aria-label", t("history.select", { name }));
  button.setAttribute("aria-label", t("history.acts", { name }));
  item.className = state;
  find(".name", link).textContent = name;
  link.title = name;
  meta.textContent = summary(image);
  if (chips.dataset.tags !== JSON.stringify(tags)) {
    chips.dataset.tags = JSON.stringify(tags);
    chips.replaceChildren(...tags.map((tag) => el("button", { type: "button", "data-do": "tag" }, tag)));
  }
  const failed = state === "failed";
  reason.hidden = !failed;
  const again = el("button", { type: "button", "data-do": "again" }, t("uploads.again"));
  if (failed) reason.replaceChildren(image.error ? fault(image.error) : t("states.failed"), " ", again);
  const route = read(location.hash);
  if (route.view === "image" && route.id === id) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  return item;
}

function summary({ state, position, grains, umPerPx, created }) {
  if (state === "queued" && position > 1) return t("uploads.place_only", { place: position });
  if (state !== "done") return t(`states.${state}`);
  const parts = [grains === undefined || grains === null ? null : t("history.grains", { n: grains }), umPerPx ? `${number(umPerPx)} µm/px` : null, shortMoment(created)];
  return parts.filter(Boolean).join(" · ");
}
