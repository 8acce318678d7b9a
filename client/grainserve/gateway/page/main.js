// The page's frame: which view is shown, and what files come in.

import * as api from "./api.js";
import { showComparison } from "./compare.js";
import { el, find } from "./dom.js";
import * as files from "./files.js";
import * as history from "./history.js";
import * as keys from "./keys.js";
import * as library from "./library.js";
import { attempt, say, sayFault } from "./messages.js";
import * as options from "./options.js";
import { unfinished } from "./progress.js";
import * as router from "./router.js";
import { showSample } from "./samples.js";
import * as samplesList from "./samples_list.js";
import * as theme from "./theme.js";
import * as uploads from "./uploads.js";
import * as uploadsList from "./uploads_list.js";
import { showImage } from "./view.js";
import { awaitImage } from "./waiting.js";
import { showWelcome } from "./welcome.js";
import * as words from "./words.js";

let route = { view: "start" };
let shown = { close() {} };
let turn = 0; // counts views, so that one that comes late does not take the place of a later one

// Views ---------------------------------------------------------------------------------------------------------------

async function show(next) {
  const mine = ++turn;
  const moved = JSON.stringify(next) !== JSON.stringify(route);
  route = next;
  shown.close();
  shown = { close() {} };
  // A room of its own: what a view that comes late puts into its room is not seen.
  const root = el("div", { class: "room" });
  find("#view").replaceChildren(root);
  document.body.dataset.view = next.view;
  history.render();
  samplesList.render();
  title();
  let view;
  try {
    view = await VIEWS[next.view](root, next, () => mine === turn);
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    root.replaceChildren(el("h1", {}, words.t("shell.nothing")), el("p", { role: "status" }, words.fault(error)));
  }
  if (mine !== turn) return view?.close();
  if (view) shown = view;
  if (moved && next.view !== "start") find("#view").focus({ preventScroll: true });
}

const VIEWS = {
  start: (root) => showWelcome(root),
  sample: (root, { id }) => showSample(root, id),
  compare: (root, { ids }) => showComparison(root, ids),
  async image(root, { id, grain }, wanted) {
    if (!(await awaitImage(root, id, wanted)) || !wanted()) return null;
    root.replaceChildren();
    const onGrain = (number) => wanted() && router.note(router.toImage(id, number));
    return showImage(root, id, { grain, api, words, onGrain });
  },
};

/** Writes how many images are on their way into the title of the tab. */
function title() {
  const count = uploads.all().filter(({ state, imageId }) => state !== "failed" && !imageId).length + unfinished();
  document.title = `${count ? `(${count}) ` : ""}grainserve`;
}

// Files ---------------------------------------------------------------------------------------------------------------

function take(chosen) {
  const list = [...chosen];
  if (!list.length) return;
  if (keys.me()?.readOnly) say(words.t("keys.read_only"), { bad: true });
  else attempt(() => uploads.add(list));
}

uploads.start({
  change() {
    uploadsList.render();
    history.render();
    title();
  },
  stored(upload, { scale }) {
    uploadsList.stored(upload);
    // That there is none is usual; that sources disagree, or a bar cannot be read, is worth a word.
    if (scale?.error && scale.error.code !== "scale_not_found") sayFault(scale.error, upload.name);
    library.changed();
    // Who reads nothing yet sees the picture of the first file; nobody else's view is taken.
    if (route.view === "start") router.go(router.toImage(upload.imageId));
  },
  done(upload) {
    library.changed();
    tellDone(upload);
  },
});

/** Says that an image is measured; of several that were chosen together, only that all are. */
function tellDone({ batch, imageId, name, grains }) {
  const together = uploads.ofBatch(batch);
  if (together.some(({ state }) => state !== "failed")) return;
  const here = route.view === "image" && route.id === imageId;
  const link = { label: words.t("uploads.look"), href: router.toImage(imageId) };
  const { total } = together;
  if (total > 1) say(words.t("uploads.all_done", { n: total - together.length }));
  else if (!here) say(words.t("uploads.done", { name, n: grains ?? 0 }), { link });
}

const drop = find("#drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") attempt(async () => take(await files.dropped(event.dataTransfer)));
  });
}
document.addEventListener("paste", ({ clipboardData, target }) => {
  if (!target.closest("input, textarea, dialog")) take(clipboardData.files);
});
find("#in").addEventListener("change", ({ target }) => {
  if (target.type !== "file") return;
  take(target.files);
  target.value = "";
});
addEventListener("beforeunload", (event) => uploads.unsent() && event.preventDefault());

// Frame ---------------------------------------------------------------------------------------------------------------

find("#theme").addEventListener("click", theme.next);
find("#key").addEventListener("click", () => attempt(keys.change));
find("#language").addEventListener("change", ({ target }) => {
  words.keep(target.value);
  words.use(target.value);
});
find(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("#view").focus();
});
document.addEventListener("connection", ({ detail }) => (find("#lost").hidden = detail.connected));
document.addEventListener("caller", () => {
  history.load(1);
  samplesList.load();
});
document.addEventListener("deleted", ({ detail }) => {
  if (route.view === "image" && detail.ids.includes(route.id)) router.go("#/");
});

find("#language").append(...Object.entries(words.LANGUAGES).map(([code, name]) => new Option(name, code)));
for (const part of [keys, library, options, uploadsList, history, samplesList]) part.start();
await words.start();
document.addEventListener("language", () => {
  theme.show();
  show(route);
});
theme.show();
router.onRoute(show);
setInterval(title, 1000);
await attempt(keys.learn);
show(router.read(location.hash));
