// Light or dark: as the system says, or as the reader chose.

import { find } from "./dom.js";
import { t } from "./words.js";

const KEPT = "grainserve-theme";
const ORDER = ["auto", "light", "dark"];

let theme = kept();

function kept() {
  try {
    const found = localStorage.getItem(KEPT);
    return ORDER.includes(found) ? found : "auto";
  } catch {
    return "auto"; // the browser blocks storage
  }
}

/** Applies the reader's theme to the page. */
export function show() {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  find("#theme").textContent = t(`theme.${theme}`);
}

/** Goes on to the next theme, and keeps it for later visits. */
export function next() {
  theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
  try {
    localStorage.setItem(KEPT, theme);
  } catch {
    // the browser blocks storage: the choice lasts as long as the page
  }
  show();
}
