// The view that compares samples.

import { el } from "./dom.js";
import { t } from "./words.js";

/** Shows a comparison. */
export async function showComparison(root, ids) {
  root.replaceChildren(el("h1", {}, t("samples.compare", { n: ids.length })));
  return { close() {} };
}
