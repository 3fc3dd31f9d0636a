// One job: where it stands, its curve as it grows, what may be done with it.
import {all, blob, get, jobEvents, poll, post} from "./api.js";
import {lossChart} from "./chart.js";
import {confirm} from "./dialog.js";
import {action, copyButton, h, keyed, notice, save, setText} from "./dom.js";
import {count, duration, modelShort, short, time} from "./format.js";
import {jobName, jobOver, pill, standing} from "./standing.js";

const POLL_MS = 1500;
const LOG_LINES = 200;

function stat(label) {
  const value = h("dd", {}, "–");
  const name = h("dt", {}, label);
  const element = h("div", {class: "stat"}, name, value);
  return {element, set: (text, named = label) => (setText(value, text), setText(name, named), element)};
}

function stats(chart) {
  const step = stat("Step");
  const loss = stat("Training loss");
  const valid = stat("Validation loss");
  const speed = stat("Tokens a second");
  const left = stat("Time left");
  const all = [step, loss, valid, speed, left];
  return {
    element: h(
      "dl",
      {class: "stats"},
      all.map((s) => s.element),
    ),
    update(job) {
      const p = job.progress;
      step.set(p.total_steps ? `${count(p.step)} / ${count(p.total_steps)}` : "–");
      loss.set(short(chart.last("smooth")));
      valid.set(short(chart.last("valid_loss"))).hidden = !job.validation_file;
      chart.showsValidation(job.validation_file);
      speed.set(p.tokens_per_second ? count(p.tokens_per_second) : "–");
      if (job.finished_at) left.set(duration(job.finished_at - job.created_at), "Took");
      else left.set(job.estimated_finish ? duration(job.estimated_finish - Date.now() / 1000) : "–");
    },
  };
}

function downloadCurve(job) {
  return action("Result file", async () =>
    save(await blob(`/v1/files/${job.result_files[0]}/content`), `${jobName(job)}.csv`),
  );
}

// What may be done in this status.
function actions(job, changed) {
  const move = (verb, label, said) =>
    action(label, async () => {
      changed(await post(`/v1/fine_tuning/jobs/${job.id}/${verb}`));
      notice(said);
    });
  const cancel = () =>
    action(
      "Cancel",
      async () => {
        if (
          !(await confirm(
            `Cancel ${jobName(job)}?`,
            "It stops at once and cannot be resumed. Its checkpoints stay.",
            "Cancel the job",
          ))
        )
          return;
        changed(await post(`/v1/fine_tuning/jobs/${job.id}/cancel`));
        notice("The job is cancelled.");
      },
      {class: "danger"},
    );
  const link = (path, label, kind, model = job.fine_tuned_model) =>
    h("a", {class: "button " + kind, href: path + encodeURIComponent(model)}, label);
  const live =
    job.status === "running" && job.live_model
      ? link("#/playground/", "Try it as it is", "", job.live_model)
      : null;
  switch (job.status) {
    case "succeeded":
      return [
        link("#/playground/", "Try it", "primary"),
        link("#/models/", "Adapter", ""),
        job.result_files.length ? downloadCurve(job) : null,
      ];
    case "paused":
      return [move("resume", "Resume", "The job goes on."), cancel()];
    case "failed":
    case "cancelled":
      return [];
    default:
      return [live, move("pause", "Pause", "The job pauses at its next step."), cancel()];
  }
}

function settings(job) {
  const rows = Object.entries(job.hyperparameters || {});
  const adapter = job.adapter || {};
  return h(
    "details",
    {},
    h("summary", {}, "Settings"),
    h(
      "dl",
      {class: "facts"},
      [
        ["training_file", job.training_file],
        ["validation_file", job.validation_file],
        ["seed", job.seed],
        ["positions", (adapter.positions || []).join(", ")],
        ["parts", (adapter.parts || []).join(", ")],
        ["layers", String(adapter.layers)],
        ...rows,
      ]
        .filter(([, v]) => v !== null && v !== undefined && v !== "")
        .map(([k, v]) =>
          h(
            "div",
            {},
            h("dt", {}, k),
            h("dd", {}, typeof v === "number" ? String(Number(v.toPrecision(9))) : String(v)),
          ),
        ),
    ),
  );
}

function eventLog() {
  const list = h("ol", {class: "log"});
  return {
    element: h("details", {}, h("summary", {}, "Events"), list),
    push(event) {
      list.append(
        h(
          "li",
          {class: event.level},
          h("time", {}, new Date(event.created_at * 1000).toLocaleTimeString()),
          " ",
          event.message,
        ),
      );
      if (list.children.length > LOG_LINES) list.firstChild.remove();
    },
  };
}

