// Changes of the library, told to all lists of this tab and to all other tabs.

const EVERY = 15000; // ms between two looks at what others may have changed, while the page is seen
const tabs = "BroadcastChannel" in self ? new BroadcastChannel("grainserve-library") : null;

const PAUSE = 1000; // ms in which many changes count as one: several hundred uploads make no several hundred lists

const tell = () => document.dispatchEvent(new Event("library"));
let resting = false;
let again = false;

/** Tells that this tab has changed images or samples: at once, and once more after a pause if there were more changes. */
export function changed() {
  if (resting) return (again = true);
  tabs?.postMessage("changed");
  tell();
  resting = true;
  setTimeout(() => {
    resting = false;
    if (again) changed();
    again = false;
  }, PAUSE);
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
