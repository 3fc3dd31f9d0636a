// The frame: sections, the address in the hash, one view at a time.
//
// A view is show(main, args, signal): it fills main, and stops whatever it began when signal is aborted.
import {key, whenRefused} from "./api.js";
import {h, notice} from "./dom.js";
import {large} from "./format.js";
import {showJobs} from "./jobs.js";
import {showModel, showModels} from "./models.js";
import {showPlayground} from "./playground.js";
import {leave, load, needsKey, session, signIn} from "./session.js";
import {showTenants} from "./tenants.js";
import {showWebhooks} from "./webhooks.js";

const sections = [
  {path: "jobs", title: "Jobs", for: "tenant", show: showJobs},
  {
    path: "models",
    title: "Models",
    for: "tenant",
    show: (m, args, s) => (args.length ? showModel : showModels)(m, args, s),
  },
  {path: "playground", title: "Playground", for: "tenant", show: showPlayground},
  {path: "webhooks", title: "Webhooks", for: "tenant", show: showWebhooks},
  {path: "tenants", title: "Tenants", for: "admin", show: showTenants},
];

const main = document.getElementById("main");
let view = new AbortController();
let visited = false;

function mine() {
  return sections.filter((s) => (s.for === "admin" ? session.admin : session.tenant));
}

function drawFrame(current) {
  const nav = document.getElementById("nav");
  const who = document.getElementById("who");
  nav.replaceChildren(
    ...(session ? mine() : []).map((s) =>
      h("a", {href: "#/" + s.path, aria: s === current ? {current: "page"} : {}}, s.title),
    ),
  );
  const foot = document.getElementById("base");
  who.replaceChildren();
  foot.replaceChildren();
  if (!session) return;
  who.append(h("span", {class: "muted"}, session.tenant ? session.tenant.name : "admin"));
  if (needsKey) who.append(h("button", {type: "button", class: "small", onclick: signOut}, "Sign out"));
  const base = session.base;
  if (base)
    foot.append(`${base.id} · ${base.family}, ${large(base.n_params)} parameters, ${base.n_layers} layers`);
}

function signOut() {
  leave();
  location.hash = "#/";
  route();
}

function route() {
  view.abort();
  view = new AbortController();
  if (!session) {
    drawFrame(null);
    document.title = "Sign in · redd";
    signIn(main, route);
    return;
  }
  const [path, ...args] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const section = mine().find((s) => s.path === path) || mine()[0];
  drawFrame(section);
  document.title = section.title + " · redd";
  main.replaceChildren();
  section.show(main, args, view.signal);
  // Whoever follows a link by keyboard goes on from the new view's heading.
  const heading = main.querySelector("h1");
  if (visited && heading) heading.focus({preventScroll: true});
  if (visited) scrollTo(0, 0);
  visited = true;
}

whenRefused(() => {
  if (!session) return;
  leave();
  notice("The key is no longer valid. Sign in again.", true);
  route();
});

window.addEventListener("hashchange", () => {
  if (location.hash !== "#main") route();
});
document.querySelector(".skip").addEventListener("click", (e) => {
  e.preventDefault();
  main.focus();
});

async function start() {
  if (!needsKey || key.get()) {
    try {
      await load();
    } catch (e) {
      if (e.status !== 401) {
        main.replaceChildren(h("p", {class: "error", role: "alert"}, e.message));
        setTimeout(start, 3000);
        return;
      }
      leave();
    }
  }
  route();
}

start();
