// The HTTP API as this page uses it. The key lives in sessionStorage and nowhere else.
import {parseEvents} from "./stream.js";

const KEY = "redd.key";
const PAGE = 100;
const RETRY_MS = 500;
const RETRY_MAX_MS = 10000;

export class ApiError extends Error {
  constructor(status, body) {
    super((body && body.error && body.error.message) || `The server answered ${status}.`);
    this.status = status;
    this.param = body && body.error && body.error.param;
  }
}

let onRefused = () => {};
// f() is called when the key is no longer good.
export function whenRefused(f) {
  onRefused = f;
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (k) => sessionStorage.setItem(KEY, k),
  forget: () => sessionStorage.removeItem(KEY),
};

function headers(extra) {
  const k = key.get();
  return {...(k ? {Authorization: "Bearer " + k} : {}), ...extra};
}

async function failure(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // not ours: a proxy's page, maybe
  }
  if (response.status === 401) onRefused();
  return new ApiError(response.status, body);
}

async function send(method, path, {body, signal, headers: extra} = {}) {
  const json = body !== undefined && !(body instanceof FormData);
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: headers({...(json ? {"Content-Type": "application/json"} : {}), ...extra}),
      body: json ? JSON.stringify(body) : body,
    });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Error("redd cannot be reached. Is it running?");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function get(path, signal) {
  return (await send("GET", path, {signal})).json();
}

export async function post(path, body, signal) {
  return (await send("POST", path, {body, signal})).json();
}

export async function put(path, body) {
  return (await send("PUT", path, {body})).json();
}

export async function del(path) {
  return (await send("DELETE", path)).json();
}

export async function blob(path) {
  return (await send("GET", path)).blob();
}

// Every item of a list, page by page.
export async function all(path, signal) {
  const items = [];
  for (let after = "", more = true; more;) {
    const page = await get(`${path}?limit=${PAGE}${after && "&after=" + encodeURIComponent(after)}`, signal);
    items.push(...page.data);
    after = page.last_id;
    more = page.has_more && page.data.length > 0;
  }
  return items;
}

// Send a prompt and yield the answer's chunks; throws what the server says in mid-stream.
export async function* complete(path, body, signal) {
  const response = await send("POST", path, {body: {...body, stream: true}, signal});
  for await (const event of parseEvents(response.body)) {
    if (event.data === "[DONE]") return;
    const chunk = JSON.parse(event.data);
    if (chunk.error) throw new ApiError(200, chunk);
    yield chunk;
  }
}

function visible(signal) {
  if (!document.hidden || signal.aborted) return null;
  return new Promise((done) => {
    document.addEventListener("visibilitychange", done, {once: true});
    signal.addEventListener("abort", done, {once: true});
  });
}

// One connection's worth of events after the one with id `last`; ends when the page is hidden.
async function* eventsAfter(id, last, signal) {
  const turn = new AbortController();
  const hide = () => document.hidden && turn.abort();
  const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}/events?stream=true`;
  document.addEventListener("visibilitychange", hide);
  try {
    const both = AbortSignal.any([signal, turn.signal]);
    const response = await send("GET", path, {signal: both, headers: last ? {"Last-Event-ID": last} : {}});
    yield* parseEvents(response.body);
  } catch (e) {
    if (!turn.signal.aborted) throw e;
  } finally {
    document.removeEventListener("visibilitychange", hide);
  }
}

// A job's events, from the first on, until it is over. Broken connections are taken up where they broke; a
// page that nobody looks at holds none, for browsers have few to give.
export async function* jobEvents(id, signal) {
  let last = "";
  for (let wait = RETRY_MS; !signal.aborted; wait = Math.min(2 * wait, RETRY_MAX_MS)) {
    await visible(signal);
    try {
      for await (const event of eventsAfter(id, last, signal)) {
        if (event.data === "[DONE]") return;
        last = event.id || last;
        wait = RETRY_MS;
        yield JSON.parse(event.data);
      }
    } catch (e) {
      if (signal.aborted || (e instanceof ApiError && e.status < 500)) throw e;
    }
    if (!document.hidden) await new Promise((done) => setTimeout(done, wait));
  }
}

// Do work now and then again, every ms() milliseconds that the page is looked at, until signal.
export async function poll(signal, work, ms) {
  while (!signal.aborted) {
    try {
      if (!document.hidden) await work();
    } catch (e) {
      if (signal.aborted || e.status === 401 || e.status === 404) return;
    }
    await new Promise((done) => {
      const timer = setTimeout(done, ms());
      signal.addEventListener("abort", () => (clearTimeout(timer), done()), {once: true});
    });
  }
}

// fetch() does not tell how far an upload has come; this does. progress(fraction).
export function upload(file, progress, signal) {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    request.onload = () =>
      request.status < 300
        ? resolve(request.response)
        : reject(new ApiError(request.status, request.response));
    request.onerror = () => reject(new Error("The upload was cut off. Is redd running?"));
    request.onabort = () => reject(new DOMException("Left", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
