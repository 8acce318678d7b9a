// The list of this browser's images, which all its tabs share.

const KEPT = "grainserve-images";
const FORGOTTEN = "grainserve-forgotten"; // ids that a tab took off the list; no other tab may put them back
const MOST = 50;

/** Returns the valid entries kept under a name; none if nothing is kept or this page did not write it. */
function read(name, valid) {
  try {
    const kept = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(kept) ? kept.filter(valid) : [];
  } catch {
    return []; // not JSON, or the browser blocks storage
  }
}

function write(name, entries) {
  try {
    localStorage.setItem(name, JSON.stringify(entries));
  } catch {
    // the browser blocks storage: the list lasts as long as the page
  }
}

const isEntry = (entry) =>
  entry !== null && typeof entry === "object" && typeof entry.imageId === "string" && typeof entry.name === "string" && typeof entry.state === "string";

/** Tells whether an entry's job has ended, so that its state changes no more. */
export const ended = (entry) => ["done", "failed"].includes(entry.state);

/** Returns the entries of all tabs, the latest first. */
export const load = () => read(KEPT, isEntry);

/** Merges a tab's entries with those of the other tabs and returns all; takes the ids in `gone` off the list. */
export function merge(own, gone = []) {
  const forgotten = [...new Set([...read(FORGOTTEN, (id) => typeof id === "string"), ...gone])].slice(-200);
  const kept = load();
  const mine = new Map(own.filter((entry) => entry.imageId).map((entry) => [entry.imageId, entry]));
  for (const other of kept) {
    const entry = mine.get(other.imageId);
    if (!entry) mine.set(other.imageId, other);
    else if (ended(other) && !ended(entry)) Object.assign(entry, other);
  }
  const all = [...mine.values()].filter((entry) => !forgotten.includes(entry.imageId));
  all.sort((a, b) => (b.at ?? 0) - (a.at ?? 0));
  const lasting = all.slice(0, MOST);
  write(KEPT, lasting);
  if (gone.length) write(FORGOTTEN, forgotten);
  return lasting;
}

/** Calls back whenever another tab has changed the list. */
export function onChange(callback) {
  addEventListener("storage", (event) => event.key === KEPT && callback());
}
