// Questions to the reader, as modal dialogs.

import { el } from "./dom.js";
import { t } from "./words.js";

/**
 * Asks in a dialog; Escape and "cancel" answer null.
 *
 * @param {Object} question
 * @param {string} question.title heading
 * @param {string} [question.text] explanation below it
 * @param {Object[]} [question.fields] fields: {name, label, value?, type?, hint?, required?, maxlength?, inputmode?}
 * @param {string} [question.yes] text of the button that answers
 * @param {string|null} [question.no] text of the button that does not; null: there is none
 * @param {boolean} [question.danger] whether the answer cannot be undone
 * @returns {Promise<Object<string, string>|null>} values by name of the field
 */
export function ask({ title, text, fields = [], yes = t("dialog.ok"), no = t("dialog.cancel"), danger = false }) {
  const dialog = el(
    "dialog",
    { "aria-labelledby": "dialog-title", "aria-describedby": text ? "dialog-text" : null },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "dialog-title" }, title),
      text ? el("p", { id: "dialog-text" }, text) : null,
      ...fields.map(field),
      el(
        "menu",
        {},
        no === null ? null : el("li", {}, el("button", { type: "button", value: "no" }, no)),
        el("li", {}, el("button", { class: danger ? "danger" : "primary", value: "yes" }, yes)),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.addEventListener("click", ({ target }) => target.value === "no" && target.type === "button" && dialog.close("no"));
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(new FormData(dialog.querySelector("form")));
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? values : null);
    });
    dialog.showModal();
    dialog.querySelector("input")?.select();
  });
}

function field({ name, label, hint, type = "text", value = "", ...more }) {
  const described = hint ? { "aria-describedby": `dialog-${name}-hint` } : {};
  return el(
    "label",
    {},
    el("span", {}, label),
    el("input", { name, type, value, autocomplete: "off", ...described, ...more }),
    hint ? el("small", { id: `dialog-${name}-hint` }, hint) : null,
  );
}

/** Asks whether to do what cannot be undone; returns whether to. */
export const confirmed = async (title, text, yes) => (await ask({ title, text, yes, danger: true })) !== null;
