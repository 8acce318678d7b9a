// The list of this browser's images, which all its tabs share.

const KEPT = "grainserve-images";
const FORGOTTEN = "grainserve-forgotten"; // ids that a tab took off the list, so that no other puts them back
const MOST = 50;

/** What is kept under a name; an empty list where that is nothing, or not what this page wrote. */
function read(name, valid) {
  try {
    const kept = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(kept) ? kept.filter(valid) : [];
  } catch {
    return []; // not JSON, or a browser that keeps nothing for us
  }
}

function write(name, entries) {
  try {
    localStorage.setItem(name, JSON.stringify(entries));
  } catch {
    // a browser that keeps nothing: the list lasts as long as the page
  }
}

const isEntry = (entry) =>
  entry !== null && typeof entry === "object" && typeof entry.imageId === "string" && typeof entry.name === "string" && typeof entry.state === "string";

/** Whether a job has come to an end, of which nothing new is to be heard. */
export const ended = (entry) => ["done", "failed"].includes(entry.state);

/** The entries of all tabs, the latest first. */
export const load = () => read(KEPT, isEntry);

/** Puts a tab's entries among those of the others and returns all; `gone` are ids to take off the list. */
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

/** Calls back when another tab has changed the list. */
export function onChange(callback) {
  addEventListener("storage", (event) => event.key === KEPT && callback());
}
