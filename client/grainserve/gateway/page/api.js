// The gateway's REST API: one function for each route.

const KEPT = "grainserve-key";
/** Statuses that say "not now": the same request may be sent again. 0: no answer came. */
const LATER = [0, 429, 502, 503, 504];

/** An answer other than a success; `status` 0: there was no answer. */
export class ApiError extends Error {
  constructor(status, code, message, wait = 0) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

let key = stored();
let askForKey = async () => null;
let asking = null;
let declined = false; // the reader closed the dialog: what runs by itself in the background must not open it again

function stored() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // the browser blocks storage
  }
}

/** Returns whether a key is in use. */
export const hasKey = () => key !== "";

/** Uses a key from now on, until the session of this tab ends; "" forgets it. Returns the key that was used before. */
export function useKey(next) {
  const before = key;
  key = next;
  declined = false;
  try {
    if (next) sessionStorage.setItem(KEPT, next);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // the browser blocks storage: the key lasts as long as the page
  }
  return before;
}

/** Lets the next request that needs a key ask for it, also if the reader gave none before. */
export function mayAskForKey() {
  declined = false;
}

/**
 * Sets who asks for a key where one is needed: a function that gets whether the last key was wrong, and returns the next
 * key, or null if the reader gives none.
 */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Asks for a key once, whatever number of requests wait for it. Returns whether there is another key now. */
async function anotherKey(refused) {
  if (key !== refused) return true;
  if (declined) return false;
  asking ??= askForKey(refused !== "").finally(() => (asking = null));
  const next = await asking;
  if (next === null) return !(declined = true);
  if (key === refused) useKey(next);
  return true;
}

async function call(path, init = {}) {
  for (;;) {
    const used = key;
    const response = await sent(path, { ...init, headers: { ...init.headers, ...(used && { Authorization: `Bearer ${used}` }) } });
    if (response.ok) return response;
    if (response.status === 401 && (await anotherKey(used))) continue;
    const body = await response.json().catch(() => null);
    const { code = `http_${response.status}`, message = response.statusText } = body?.error ?? {};
    throw new ApiError(response.status, code, message, Number(response.headers.get("Retry-After")) || 0);
  }
}

async function sent(path, init) {
  try {
    const response = await fetch(path, init);
    // A proxy that stands in for a stopped gateway answers as well, but it is no gateway.
    connection(![502, 504].includes(response.status));
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connection(false);
    throw new ApiError(0, "unreachable", "the gateway does not answer; trying again");
  }
}

let connected = true;

/** Tells the page when the connection is lost and when it is back, by the event `connection`. */
function connection(now) {
  if (now === connected) return;
  connected = now;
  document.dispatchEvent(new CustomEvent("connection", { detail: { connected } }));
}

/**
 * Repeats a request after longer and longer pauses, while the gateway or its storage does not answer.
 *
 * @template T
 * @param {function(): Promise<T>} ask the request
 * @param {function(): boolean} wanted whether the answer is still wanted
 * @returns {Promise<T>}
 */
