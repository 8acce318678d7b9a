// Changes of the library, told to all lists of this tab and to all other tabs.

const EVERY = 15000; // ms between two looks at what others may have changed, while the page is seen
const tabs = "BroadcastChannel" in self ? new BroadcastChannel("grainserve-library") : null;

const tell = () => document.dispatchEvent(new Event("library"));

/** Tells that this tab has changed images or samples. */
export function changed() {
  tabs?.postMessage("changed");
  tell();
}

/** Calls back whenever images or samples may have changed, here or elsewhere; returns a function that ends it. */
export function onChange(callback) {
  document.addEventListener("library", callback);
  return () => document.removeEventListener("library", callback);
}

/** Starts to look for changes of other tabs and of other people with the same key. */
export function start() {
  tabs?.addEventListener("message", tell);
  document.addEventListener("visibilitychange", () => document.hidden || tell());
  setInterval(() => document.hidden || tell(), EVERY);
}
