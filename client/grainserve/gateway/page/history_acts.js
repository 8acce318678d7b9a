// What can be done with images of the list: rename, tag, delete, make a sample, measure again.

import * as api from "./api.js";
import { ask, confirmed } from "./dialogs.js";
import { save } from "./dom.js";
import { me } from "./keys.js";
import { changed } from "./library.js";
import { openMenu } from "./menu.js";
import { attempt } from "./messages.js";
import { go, toSample } from "./router.js";
import { known } from "./samples_list.js";
import { commonName } from "./uploads_list.js";
import * as uploads from "./uploads.js";
import { t } from "./words.js";

/** Opens the menu of one image. */
export function openFor(button, image) {
  const original = { label: t("history.original"), run: () => attempt(async () => save(await api.original(image.imageId), image.name), image.name) };
  if (me()?.readOnly) return openMenu(button, [original]);
  openMenu(button, [
    { label: t("history.rename"), run: () => rename(image) },
    { label: t("history.tag"), run: () => tag([image]) },
    original,
    { label: t("history.delete"), run: () => remove([image]), danger: true },
  ]);
}

async function rename({ imageId, name }) {
  const fields = [{ name: "name", label: t("history.name"), value: name, required: true, maxlength: 200 }];
  const answer = await ask({ title: t("history.rename"), fields, yes: t("dialog.save") });
  if (!answer || !answer.name.trim()) return;
  await attempt(() => api.change(imageId, { name: answer.name.trim() }), name);
  changed();
}

/** Sets the tags of images: of several, those that are typed come to their own. */
export async function tag(images) {
  const alone = images.length === 1;
  const answer = await ask({
    title: alone ? t("history.tag") : t("history.tag_many", { n: images.length }),
    fields: [{ name: "tags", label: t("history.tags"), hint: t("history.tags_hint"), value: alone ? (images[0].tags ?? []).join(", ") : "" }],
    yes: t("dialog.save"),
  });
  if (!answer) return;
  const given = answer.tags.split(",").map((each) => each.trim()).filter(Boolean);
  await attempt(async () => {
    for (const { imageId, tags = [] } of images) await api.change(imageId, { tags: alone ? given : [...new Set([...tags, ...given])] });
  });
  changed();
}

/** Deletes images, after a question; returns whether they were to go. One that is gone already stops nothing. */
export async function remove(images) {
  const [first] = images, n = images.length;
  if (!(await confirmed(n === 1 ? t("history.delete_one", { name: first.name }) : t("history.delete_many", { n }), t("history.delete_text"), t("history.delete")))) return false;
  const ids = [];
  await attempt(async () => {
    for (const { imageId } of images) {
      await api.remove(imageId).catch((error) => {
        if (error.status !== 404) throw error;
      });
      ids.push(imageId);
    }
  });
  changed();
  document.dispatchEvent(new CustomEvent("deleted", { detail: { ids } }));
  return true;
}

/** Makes a sample of images, under a name that the reader gives; returns whether it was made. */
export async function makeSample(images) {
  const fields = [{ name: "name", label: t("samples.name"), value: commonName(images.map(({ name }) => name)), required: true, maxlength: 200 }];
  const answer = await ask({ title: t("samples.make", { n: images.length }), fields, yes: t("samples.make_yes") });
  if (!answer || !answer.name.trim()) return false;
  return attempt(async () => {
    const { sampleId } = await api.makeSample(answer.name.trim(), images.map(({ imageId }) => imageId));
    changed();
    go(toSample(sampleId));
  });
}

/** Adds images to a sample that the reader chooses; where there is none, makes one of them. */
export function addToSample(button, images) {
  const ids = images.map(({ imageId }) => imageId);
  const add = ({ sampleId, name }) => ({
    label: name,
    run: () =>
      attempt(async () => {
        await api.changeSample(sampleId, { add: ids });
        changed();
        go(toSample(sampleId));
      }, name),
  });
  return known().length ? openMenu(button, known().map(add)) : makeSample(images);
}

/** Measures an image whose job has failed again: as a new upload of the file that the gateway keeps. */
export async function measureAgain({ imageId, name }) {
  await attempt(async () => uploads.add([new File([await api.original(imageId)], name)], imageId), name);
}