function checkpoints(id, signal) {
  const list = h("ul", {class: "plain lines"});
  const element = h("details", {}, h("summary", {}, "Checkpoints"), list);
  element.addEventListener("toggle", async () => {
    if (!element.open) return;
    const items = await all(`/v1/fine_tuning/jobs/${id}/checkpoints`, signal);
    const model = (c) => encodeURIComponent(c.fine_tuned_model_checkpoint);
    keyed(
      list,
      items,
      (c) => c.id,
      (c) =>
        h(
          "li",
          {class: "row"},
          h(
            "span",
            {},
            `step ${c.step_number}`,
            h("span", {class: "muted"}, ` · loss ${short(c.metrics.valid_loss ?? c.metrics.train_loss)}`),
          ),
          h(
            "a",
            {
              href: "#/playground/" + model(c),
              aria: {label: `Try it: the checkpoint of step ${c.step_number}`},
            },
            "Try it",
          ),
        ),
    );
    if (!items.length) list.replaceChildren(h("li", {class: "muted"}, "None yet."));
  });
  return element;
}

function head(job) {
  const made = job.fine_tuned_model;
  const id = made || job.id;
  return h(
    "div",
    {class: "muted meta"},
    h("p", {}, "from ", modelShort(job.model), " · ", time(job.created_at)),
    h(
      "p",
      {class: "copyable"},
      h("code", {}, id),
      copyButton(() => id, made ? "Model name" : "Job id"),
    ),
  );
}

// The parts that only change with the status.
function drawStatus(view, job, changed) {
  view.title.replaceChildren(jobName(job), " ", pill(job));
  view.head.replaceChildren(head(job));
  view.actions.replaceChildren(...actions(job, changed).filter(Boolean));
  view.settings.replaceChildren(settings(job));
  view.error.hidden = job.status !== "failed";
  if (job.error) setText(view.error, job.error.message || "It failed.");
  document.title = `${jobName(job)} · redd`;
}

async function follow(id, chart, log, changed, signal) {
  try {
    for await (const event of jobEvents(id, signal)) {
      if (event.type === "metrics") chart.push(event.data);
      else log.push(event);
    }
    changed(await get(`/v1/fine_tuning/jobs/${id}`, signal));
  } catch (e) {
    if (e.name !== "AbortError") notice(e.message, true);
  }
}

export function showJob(id, signal) {
  const chart = lossChart();
  const numbers = stats(chart);
  const log = eventLog();
  const view = {
    title: h("h1", {tabindex: "-1"}, "Job"),
    head: h("div", {}),
    actions: h("div", {class: "buttons"}),
    error: h("p", {class: "error", hidden: true}),
    settings: h("div", {}),
    standing: h("p", {class: "muted standing"}),
    bar: h("progress", {max: "1", value: 0, aria: {label: "Progress"}}),
  };
  let job = null;
  const changed = (now) => {
    if (job && job.status !== now.status && jobOver(now))
      notice(
        `${jobName(now)} ${now.status === "succeeded" ? "is done" : "is over: " + now.status}.`,
        now.status === "failed",
      );
    if (!job || ["status", "fine_tuned_model", "live_model"].some((name) => job[name] !== now[name]))
      drawStatus(view, now, changed);
    job = now;
    numbers.update(job);
    view.bar.value = job.progress.total_steps ? job.progress.step / job.progress.total_steps : 0;
    view.bar.hidden = numbers.element.hidden = !job.progress.total_steps;
    if (jobOver(job)) view.bar.hidden = true;
    setText(view.standing, ["queued", "validating_files"].includes(job.status) ? standing(job) : "");
  };
  const refresh = async () => changed(await get(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}`, signal));
  refresh().catch((e) => {
    if (e.name !== "AbortError")
      view.head.replaceChildren(h("p", {class: "error", role: "alert"}, e.message));
  });
  poll(
    signal,
    async () => job && !jobOver(job) && refresh(),
    () => POLL_MS,
  );
  follow(id, chart, log, changed, signal);
  return h(
    "article",
    {class: "panel card"},
    h("a", {class: "back", href: "#/jobs"}, "All jobs"),
    h("div", {class: "row wrap"}, view.title, view.actions),
    view.head,
    view.error,
    view.bar,
    view.standing,
    numbers.element,
    chart.element,
    h("div", {class: "folds"}, chart.table, checkpoints(id, signal), view.settings, log.element),
  );
}
