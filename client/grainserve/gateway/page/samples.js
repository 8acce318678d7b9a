// The view of a sample.

import * as api from "./api.js";
import { el } from "./dom.js";
import { t } from "./words.js";

/** Shows a sample. */
export async function showSample(root, sampleId) {
  const sample = await api.patiently(() => api.sampleOf(sampleId));
  root.replaceChildren(el("h1", {}, sample.name), el("p", {}, t("samples.images", { n: sample.imageIds.length })));
  return { close() {} };
}
