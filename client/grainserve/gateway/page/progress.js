// How far jobs are: asked for all that somebody waits for, in one round after another.

import * as api from "./api.js";

const FEW = 4; // up to so many images are asked one by one, more as pages of the list
const PAGE = 100;

/** @type {Map<string, Set<function(Object): void>>} */
const waiting = new Map();
let running = false;

/**
 * Follows an image until its job has ended.
 *
 * @param {string} imageId
 * @param {function({state: string}): void} tell called with the image as the list has it, whenever it was asked; a last
 *     time with the state done or failed
 * @returns {function(): void} ends it
 */
export function watch(imageId, tell) {
  if (!waiting.has(imageId)) waiting.set(imageId, new Set());
  waiting.get(imageId).add(tell);
  run();
  return () => {
    waiting.get(imageId)?.delete(tell);
    if (!waiting.get(imageId)?.size) waiting.delete(imageId);
  };
}

/** Returns the number of images whose jobs go on, of those that are followed. */
export const unfinished = () => waiting.size;

async function run() {
  if (running) return;
  running = true;
  let pause = 300;
  while (waiting.size) {
    const before = waiting.size;
    try {
      await round();
    } catch (error) {
      // A lost connection, or a key that was refused: what is followed stays so, and is asked again later.
      pause = Math.max(pause, 2000, 1000 * (error.wait ?? 0));
    }
    pause = waiting.size < before ? 300 : Math.min(1.4 * pause, 3000);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  running = false;
}

async function round() {
  const ids = [...waiting.keys()];
  if (ids.length <= FEW) {
    for (const id of ids) told(id, await one(id));
    return;
  }
  const { images } = await api.images({ limit: PAGE });
  const seen = new Map(images.map((image) => [image.imageId, image]));
  // Those that are not among the newest are asked one by one, a few in each round.
  const older = ids.filter((id) => !seen.has(id)).slice(0, FEW);
  for (const id of older) seen.set(id, await one(id));
  for (const id of ids) if (seen.has(id)) told(id, seen.get(id));
}

async function one(id) {
  try {
    return await api.about(id);
  } catch (error) {
    if (error.status === 404) return { state: "failed", error };
    throw error;
  }
}

function told(id, image) {
  const followers = [...(waiting.get(id) ?? [])];
  if (["done", "failed"].includes(image.state)) waiting.delete(id);
  for (const follower of followers) follower(image);
}
