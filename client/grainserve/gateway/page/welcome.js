// What the main view says before anything is chosen.

import { el } from "./dom.js";
import { t } from "./words.js";

/** Shows in three lines what to do. */
export function showWelcome(root) {
  const steps = ["one", "two", "three"].map((step) => el("li", {}, el("strong", {}, t(`welcome.${step}`)), " ", t(`welcome.${step}_more`)));
  root.replaceChildren(el("section", { class: "welcome" }, el("h1", {}, t("welcome.title")), el("ol", {}, ...steps), el("p", { class: "soft" }, t("welcome.local"))));
  return { close() {} };
}
