// The options that uploads take: scale, smallest grain, rows to leave out. Plain words, decimal commas, an echo.

import { find } from "./dom.js";
import { readScale } from "./scale_text.js";
import { number, t } from "./words.js";

const form = () => find("#options");

/** Starts the echo of the scale, and tells the page by the event `options` when a field has changed. */
export function start() {
  form().addEventListener("submit", (event) => event.preventDefault());
  form().addEventListener("input", () => {
    echo();
    document.dispatchEvent(new Event("options"));
  });
  document.addEventListener("language", echo);
  echo();
}

/** Says below each field what was understood, or what is wrong. */
function echo() {
  const { um_per_px: scale, min_area: smallest, ignore_bottom: rows } = form().elements;
  const understood = readScale(scale.value);
  const { find: box } = form().elements;
  box.disabled = understood !== null; // a scale that is typed holds for all files
  const auto = box.checked;
  tell(scale, understood !== null || !scale.value.trim(), scaleEcho(scale.value, understood, auto));
  for (const field of [smallest, rows]) tell(field, whole(field) !== null, whole(field) === null ? t("options.whole") : "");
}

function scaleEcho(text, understood, auto) {
  if (!text.trim()) return t(auto ? "options.scale_auto" : "options.scale_none");
  return understood === null ? t("options.scale_ways") : t("options.scale_is", { scale: number(understood, 6) });
}

function tell(field, valid, text) {
  field.setAttribute("aria-invalid", String(!valid));
  const echoed = find(`#${field.name}-echo`);
  echoed.textContent = text;
  echoed.classList.toggle("bad", !valid);
}

/** Returns the whole number of a field, "" where it is empty, null where it holds something else. */
function whole(field) {
  const text = field.value.trim();
  return text === "" ? "" : /^\d+$/.test(text) ? Number(text) : null;
}

/** Returns the options of an upload, or null where a field holds no number; the first such field gets the focus. */
export function given({ focus = false } = {}) {
  const { um_per_px: scale, min_area: smallest, ignore_bottom: rows, fill, find: auto } = form().elements;
  const understood = readScale(scale.value);
  const wrong = [
    [scale, understood === null && scale.value.trim() !== ""],
    [smallest, whole(smallest) === null],
    [rows, whole(rows) === null],
  ].find(([, bad]) => bad)?.[0];
  if (wrong) {
    wrong.closest("details")?.setAttribute("open", "");
    if (focus) wrong.focus();
    return null;
  }
  return {
    um_per_px: understood ?? "",
    scale: understood === null && auto.checked ? "auto" : "",
    min_area: whole(smallest),
    ignore_bottom: whole(rows),
    fill: fill.checked ? "true" : "",
  };
}
