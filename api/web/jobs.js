// The jobs page: one job or the form for a new one, and beside it the list.
import {get, poll} from "./api.js";
import {h, keyed, setText} from "./dom.js";
import {time} from "./format.js";
import {showJob} from "./job.js";
import {jobName, jobOver, pill, standing} from "./standing.js";
import {showSubmit} from "./submit.js";

const PAGE = 50;
const BUSY_MS = 2000;
const IDLE_MS = 8000;

function makeCard(job) {
  const card = h(
    "a",
    {class: "jobcard", href: "#/jobs/" + job.id},
    h("span", {class: "row"}, h("span", {class: "name"}, jobName(job)), h("span", {class: "state"})),
    h("span", {class: "meta"}, time(job.created_at), h("span", {class: "standing"})),
    h("span", {class: "bar", aria: {hidden: "true"}}, h("span", {})),
  );
  return h("li", {}, card);
}

function updateCard(item, job, current) {
  const card = item.firstChild;
  const state = card.querySelector(".state");
  const done = job.progress.total_steps ? job.progress.step / job.progress.total_steps : 0;
  if (item.dataset.status !== job.status) state.replaceChildren(pill(job));
  item.dataset.status = job.status;
  const said = standing(job);
  setText(card.querySelector(".standing"), said && " · " + said);
  card.querySelector(".bar").hidden = !(job.status === "running" || job.status === "paused");
  card.querySelector(".bar > span").style.width = `${100 * done}%`;
  if (job.id === current) card.setAttribute("aria-current", "true");
}

let seen = {data: [], has_more: false};
let limit = PAGE;

function jobList(current, signal) {
  const list = h("ul", {class: "plain"});
  const more = h("button", {type: "button", class: "small", hidden: true}, "Show more");
  const empty = h("p", {class: "muted", hidden: true}, "No jobs yet. Drop a file to start the first.");
  const update = () => {
    keyed(
      list,
      seen.data,
      (j) => j.id,
      makeCard,
      (e, j) => updateCard(e, j, current),
    );
    more.hidden = !seen.has_more;
  };
  const refresh = async () => {
    seen = await get(`/v1/fine_tuning/jobs?limit=${limit}`, signal);
    empty.hidden = seen.data.length > 0;
    update();
  };
  more.addEventListener("click", () => {
    limit = Math.min(1000, limit + PAGE);
    refresh();
  });
  update();
  poll(signal, refresh, () => (seen.data.some((j) => !jobOver(j)) ? BUSY_MS : IDLE_MS));
  return h(
    "section",
    {class: "joblist", aria: {labelledby: "jobs-title"}},
    h(
      "div",
      {class: "row"},
      h("h2", {id: "jobs-title"}, "Jobs"),
      current ? h("a", {class: "button small", href: "#/jobs"}, "New job") : null,
    ),
    empty,
    list,
    more,
  );
}

export function showJobs(main, [id], signal) {
  main.append(
    h(
      "div",
      {class: id ? "split one" : "split"},
      id ? showJob(id, signal) : showSubmit(signal),
      jobList(id, signal),
    ),
  );
}
