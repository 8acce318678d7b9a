// Remarks that a reader needs before trusting numbers.

import { el } from "./dom.js";
import { has, t } from "./words.js";

const SIGNS = { error: "✕", warning: "!", note: "i" };

/**
 * Lists flags, in the order in which the gateway gives them: the worst first.
 *
 * @param {{name: string, level: "error"|"warning"|"note", words: string, numbers: Object<string, number>}[]} flags
 * @returns {HTMLElement}
 */
export function flagList(flags) {
  if (!flags.length) return el("p", { class: "flag fine" }, t("flags.none"));
  return el("ul", { class: "flags", "aria-label": t("flags.title") }, ...flags.map(item));
}

function item({ name, level, words, numbers }) {
  const sign = el("span", { class: "sign", role: "img", "aria-label": t(`flags.level_${level}`) }, SIGNS[level] ?? "i");
  return el("li", { class: `flag ${level}` }, sign, el("span", {}, flagText(name, words, numbers)));
}

/** Returns a flag's text in the reader's language; flags that the dictionary does not know say what the gateway says. */
export function flagText(name, words, numbers) {
  const key = `flags.${name}`;
  if (!has(key)) return words;
  const { low, high, relative_accuracy: half, low_precision: small, edge_grains: cut, below, grains, coverage, agreement } = numbers;
  const part = small ?? cut ?? below;
  return t(key, { ...numbers, n: part ?? grains ?? numbers.images ?? 0, share: half ?? coverage ?? agreement ?? (part === undefined ? undefined : part / grains), low, high });
}
