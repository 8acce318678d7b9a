// The API key: asked for once in a dialog, kept for the session of the tab.

import * as api from "./api.js";
import { ask } from "./dialogs.js";
import { find } from "./dom.js";
import { t } from "./words.js";

let who = null;
let learning = false;
let refused = false; // whether the reader gave no key

/** Returns who the key is: {name, readOnly, keys, maxBytes, maxSide}; null before the gateway has said so. */
export const me = () => who;

/** Asks for a key in a dialog, where a request needs one. What was chosen before waits, and goes on with the new key. */
export function start() {
  api.onKeyNeeded(async (wrong) => {
    const answer = await dialog(wrong ? t("keys.wrong") : t("keys.needed"));
    refused = answer === null;
    if (refused) show(); // the reader may give one later
    else if (!learning) setTimeout(learn); // another caller may follow the first one
    return answer;
  });
  document.addEventListener("language", show);
}

async function dialog(text) {
  const answer = await ask({
    title: t("keys.title"),
    text,
    fields: [{ name: "key", label: t("keys.label"), type: "password", required: true, hint: t("keys.hint") }],
    yes: t("keys.use"),
  });
  return answer && answer.key.trim();
}

/** Asks the gateway who the key is, and tells the page by the event `caller`. */
export async function learn() {
  learning = true;
  try {
    who = await api.patiently(api.me);
  } finally {
    learning = false;
  }
  show();
  document.dispatchEvent(new Event("caller"));
}

/** Lets the reader use another key. */
export async function change() {
  const answer = await dialog(t("keys.change"));
  if (answer === null) return;
  const before = api.useKey(answer);
  try {
    await learn();
  } catch (error) {
    api.useKey(before);
    throw error;
  }
}

function show() {
  const button = find("#key");
  if (!who) {
    button.hidden = !refused;
    if (refused) button.textContent = t("keys.title");
    return;
  }
  button.hidden = !who.keys;
  button.textContent = who.name;
  button.title = t("keys.of", { name: who.name });
  document.body.classList.toggle("read-only", who.readOnly);
  find("#read-only").hidden = !who.readOnly;
  find("#drop input").disabled = who.readOnly;
}
