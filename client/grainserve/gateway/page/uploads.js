// Files on their way: chosen, checked, sent, measured. At most three are sent at once.

import * as api from "./api.js";
import { ask } from "./dialogs.js";
import { chosen, cleanName, kindOf, longerSide } from "./files.js";
import { me } from "./keys.js";
import { sayFault } from "./messages.js";
import * as options from "./options.js";
import { watch } from "./progress.js";
import { t } from "./words.js";

const AT_ONCE = 3;

/**
 * @typedef {Object} Upload
 * @property {File} file
 * @property {string} name
 * @property {string} state waiting, uploading, queued, running, done or failed
 * @property {string|null} imageId
 * @property {number} batch the files that were chosen together have one number
 */

/** @type {Upload[]} */
let uploads = [];
let batches = 0;
const totals = new Map(); // number of files by batch
let sending = 0;
let changed = () => {};
let ready = () => {};

/** Returns the uploads that are not done, in the order in which they were chosen. */
export const all = () => uploads;

/** Returns the uploads of a batch that are not done, with `total`: how many files it had. */
export const ofBatch = (batch) => Object.assign(uploads.filter((upload) => upload.batch === batch), { total: totals.get(batch) });

/** Tells whether files of this tab still have to reach the gateway, so that closing it would lose them. */
export const unsent = () => uploads.some(({ state }) => ["waiting", "uploading"].includes(state));

/**
 * Starts the uploads.
 *
 * @param {Object} on
 * @param {function(): void} on.change called whenever an upload has changed
 * @param {function(Upload, Object): void} on.stored called when the gateway has taken a file, with its answer
 * @param {function(Upload): void} on.done called when an image is measured
 */
export function start({ change, stored, done }) {
  changed = change;
  ready = { stored, done };
  document.addEventListener("options", () => {
    uploads.forEach(takeOptions);
    pump();
  });
}

/**
 * Takes files: those that are no images fail at once, the others are sent in turn.
 *
 * @param {Iterable<File>} files
 * @param {string} [replaces] id of an image whose job failed; it goes once the gateway has taken the file anew
 */
export async function add(files, replaces) {
  const batch = ++batches;
  const added = chosen(files).map((file) => ({
    file,
    name: cleanName(file.name) || t("uploads.unnamed"),
    state: "checking",
    imageId: null,
    batch,
    replaces,
    began: Date.now(),
    idempotencyKey: randomKey(),
  }));
  totals.set(batch, added.length);
  uploads.push(...added);
  changed();
  api.mayAskForKey();
  options.given({ focus: true });
  for (const upload of added) {
    await check(upload);
    pump();
  }
  await askLargest(added.filter(({ state, large }) => state === "waiting" && large));
  pump();
}

/** Looks at a file; one that cannot be read fails, and those after it go on. */
async function check(upload) {
  try {
    await looked(upload);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    fail(upload, { key: "uploads.unreadable" });
  }
}

async function looked(upload) {
  const { file } = upload;
  const limit = me()?.maxBytes ?? Infinity;
  if (!file.size) return fail(upload, { key: "uploads.empty" });
  if (file.size > limit) return fail(upload, { key: "uploads.too_many_bytes", values: { limit: limit / 2 ** 20 } });
  const { kind, looksLike } = await kindOf(file);
  if (!kind) return fail(upload, { key: looksLike ? "uploads.other_kind" : "uploads.no_image", values: { kind: looksLike } });
  upload.large = upload.held = (await longerSide(file, kind)) > (me()?.maxSide ?? 1024);
  upload.state = "waiting";
  // What this browser can show is seen at once; TIFF is shown once the gateway has made its preview.
  if (kind !== "TIFF") upload.picture = URL.createObjectURL(file);
  takeOptions(upload);
  changed();
}

/** Takes the options as they are when the file is chosen; while a field is wrong, the file waits. */
function takeOptions(upload) {
  if (upload.state === "waiting" && !upload.options) upload.options = options.given();
}

/** Asks for the largest grain of images that have to be measured in tiles; an empty answer lets the gateway look. */
async function askLargest(large) {
  if (!large.length) return;
  const answer = await ask({
    title: t("uploads.large_title", { n: large.length }),
    text: t("uploads.large_text", { side: me()?.maxSide ?? 1024 }),
    fields: [{ name: "largest", label: t("uploads.largest"), inputmode: "numeric", pattern: "\\s*([1-9]\\d?|[12]\\d\\d|3[0-7]\\d|38[0-4])\\s*", hint: t("uploads.largest_hint") }],
    yes: t("uploads.measure"),
    no: t("uploads.leave_out"),
  });
  for (const upload of large) {
    upload.held = false;
    if (answer === null) leaveOut(upload);
    else upload.largest = answer.largest.trim() || "auto";
  }
  changed();
}

function leaveOut(upload) {
  totals.set(upload.batch, totals.get(upload.batch) - 1);
  dismiss(upload);
}

function pump() {
  for (const upload of uploads) {
    if (sending >= AT_ONCE) break;
    if (upload.state === "waiting" && upload.options && !upload.held) transmit(upload);
  }
  changed();
}

async function transmit(upload) {
  sending++;
  upload.state = "uploading";
  const given = { ...upload.options, name: upload.name, largest_grain: upload.largest };
  try {
    // All tries share one key, so that a lost answer makes no second job.
    const send = async () => {
      await upload.file.slice(0, 1).arrayBuffer(); // a file that is gone would look like a lost connection
      return api.upload(upload.file, given, upload.idempotencyKey);
    };
    const answer = await api.patiently(send, () => uploads.includes(upload));
    Object.assign(upload, { imageId: answer.imageId, state: "queued", stored: Date.now() });
    ready.stored(upload, answer);
    follow(upload);
    if (upload.replaces) api.remove(upload.replaces).catch((error) => error.status === 404 || sayFault(error));
  } catch (error) {
    fail(upload, error instanceof DOMException ? { key: "uploads.unreadable" } : error);
  } finally {
    sending--;
    pump();
  }
}

function follow(upload) {
  watch(upload.imageId, (now) => {
    Object.assign(upload, { state: now.state, position: now.position, expected: now.expectedSeconds ?? upload.expected, grains: now.grains, tiles: now.tiles });
    if (now.state === "failed") fail(upload, now.error);
    else if (now.state === "done") {
      dismiss(upload);
      ready.done(upload);
    }
    changed();
  });
}

/** Marks an upload as failed; the reason is {key, values} of a text, or an error that the gateway told. */
function fail(upload, reason) {
  Object.assign(upload, { state: "failed", reason });
  changed();
}

/** Tries a failed upload again: as a new job, with the options of now. */
export async function again(upload) {
  if (upload.picture) URL.revokeObjectURL(upload.picture);
  Object.assign(upload, { state: "checking", replaces: upload.imageId ?? upload.replaces, imageId: null, picture: null, reason: null, options: null, idempotencyKey: randomKey(), began: Date.now() });
  api.mayAskForKey();
  await check(upload);
  if (upload.large && upload.largest) upload.held = false;
  else if (upload.held) await askLargest([upload]);
  pump();
}

/** Takes an upload off the list; one that is being sent goes on, and its image appears in the history. */
export function dismiss(upload) {
  uploads = uploads.filter((other) => other !== upload);
  if (upload.picture) URL.revokeObjectURL(upload.picture);
  changed();
}

/** Returns 128 random bits as hex digits. Not crypto.randomUUID, which only pages over HTTPS have. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
