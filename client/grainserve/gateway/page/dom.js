// Elements, made from texts that are never HTML.

/**
 * Makes an element.
 *
 * @param {string} name tag name
 * @param {Object<string, *>} attributes attributes; false, null and undefined leave one out, true makes it empty
 * @param {...(Node|string|null)} children nodes, or texts, which become text nodes
 * @returns {HTMLElement}
 */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Makes an SVG element, as `el` does. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Finds the first element that a selector names. */
export const find = (selector, root = document) => root.querySelector(selector);

/** Puts these elements, and no others, into a list. Those that are at their place are not moved: they keep the focus. */
export function arrange(list, elements) {
  elements.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
  while (list.children.length > elements.length) list.lastElementChild.remove();
}

/** Saves a file under a name, as a click on a link does. */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/**
 * Calls the function that an element's `data-do` names, for clicks anywhere inside a root.
 *
 * @param {Element} root element that takes the events
 * @param {Object<string, function(HTMLElement, MouseEvent): *>} actions functions by name
 */
export function onDo(root, actions) {
  root.addEventListener("click", (event) => {
    const element = event.target.closest("[data-do]");
    if (element && root.contains(element)) actions[element.dataset.do]?.(element, event);
  });
}