export async function patiently(ask, wanted = () => true) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 10000)) {
    try {
      return await ask();
    } catch (error) {
      if (!LATER.includes(error.status) || !wanted()) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.max(pause, 1000 * error.wait)));
    }
  }
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return text && `?${text}`;
};
const json = async (path, init) => (await call(path, init)).json();
const blob = async (path, init) => (await call(path, init)).blob();
const send = (method, body) => ({ method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
const image = (id) => `/images/${encodeURIComponent(id)}`;
const sample = (id) => `/samples/${encodeURIComponent(id)}`;

/** Returns who this key is: {name, readOnly, keys, maxBytes, maxSide}. */
export const me = () => json("/me");

/** Stores an image; returns {imageId, state, …}. A second call with the same idempotency key makes no second job. */
export function upload(file, options, idempotencyKey) {
  const headers = { "Content-Type": "application/octet-stream", "Idempotency-Key": idempotencyKey };
  return json(`/upload${query(options)}`, { method: "POST", body: file, headers });
}

/** Returns a page of the images, newest first: {images, next}. */
export const images = ({ limit = 50, after, search, tag, sample: of, state } = {}, signal) =>
  json(`/images${query({ limit, after, search, tag, sample: of, state })}`, { signal });

/** Returns one image of the list, with its scale. */
export const about = (id) => json(`${image(id)}/about`);

/** Renames or tags an image: {name?, tags?}. */
export const change = (id, changes) => json(image(id), send("PATCH", changes));

/** Deletes image, job, result and entry. */
export const remove = (id) => call(image(id), { method: "DELETE" });

/** Returns the file as it was uploaded. */
export const original = (id) => blob(image(id));

/** Returns {umPerPx, source, by, at, revisions}. */
export const scale = (id) => json(`${image(id)}/scale`);

/** Sets a scale: {text} or {umPerPx} or {line, length}, with source? and images?. */
export const setScale = (id, given) => json(`${image(id)}/scale`, send("PUT", given));

/** Returns {state: "done", result}, or how far the job is: {state, attempts, position, created, expectedSeconds}. */
export async function analysis(id) {
  const response = await call(`/image-analysis${query({ imageId: id })}`);
  return response.status === 200 ? { state: "done", result: await response.json() } : response.json();
}

/** Returns the result as a file of a format of `grainserve export`. */
export const file = (id, format, more = {}) => blob(`/image-analysis${query({ imageId: id, format, ...more })}`);

/** Returns the statistics of one image's result. */
export const statistics = (id) => json(`/image-analysis${query({ imageId: id, format: "statistics" })}`);

/** Returns a picture of the image, its longer side at most `side` px: {blob, width, height} of the original. */
export async function preview(id, side, format = "webp", signal) {
  const response = await call(`${image(id)}/preview${query({ side, format })}`, { signal });
  const [width, height] = (response.headers.get("X-Image-Size") ?? "").split("x").map(Number);
  return { blob: await response.blob(), width, height };
}

/** Returns the pyramid of an image: {width, height, tileSide, levels}. */
export const tiles = (id) => json(`${image(id)}/tiles`);

/** Returns one picture of the pyramid. */
export const tile = (id, level, column, row, signal) => blob(`${image(id)}/tiles/${level}/${column}/${row}`, { signal });

/** Returns the report of one image: html or pdf. */
export const report = (id, format) => blob(`${image(id)}/report${query({ format })}`);

/** Returns a page of the samples: {samples, next}. */
export const samples = ({ limit, after } = {}) => json(`/samples${query({ limit, after })}`);

/** Makes a sample: {sampleId, name, imageIds, created, changed}. */
export const makeSample = (name, imageIds) => json("/samples", send("POST", { name, imageIds }));

/** Returns a sample. */
export const sampleOf = (id) => json(sample(id));

/** Changes a sample: {name?, add?, remove?}. */
export const changeSample = (id, changes) => json(sample(id), send("PATCH", changes));

/** Deletes a sample; its images stay. */
export const removeSample = (id) => call(sample(id), { method: "DELETE" });

/** Returns the statistics of a sample, as `grainserve stats --json` writes them, with curves and flags. */
export const sampleStatistics = (id, more = {}) => json(`${sample(id)}/statistics${query(more)}`);

/** Returns the report of a sample: html or pdf. */
export const sampleReport = (id, format) => blob(`${sample(id)}/report${query({ format })}`);

/** Returns the sample as a file of a format; zip has all of them. */
export const sampleExport = (id, format) => blob(`${sample(id)}/export${query({ format })}`);

const comparisonQuery = (ids, format) => `/comparison?${new URLSearchParams([...ids.map((id) => ["sample", id]), ["format", format]])}`;

/** Returns the comparison of samples as numbers. */
export const comparison = (ids) => json(comparisonQuery(ids, "json"));

/** Returns the comparison of samples as a report: html or pdf. */
export const comparisonReport = (ids, format) => blob(comparisonQuery(ids, format));
