// Prompts an adapter was trained on: what it expects of yours can be seen from them.
import {get, key} from "./api.js";

const ENOUGH = 65536; // bytes of the file that are looked at
const ROWS = 40;
const PAGE = 100;
const PAGES = 10;

// The first bytes of a file; the rest stays where it is.
async function beginning(fileId, signal) {
  const stop = new AbortController();
  const response = await fetch(`/v1/files/${fileId}/content`, {
    headers: key.get() ? {Authorization: "Bearer " + key.get()} : {},
    signal: AbortSignal.any([signal, stop.signal]),
  });
  if (!response.ok) return "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length < ENOUGH) {
    const {value, done} = await reader.read();
    if (done) return text + "\n";
    text += value;
  }
  stop.abort();
  return text;
}

function parseRow(line) {
  try {
    const row = JSON.parse(line);
    if (typeof row.prompt === "string") return {mode: "text", prompt: row.prompt};
    if (Array.isArray(row.messages)) {
      const user = row.messages.find((m) => m.role === "user");
      return user && {mode: "chat", prompt: user.content};
    }
    if (typeof row.text === "string") return {mode: "classify", prompt: row.text, pair: row.text_pair};
  } catch {
    // cut off in the middle, or no JSON: not an example
  }
  return null;
}

// The job a model came from, if it is not too long ago.
async function jobOf(model, signal) {
  for (let page = {has_more: true, last_id: ""}, i = 0; page.has_more && i < PAGES; i++) {
    page = await get(`/v1/fine_tuning/jobs?limit=${PAGE}${page.last_id && "&after=" + page.last_id}`, signal);
    const job = page.data.find((j) => j.fine_tuned_model === model || j.live_model === model);
    if (job) return job;
  }
  return null;
}

// [{mode, prompt, pair?}] for a model, or none: its job or file may be gone.
export async function examplesOf(model, signal) {
  const job = await jobOf(model.replace(/:ckpt-step-\d+$/, ""), signal);
  if (!job) return [];
  const lines = (await beginning(job.training_file, signal)).split("\n").slice(0, ROWS);
  return lines.map(parseRow).filter(Boolean);
}
