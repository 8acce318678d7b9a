// What a chosen file is, told from its first bytes; and the files of a drop, folders included.

const BEGINNING = 64; // bytes
const KINDS = [
  ["PNG", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["JPEG", [0xff, 0xd8, 0xff]],
  ["TIFF", [0x49, 0x49, 0x2a, 0]],
  ["TIFF", [0x4d, 0x4d, 0, 0x2a]],
  ["TIFF", [0x49, 0x49, 0x2b, 0]],
  ["TIFF", [0x4d, 0x4d, 0, 0x2b]],
  ["BMP", [0x42, 0x4d]],
];
const OTHERS = [
  ["GIF", "GIF8"],
  ["PDF", "%PDF"],
  ["Photoshop", "8BPS"],
  ["Zeiss CZI", "ZISRAWFILE"],
  ["JPEG 2000", "\0\0\0\x0cjP  "],
  ["HDF5", "\x89HDF"],
  ["ZIP", "PK\x03\x04"],
];

/**
 * Tells what a file is.
 *
 * @param {Blob} file
 * @returns {Promise<{kind: string|null, looksLike: string}>} format that grainserve reads, or null and the name of
 *     another format ("" where it is none of the known ones)
 */
export async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, BEGINNING).arrayBuffer());
  const kind = KINDS.find(([, magic]) => magic.every((byte, at) => bytes[at] === byte))?.[0];
  const text = String.fromCharCode(...bytes);
  if (kind) return { kind, looksLike: kind };
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return { kind: "WebP", looksLike: "WebP" };
  if (/^ftyp(heic|heix|mif1|avif)/.test(text.slice(4))) return { kind: null, looksLike: "HEIC" };
  return { kind: null, looksLike: OTHERS.find(([, magic]) => text.startsWith(magic))?.[0] ?? "" };
}

/**
 * Returns the longer side of an image, px; 0 where this browser cannot tell. A gateway decides in the end.
 *
 * @param {Blob} file
 * @param {string} kind format, as `kindOf` names it
 */
export async function longerSide(file, kind) {
  try {
    if (kind === "TIFF") return await tiffSide(file);
    if (kind === "PNG") return await pngSide(file);
    const picture = await createImageBitmap(file);
    const side = Math.max(picture.width, picture.height);
    picture.close();
    return side;
  } catch {
    return 0; // damaged, or of a kind that this browser does not show
  }
}

/** Reads width and height of a PNG's header, which is its first chunk. */
async function pngSide(file) {
  const head = new DataView(await file.slice(16, 24).arrayBuffer());
  return Math.max(head.getUint32(0), head.getUint32(4));
}

/** Reads ImageWidth (256) and ImageLength (257) of a TIFF's first page; BigTIFF has wider fields. */
async function tiffSide(file) {
  const at = async (start, length) => new DataView(await file.slice(start, start + length).arrayBuffer());
  const head = await at(0, 16);
  const little = head.getUint8(0) === 0x49, big = head.getUint16(2, little) === 43;
  const wide = (view, place) => (big ? Number(view.getBigUint64(place, little)) : view.getUint32(place, little));
  const start = wide(head, big ? 8 : 4), width = big ? 20 : 12, counted = big ? 8 : 2;
  const count = await at(start, counted);
  const entries = big ? Number(count.getBigUint64(0, little)) : count.getUint16(0, little);
  const page = await at(start + counted, Math.min(entries, 1000) * width);
  let side = 0;
  for (let place = 0; place < page.byteLength; place += width) {
    const tag = page.getUint16(place, little), short = page.getUint16(place + 2, little) === 3;
    const value = place + (big ? 12 : 8);
    if (tag === 256 || tag === 257) side = Math.max(side, short ? page.getUint16(value, little) : page.getUint32(value, little));
  }
  return side;
}

/**
 * Returns the files of a drop, those of its folders included.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>} in the order of their paths; files that systems hide are left out
 */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return chosen(found.sort((a, b) => a.path.localeCompare(b.path)).map(({ file }) => file));
}

/** Leaves out the files that systems hide in folders, such as .DS_Store. */
export const chosen = (files) => [...files].filter(({ name }) => !name.startsWith(".") && name !== "Thumbs.db");

async function walk(entry, found) {
  if (entry.isFile) {
    found.push({ path: entry.fullPath, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    return;
  }
  const reader = entry.createReader();
  // A reader gives at most a hundred entries a time.
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
    for (const each of some) await walk(each, found);
  }
}

/** Returns a file's name as the gateway takes it: up to 200 characters, none of them a control character. */
export const cleanName = (name) => [...name].filter((character) => character.codePointAt(0) > 31 && character !== "\x7f").join("").slice(0, 200);
