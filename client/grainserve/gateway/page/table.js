// The table of the grains: it sorts, filters, and draws only the rows in sight, so that many thousand stay smooth.

import { el } from "./dom.js";
import { MEASURES, measure, titleOf, writer } from "./measures.js";
import { t, ungrouped } from "./words.js";

const ROW = 30; // px, height of a row; view.css has the same
const MORE = 8; // rows drawn above and below those in sight
const DIGITS = /^[+-]?\d*[.,]?\d+(e[+-]?\d+)?$/i;

/**
 * Makes the table.
 *
 * @param {Object} given
 * @param {Object[]} given.grains objects of the result
 * @param {boolean} given.scaled whether sizes are in µm
 * @param {function(Object): boolean} given.isLeftOut whether sizes are taken without a grain
 * @param {function(number): void} given.onHover a row is pointed at; 0: none
 * @param {function(number): void} given.onPin a row is chosen; 0: none
 * @param {function(Set<number>|null): void} given.onFilter ids of the grains that the filters leave; null: all
 */
export function makeTable({ grains: given, scaled: inMicrometres, isLeftOut, onHover, onPin, onFilter }) {
  let grains = given, scaled = inMicrometres, rows = [], write = writer(grains, scaled), hovered = 0, pinned = 0, focused = 0;
  let sort = { name: "id", down: false };
  const classes = [...new Set(grains.map((grain) => grain.class))].sort();
  const columns = MEASURES.filter(({ name }) => name !== "class" || classes.length > 1);
  const filterable = columns.filter(({ kind, name }) => kind !== "text" && name !== "id");

  const which = el("select", { "aria-label": t("table.column") });
  const field = (name) => el("input", { type: "text", inputmode: "decimal", autocomplete: "off", name, "aria-label": t(`table.${name}`), placeholder: t(`table.${name}`), size: "6" });
  const low = field("least"), high = field("most");
  const ofClass = el("select", { "aria-label": t("table.class") }, el("option", { value: "" }, t("table.every_class")), ...classes.map((name) => el("option", { value: name }, name)));
  const whole = el("input", { type: "checkbox", id: "whole" });
  const count = el("span", { class: "soft", role: "status" });
  const filters = el("div", { class: "filters", role: "group", "aria-label": t("table.filters") }, which, el("span", { class: "span" }, low, "–", high), classes.length > 1 ? ofClass : null, el("label", { class: "check" }, whole, t("table.whole")), count);
  const head = el("tr"), body = el("tbody");
  const table = el("table", { id: "grains", "aria-label": t("table.title") }, el("thead", {}, head), body);
  const scroller = el("div", { class: "table grains", tabindex: "0", role: "region", "aria-label": t("table.title") }, table);
  const none = el("p", { class: "soft none", hidden: true }, t("table.none"));

  /** Reads a field; null where it is empty. What is no number is marked, and filters nothing. */
  function bound(input) {
    const text = ungrouped(input.value.trim()), fits = !text || DIGITS.test(text);
    input.setAttribute("aria-invalid", String(!fits));
    return text && fits ? Number(text.replace(",", ".")) : null;
  }

  function arrange() {
    const by = measure(which.value) ?? filterable[0], [from, to] = [bound(low), bound(high)];
    const left = grains.filter((grain) => {
      const value = by.of(grain, scaled);
      if (from !== null && !(value >= from)) return false;
      if (to !== null && !(value <= to)) return false;
      if (ofClass.value && grain.class !== ofClass.value) return false;
      return !(whole.checked && isLeftOut(grain));
    });
    const column = measure(sort.name), sign = sort.down ? -1 : 1;
    const keyed = left.map((grain) => [column.of(grain, scaled), grain]);
    // Grains without a value come last, whichever way the others go.
    keyed.sort(([a, one], [b, other]) => {
      if (a === b) return one.id - other.id;
      if (a === null || a === undefined) return 1;
      if (b === null || b === undefined) return -1;
      return sign * (a < b ? -1 : 1);
    });
    rows = keyed.map(([, grain]) => grain);
    const all = rows.length === grains.length;
    count.textContent = all ? t("table.all", { n: grains.length }) : t("table.some", { n: rows.length, all: grains.length });
    none.hidden = rows.length > 0 || !grains.length;
    table.setAttribute("aria-rowcount", rows.length + 1);
    scroller.classList.toggle("short", rows.length * ROW < 300);
    onFilter(all ? null : new Set(rows.map(({ id }) => id)));
    drawn = "";
    draw();
  }

  let drawn = ""; // what the body shows

  function draw() {
    const height = scroller.clientHeight || 400;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - MORE);
    const last = Math.min(rows.length, Math.ceil((scroller.scrollTop + height) / ROW) + MORE);
    const state = `${first} ${last}`;
    if (state === drawn) return;
    drawn = state;
    body.style.setProperty("--above", `${first * ROW}px`);
    body.style.setProperty("--below", `${(rows.length - last) * ROW}px`);
    const held = document.activeElement?.closest("tr")?.dataset.id;
    body.replaceChildren(...rows.slice(first, last).map((grain, index) => row(grain, first + index)));
    mark();
    if (held && body.contains(document.activeElement) === false) button(Number(held))?.focus({ preventScroll: true });
  }

  function row(grain, index) {
    const cells = columns.map((column) => {
      if (column.name !== "id") return el("td", { class: column.kind === "text" ? "text" : null }, write(column, grain));
      const label = t("table.choose", { id: grain.id });
      return el("th", { scope: "row" }, el("button", { type: "button", class: "quiet", tabindex: "-1", "aria-label": label }, String(grain.id)), isLeftOut(grain) ? el("abbr", { title: t("table.left_out") }, "◩") : null);
    });
    return el("tr", { "data-id": grain.id, "aria-rowindex": index + 2 }, ...cells);
  }

  const button = (id) => body.querySelector(`tr[data-id="${id}"] button`);

  function mark() {
    const entry = [focused, pinned, rows[0]?.id].find((id) => id && button(id)) ?? Number(body.firstElementChild?.dataset.id);
    for (const each of body.children) {
      const id = Number(each.dataset.id);
      each.classList.toggle("marked", id === hovered);
      each.classList.toggle("pinned", id === pinned);
      each.setAttribute("aria-current", String(id === pinned));
      each.querySelector("button").tabIndex = id === entry ? 0 : -1;
    }
  }

  function header() {
    const cells = columns.map((column) => {
      const sorted = sort.name === column.name ? (sort.down ? "descending" : "ascending") : "none";
      return el("th", { scope: "col", "aria-sort": sorted }, el("button", { type: "button", class: "quiet", "data-sort": column.name }, titleOf(column, scaled), el("span", { "aria-hidden": "true" }, { ascending: " ▲", descending: " ▼", none: "" }[sorted])));
    });
    head.replaceChildren(...cells);
    const chosen = which.value;
    which.replaceChildren(...filterable.map((column) => el("option", { value: column.name }, titleOf(column, scaled))));
    which.value = chosen || "diameter";
  }

  /** Scrolls a row into sight. */
  function reveal(id) {
    const index = rows.findIndex((grain) => grain.id === id);
    if (index < 0) return;
    const top = index * ROW, seen = scroller.clientHeight - ROW;
    if (top < scroller.scrollTop || top + ROW > scroller.scrollTop + seen) scroller.scrollTop = Math.max(0, top - seen / 2);
    draw();
  }

  head.addEventListener("click", ({ target }) => {
    const name = target.closest("[data-sort]")?.dataset.sort;
    if (!name) return;
    // Sizes: the largest are looked for first.
    sort = { name, down: sort.name === name ? !sort.down : !["id", "class"].includes(name) };
    header();
    head.querySelector(`[data-sort="${name}"]`).focus();
    scroller.scrollTop = 0;
    arrange();
  });
  filters.addEventListener("input", () => {
    scroller.scrollTop = 0;
    arrange();
  });
  const idOf = ({ target }) => Number(target.closest("tr")?.dataset.id ?? 0);
  body.addEventListener("pointerover", (event) => onHover(idOf(event)));
  body.addEventListener("pointerleave", () => onHover(0));
  body.addEventListener("click", (event) => idOf(event) && onPin(idOf(event)));
  body.addEventListener("focusin", (event) => {
    focused = idOf(event);
    onHover(focused);
  });
  body.addEventListener("focusout", () => onHover(0));
  body.addEventListener("keydown", (event) => {
    const at = rows.findIndex(({ id }) => id === idOf(event));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === "Escape") onPin(0);
    if (to === undefined || !rows.length) return;
    event.preventDefault();
    focused = rows[Math.min(rows.length - 1, Math.max(0, to))].id;
    reveal(focused);
    mark();
    button(focused)?.focus({ preventScroll: true });
  });
  scroller.addEventListener("scroll", draw);
  const watcher = new ResizeObserver(draw);
  watcher.observe(scroller);

  header();
  arrange();
  return {
    element: el("div", { class: "grain-table" }, filters, scroller, none),
    /** Shows other values of the same grains. */
    update(nextGrains, nextScaled) {
      [grains, scaled, write] = [nextGrains, nextScaled, writer(nextGrains, nextScaled)];
      header();
      arrange();
    },
    /** Marks the row of a grain that is pointed at elsewhere. */
    hover(id) {
      hovered = id;
      mark();
    },
    /** Marks the row of the chosen grain, and scrolls it into sight. */
    pin(id) {
      pinned = id;
      if (id) reveal(id);
      mark();
    },
    /** Returns the grain that many rows after the chosen one, around the end. */
    next(step) {
      if (!rows.length) return 0;
      const at = rows.findIndex(({ id }) => id === pinned);
      return rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : (at + step + rows.length) % rows.length].id;
    },
    close: () => watcher.disconnect(),
  };
}
