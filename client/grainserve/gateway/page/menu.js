// A menu of actions that opens at a button.

import { el } from "./dom.js";

/**
 * Opens a menu under a button; arrow keys move in it, Escape and a click elsewhere close it.
 *
 * @param {HTMLElement} button button that opened it; it gets the focus back
 * @param {({label: string, run: function(): *, danger?: boolean}|{title: string})[]} items actions, and titles of groups
 */
export function openMenu(button, items) {
  const menu = el(
    "div",
    { popover: "auto", role: "menu", class: "menu", "aria-label": button.getAttribute("aria-label") ?? button.textContent },
    ...items.map((item, index) =>
      item.title
        ? el("p", { role: "presentation" }, item.title)
        : el("button", { type: "button", role: "menuitem", tabindex: "-1", class: item.danger ? "danger" : null, "data-index": index }, item.label),
    ),
  );
  // Inside a modal dialog or not: beside its button, so that it is in the same layer.
  button.after(menu);
  const buttons = [...menu.querySelectorAll("button")];
  menu.addEventListener("click", ({ target }) => {
    const chosen = target.closest("button");
    if (!chosen) return;
    menu.hidePopover();
    items[Number(chosen.dataset.index)].run();
  });
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? (step && (at + step + buttons.length) % buttons.length);
    if (event.key === "Tab") menu.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    buttons[to].focus();
  });
  menu.addEventListener("toggle", ({ newState }) => {
    button.setAttribute("aria-expanded", String(newState === "open"));
    if (newState !== "closed") return;
    if (menu.contains(document.activeElement) || document.activeElement === document.body) button.focus();
    menu.remove();
  });
  button.setAttribute("aria-haspopup", "menu");
  menu.showPopover();
  place(menu, button.getBoundingClientRect());
  buttons[0]?.focus();
}

/** Puts the menu below its button, or above where there is no room, inside the window. */
function place(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + 4 + height <= innerHeight || at.top < height + 4;
  menu.style.left = `${Math.max(4, Math.min(at.left, innerWidth - width - 4))}px`;
  menu.style.top = `${Math.max(4, below ? Math.min(at.bottom + 4, innerHeight - height - 4) : at.top - height - 4)}px`;
}
