// For the admin: tenants, their limits and keys. A key is shown once, when it is made.
import {all, blob, del, get, post} from "./api.js";
import {ask, confirm, confirmByName} from "./dialog.js";
import {action, copyButton, field, h, notice, save} from "./dom.js";
import {bytes, count, time} from "./format.js";
import {needsKey} from "./session.js";

const limits = [
  {name: "queued_jobs", label: "Jobs in the queue"},
  {name: "running_jobs", label: "Jobs running"},
  {name: "file_bytes", label: "Bytes of files", said: bytes},
  {name: "requests_per_minute", label: "Requests a minute"},
  {name: "tokens_per_minute", label: "Tokens a minute"},
];

function showKey(name, secret) {
  return ask(
    `The key of ${name}`,
    h(
      "div",
      {},
      h("p", {}, "It is shown this once; redd keeps only its hash."),
      h(
        "p",
        {class: "copyable secret"},
        h("code", {tabindex: "0"}, secret),
        copyButton(() => secret, "Key"),
      ),
    ),
    [{label: "I have it", value: true, class: "primary"}],
  );
}

function limitText(l, v) {
  return v === 0 ? "default" : v < 0 ? "no limit" : (l.said || count)(v);
}

async function keyRows(tenant, list, signal) {
  const keys = (await get(`/v1/admin/tenants/${tenant.id}/keys`, signal)).data;
  list.replaceChildren(
    ...keys.map((k) =>
      h(
        "li",
        {class: "row"},
        h("span", {}, h("code", {}, `…${k.hint}`), h("span", {class: "muted"}, " · ", time(k.created_at))),
        action(
          "Revoke",
          async () => {
            if (
              !(await confirm(
                `Revoke the key …${k.hint}?`,
                `Whoever uses it for ${tenant.name} is refused from now on.`,
                "Revoke",
              ))
            )
              return;
            await del(`/v1/admin/tenants/${tenant.id}/keys/${k.id}`);
            notice("The key is revoked.");
            await keyRows(tenant, list, signal);
          },
          {class: "small danger", aria: {label: `Revoke the key ending in ${k.hint}`}},
        ),
      ),
    ),
  );
  if (!keys.length) list.append(h("li", {class: "muted"}, "No key: nobody can be this tenant."));
}

function keysOf(tenant, signal) {
  const list = h("ul", {class: "plain lines"});
  const box = h(
    "details",
    {},
    h("summary", {}, "Keys"),
    list,
    h(
      "div",
      {class: "buttons"},
      action(
        "New key",
        async () => {
          const made = await post(`/v1/admin/tenants/${tenant.id}/keys`);
          await showKey(tenant.name, made.api_key);
          await keyRows(tenant, list, signal);
        },
        {class: "small", aria: {label: `New key for ${tenant.name}`}},
      ),
    ),
  );
  box.addEventListener(
    "toggle",
    () => box.open && keyRows(tenant, list, signal).catch((e) => notice(e.message, true)),
  );
  return box;
}

// Fields for the limits, empty where it is 0: the daemon's default.
function limitFields(now = {}) {
  const inputs = limits.map((l) => ({
    ...l,
    input: h("input", {
      type: "number",
      step: "1",
      min: "-1",
      placeholder: "default",
      value: now[l.name] ? String(now[l.name]) : "",
    }),
  }));
  return {
    elements: [
      h(
        "div",
        {class: "fields"},
        inputs.map((l) => field(l.label, l.input)),
      ),
      h("p", {class: "hint"}, "Empty: the daemon's default. −1: no limit."),
    ],
    values: () => Object.fromEntries(inputs.map((l) => [l.name, Number(l.input.value)])),
  };
}

function limitsOf(tenant, changed) {
  const fields = limitFields(tenant.limits);
  return h(
    "details",
    {},
    h("summary", {}, "Change limits"),
    fields.elements,
    h(
      "div",
      {class: "buttons"},
      action(
        "Set limits",
        async () => {
          await post(`/v1/admin/tenants/${tenant.id}`, {limits: fields.values()});
          notice(`The limits of ${tenant.name} hold from its next request on.`);
          await changed();
        },
        {class: "small", aria: {label: `Set limits of ${tenant.name}`}},
      ),
    ),
  );
}

function tenantCard(tenant, changed, signal) {
  return h(
    "li",
    {class: "card tenant"},
    h(
      "div",
      {class: "row wrap"},
      h("div", {}, h("h3", {}, tenant.name), h("p", {class: "meta muted"}, time(tenant.created_at))),
      needsKey &&
        action(
          "Remove",
          async () => {
            const yes = await confirmByName(
              `Remove ${tenant.name}?`,
              "Files, jobs, adapters and keys of this tenant are erased for good.",
              tenant.name,
              "Remove for good",
            );
            if (!yes) return;
            await del(`/v1/admin/tenants/${tenant.id}`);
            notice(`${tenant.name} is removed.`);
            await changed();
          },
          {class: "danger", aria: {label: `Remove ${tenant.name}`}},
        ),
    ),
    Object.values(tenant.limits).every((v) => v === 0)
      ? h("p", {class: "muted"}, "The daemon's default limits.")
      : h(
          "dl",
          {class: "facts"},
          limits.map((l) =>
            h("div", {}, h("dt", {}, l.label), h("dd", {}, limitText(l, tenant.limits[l.name]))),
          ),
        ),
    h("div", {class: "folds"}, limitsOf(tenant, changed), keysOf(tenant, signal)),
  );
}

function createForm(changed) {
  const name = h("input", {
    required: true,
    maxlength: "64",
    autocomplete: "off",
    placeholder: "alice",
    pattern: "[a-z0-9\\-]+",
    title: "a-z, 0-9 and dashes",
  });
  const fields = limitFields();
  const form = h(
    "form",
    {class: "card"},
    h("h2", {}, "New tenant"),
    field("Name", name, "a-z, 0-9 and dashes: it shows in model names."),
    h("details", {}, h("summary", {}, "Limits"), fields.elements),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Create tenant")),
  );
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      const made = await post("/v1/admin/tenants", {name: name.value, limits: fields.values()});
      form.reset();
      await changed();
      await showKey(made.name, made.api_key);
    } catch (failure) {
      notice(failure.message, true);
    }
  });
  return form;
}

function backupCard() {
  return h(
    "section",
    {class: "card"},
    h("h2", {}, "Backup"),
    h(
      "p",
      {class: "muted"},
      "The whole state as it is at this moment: every tenant's files, jobs, adapters and keys' hashes. ",
      "Keep it as safe as the machine. ",
      h("code", {}, "redd --restore FILE"),
      " makes a state of it.",
    ),
    h(
      "div",
      {class: "buttons"},
      action("Download a backup", async () => {
        notice("Copying the state; this takes a moment.");
        save(
          await blob("/v1/admin/backup"),
          `redd-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.tar`,
        );
      }),
    ),
  );
}

export function showTenants(main, args, signal) {
  const list = h("ul", {class: "plain items"});
  const changed = async () => {
    const tenants = await all("/v1/admin/tenants", signal);
    list.replaceChildren(...tenants.map((t) => tenantCard(t, changed, signal)));
    if (!tenants.length) list.append(h("li", {class: "muted"}, "None yet."));
  };
  main.append(
    h("h1", {tabindex: "-1"}, "Tenants"),
    h("div", {class: "stack"}, createForm(changed), list, backupCard()),
  );
  changed().catch((e) => e.name !== "AbortError" && notice(e.message, true));
}
