// The page's texts and numbers, in the reader's language.

import { find } from "./dom.js";

/** Languages that there is a dictionary of, by their own names. */
export const LANGUAGES = { en: "English", de: "Deutsch" };
const KEPT = "grainserve-language";

let dictionary = {};
let chosen = "en";

/** Returns the code of the language in use. */
export const language = () => chosen;

/** Loads the language that the reader chose before, else the first of the browser's that there is. */
export async function start() {
  const known = (code) => code in LANGUAGES;
  const browsers = navigator.languages.map((each) => each.slice(0, 2)).find(known);
  await use([kept(), browsers].find((code) => code && known(code)) ?? "en");
}

/** Loads a language, fills the page with it and tells the other modules by the event `language`. */
export async function use(code) {
  const response = await fetch(`/page/words/${code}.json`);
  dictionary = await response.json();
  chosen = code;
  document.documentElement.lang = code;
  fill(document);
  document.dispatchEvent(new Event("language"));
}

/** Keeps the reader's choice of language for later visits. */
export function keep(code) {
  try {
    localStorage.setItem(KEPT, code);
  } catch {
    // the browser blocks storage: the choice lasts as long as the page
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // the browser blocks storage
  }
}

const entry = (key) => key.split(".").reduce((part, name) => part?.[name], dictionary);

/** Tells whether the dictionary has a text. */
export const has = (key) => entry(key) !== undefined;

/**
 * Returns a text of the dictionary.
 *
 * @param {string} key group and name, such as `uploads.failed`
 * @param {Object<string, *>} values values of the places `{name}` in the text, and of `{name%}`, which writes a share as
 *     percents; numbers are written in the reader's way, and `n` chooses between the forms of one and of several
 * @returns {string}
 */
export function t(key, values = {}) {
  const found = entry(key);
  const text = typeof found === "object" ? found[new Intl.PluralRules(chosen).select(values.n ?? 0)] ?? found.other : found;
  if (text === undefined) return key;
  return text.replace(/\{(\w+)(%?)\}/g, (_, name, share) => {
    const value = values[name];
    if (share) return percent(value);
    return typeof value === "number" ? number(value, 4) : value ?? "";
  });
}

/** Fills the elements with `data-t` (text), and `data-t-label`, `-title` and `-placeholder` (attributes). */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const [from, to] of [["label", "aria-label"], ["title", "title"], ["placeholder", "placeholder"]]) {
    for (const element of root.querySelectorAll(`[data-t-${from}]`)) {
      element.setAttribute(to, t(element.getAttribute(`data-t-${from}`)));
    }
  }
  const choice = find("#language", root);
  if (choice) choice.value = chosen;
}

/** Writes a number with so many significant digits, whole numbers in full; a dash for a missing one. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return new Intl.NumberFormat(chosen).format(value);
  return new Intl.NumberFormat(chosen, { maximumSignificantDigits: digits }).format(value);
}

/** Returns a typed number without the signs that group its thousands, as `number` writes them in this language. */
export function ungrouped(text) {
  const group = new Intl.NumberFormat(chosen).formatToParts(12345).find(({ type }) => type === "group")?.value;
  if (!group) return text;
  const [whole, ...parts] = text.split(group);
  return parts.length && /^[+-]?\d{1,3}$/.test(whole) && parts.every((part, i) => (i < parts.length - 1 ? /^\d{3}$/ : /^\d{3}(\D\d+)?$/).test(part)) ? [whole, ...parts].join("") : text;
}

/** Writes a measured value with three significant digits, zeros at the end included. */
export function measured(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return new Intl.NumberFormat(chosen, { minimumSignificantDigits: 3, maximumSignificantDigits: 3 }).format(value);
}

/** Writes a number with so many decimal places, so that the numbers of a column line up. */
export function fixed(value, places) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return new Intl.NumberFormat(chosen, { minimumFractionDigits: places, maximumFractionDigits: places }).format(value);
}

/** Writes a share as percents. */
export function percent(share, places = 0) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  return new Intl.NumberFormat(chosen, { style: "percent", maximumFractionDigits: places }).format(share);
}

/** Writes a moment (ISO 8601, or ms since 1970) as date and time of day. */
export function moment(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(chosen, { dateStyle: "medium", timeStyle: "short" }).format(date);
}

/** Writes a moment shortly: the time of day where it is today, else the day. */
export function shortMoment(at) {
  const date = new Date(at), today = date.toDateString() === new Date().toDateString();
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(chosen, today ? { timeStyle: "short" } : { dateStyle: "medium" }).format(date);
}

/** Writes a duration given in seconds: seconds below two minutes, else minutes. */
export function duration(seconds) {
  const [value, unit] = seconds < 120 ? [Math.max(0, Math.round(seconds)), "second"] : [Math.round(seconds / 60), "minute"];
  return new Intl.NumberFormat(chosen, { style: "unit", unit, unitDisplay: "short" }).format(value);
}

/**
 * Returns what an error says. The gateway writes English, with the numbers of the case; readers of another language
 * get the dictionary's sentence for the error's code first.
 */
export function fault(error) {
  if (error.key) return t(error.key, error.values); // the page itself has found it
  const key = `errors.${error.code}`;
  if (!error.code || !has(key)) return error.message;
  if (error.status === 0) return t(key);
  if (chosen === "en") return error.message;
  return `${t(key)} (${error.message})`;
}
