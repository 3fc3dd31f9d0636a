// What a job is called and where it stands, in words. Pure.
import {h} from "./dom.js";
import {duration, plural} from "./format.js";

const words = {
  validating_files: "checking",
  queued: "queued",
  running: "running",
  paused: "paused",
  succeeded: "done",
  failed: "failed",
  cancelled: "cancelled",
};

export function jobName(job) {
  return job.user_provided_suffix || job.id.slice(-8);
}

export function jobOver(job) {
  return ["succeeded", "failed", "cancelled"].includes(job.status);
}

export function pill(job) {
  return h("span", {class: "pill " + job.status}, words[job.status] || job.status);
}

// Where it stands, in a few words.
export function standing(job) {
  const p = job.progress;
  const left = job.estimated_finish ? duration(job.estimated_finish - Date.now() / 1000) : "";
  if (job.status === "running" && p.total_steps)
    return `step ${p.step} of ${p.total_steps}${left && ` · ${left} left`}`;
  if (job.status === "queued" && job.queue_position !== null) {
    const place = job.queue_position ? `${plural(job.queue_position, "job")} before it` : "next in the queue";
    return place + (left && ` · done in ${left}`);
  }
  if (job.status === "paused") return `paused at step ${p.step}`;
  if (job.status === "failed" && job.error) return job.error.message || "";
  return "";
}
