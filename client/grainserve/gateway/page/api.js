// The gateway's REST API.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const key = document.querySelector("#options [name=key]");

async function call(path, init = {}) {
  const headers = { ...init.headers };
  if (key.value) headers.Authorization = `Bearer ${key.value}`;
  let response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch {
    throw new ApiError(0, "unreachable", "the gateway does not answer; trying again");
  }
  if (response.ok) return response;
  if (response.status === 401) document.querySelector("#key").hidden = false;
  const body = await response.json().catch(() => null);
  const { code = `http_${response.status}`, message = response.statusText } = body?.error ?? {};
  throw new ApiError(response.status, code, message);
}

/** Stores an image; returns its id. A second call with the same idempotency key makes no second job. */
export async function upload(file, options, idempotencyKey) {
  const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value !== ""));
  const headers = { "Content-Type": "application/octet-stream", "Idempotency-Key": idempotencyKey };
  const response = await call(`/upload?${query}`, { method: "POST", body: file, headers });
  return (await response.json()).imageId;
}

/** Returns {state: "done", result}, or how far the job is: {state, attempts, position}. */
export async function look(imageId) {
  const response = await call(`/image-analysis?imageId=${imageId}`);
  return response.status === 200 ? { state: "done", result: await response.json() } : response.json();
}

/** Returns the image file. */
export async function image(imageId) {
  return (await call(`/images/${imageId}`)).blob();
}

/** Returns the result as a file of the format csv, json, overlay or sizes. */
export async function file(imageId, format) {
  return (await call(`/image-analysis?imageId=${imageId}&format=${format}`)).blob();
}
