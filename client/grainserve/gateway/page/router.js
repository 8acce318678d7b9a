// Addresses of the page's views: #/, #/image/ID, #/image/ID/grain/N, #/sample/ID and #/compare/A,B.

/**
 * Reads an address.
 *
 * @param {string} hash the part of the address from # on
 * @returns {{view: string, id?: string, grain?: number, ids?: string[]}} an unknown address is the start
 */
export function read(hash) {
  const [view, id, word, number] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  if (view === "image" && id) {
    const grain = word === "grain" ? Number(number) : NaN;
    return { view, id, ...(Number.isInteger(grain) && grain > 0 && { grain }) };
  }
  if (view === "sample" && id) return { view, id };
  const ids = view === "compare" && id ? id.split(",").filter(Boolean) : [];
  if (ids.length) return { view, ids };
  return { view: "start" };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return ""; // no address that this page writes
  }
}

/** Returns the address of an image, or of one of its grains. */
export const toImage = (id, grain) => `#/image/${encodeURIComponent(id)}${grain ? `/grain/${grain}` : ""}`;

/** Returns the address of a sample. */
export const toSample = (id) => `#/sample/${encodeURIComponent(id)}`;

/** Returns the address of a comparison. */
export const toComparison = (ids) => `#/compare/${ids.map(encodeURIComponent).join(",")}`;

/** Goes to an address. */
export function go(hash) {
  location.hash = hash;
}

/** Writes another address of the view that is shown, so that a link to it can be shared, without showing it anew. */
export function note(hash) {
  history.replaceState(null, "", hash);
}

/** Calls back whenever the address changes to one of the page's; anchors inside a view are none of them. */
export function onRoute(callback) {
  addEventListener("hashchange", () => (location.hash === "" || location.hash.startsWith("#/")) && callback(read(location.hash)));
}
