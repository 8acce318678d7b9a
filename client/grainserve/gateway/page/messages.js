// Short messages at the corner of the page; screen readers read them out.

import { el, find } from "./dom.js";
import { fault, t } from "./words.js";

const LASTS = 8000; // ms

/**
 * Shows a message for a while.
 *
 * @param {string} text what to say
 * @param {Object} [more]
 * @param {{label: string, href: string}} [more.link] link that goes with it
 * @param {boolean} [more.bad] whether it tells a failure: it then stays until it is closed
 */
export function say(text, { link, bad = false } = {}) {
  const close = el("button", { type: "button", class: "quiet", "data-do": "close", "aria-label": t("dialog.close") }, "×");
  const note = el("div", { class: bad ? "toast bad" : "toast" }, el("p", {}, text), link ? el("a", { href: link.href }, link.label) : null, close);
  note.addEventListener("click", ({ target }) => target.closest("[data-do=close], a") && note.remove());
  const place = find(bad ? "#alerts" : "#toasts");
  place.append(note);
  while (place.children.length > 4) place.firstElementChild.remove();
  if (!bad) setTimeout(() => note.remove(), LASTS);
}

/** Shows what went wrong. */
export const sayFault = (error, about = "") => say(about ? `${about}: ${fault(error)}` : fault(error), { bad: true });

/** Runs what a reader asked for; a failure is shown, not thrown. Returns whether it went well. */
export async function attempt(work, about = "") {
  try {
    await work();
    return true;
  } catch (error) {
    sayFault(error, about);
    return false;
  }
}
