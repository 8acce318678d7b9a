// The samples of this key, in the rail; several can be compared.

import * as api from "./api.js";
import { arrange, el, find, onDo } from "./dom.js";
import { onChange } from "./library.js";
import { sayFault } from "./messages.js";
import { go, read, toComparison, toSample } from "./router.js";
import { t } from "./words.js";

const rows = new Map();
/** @type {Set<string>} ids of the samples to compare */
const compared = new Set();
let samples = [];
let next = null;

const PAGE = 50, MOST = 200; // samples that are asked for at once, as a rule and at most
let asked = 0;

/** Starts the list. */
export function start() {
  const section = find("#samples");
  onDo(section, { more: () => load(next), compare: () => go(toComparison([...compared])) });
  section.addEventListener("change", ({ target }) => {
    const { id } = target.closest("[data-id]").dataset;
    if (target.checked) compared.add(id);
    else compared.delete(id);
    render();
  });
  onChange(() => load());
  document.addEventListener("language", render);
}

/** Loads the list anew, or its next page. */
export async function load(after = null) {
  const mine = ++asked;
  const limit = after ? PAGE : Math.min(MOST, Math.max(PAGE, samples.length)); // what was shown stays
  try {
    const answer = await api.patiently(() => api.samples({ limit, after }), () => mine === asked);
    if (mine !== asked) return; // a later question is under way: its answer counts
    samples = after ? [...samples, ...answer.samples] : answer.samples;
    next = answer.next;
    render();
  } catch (error) {
    if (mine === asked && error.status !== 401) sayFault(error);
  }
}

/** Returns the samples that the list knows. */
export const known = () => samples;

/** Shows the list as it is now. */
export function render() {
  const ids = new Set(samples.map(({ sampleId }) => sampleId));
  for (const id of rows.keys()) if (!ids.has(id)) rows.delete(id);
  for (const id of compared) if (!ids.has(id)) compared.delete(id);
  find("#samples").hidden = !samples.length;
  arrange(find("#samples ol"), samples.map(row));
  find("#samples [data-do=more]").hidden = !next;
  const compare = find("#samples [data-do=compare]");
  compare.hidden = compared.size < 2;
  compare.textContent = t("samples.compare", { n: compared.size });
}

function row({ sampleId: id, name, imageIds }) {
  if (!rows.has(id)) {
    const link = el("a", { href: toSample(id) }, el("span", { class: "name" }));
    rows.set(id, el("li", { "data-id": id }, el("input", { type: "checkbox" }), link, el("span", { class: "state" })));
  }
  const item = rows.get(id), [box, link, state] = item.children;
  box.checked = compared.has(id);
  box.setAttribute("aria-label", t("samples.select", { name }));
  link.firstChild.textContent = link.title = name;
  state.textContent = t("samples.images", { n: imageIds.length });
  const route = read(location.hash);
  if (route.view === "sample" && route.id === id) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
  return item;
}
