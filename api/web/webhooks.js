// Webhooks: who is told when a job ends. A secret is shown once, when it is made.
import {all, del, get, post} from "./api.js";
import {ask, confirm} from "./dialog.js";
import {action, checks, copyButton, field, h, notice, setText} from "./dom.js";
import {time} from "./format.js";

const LOOK_MS = 400;
const LOOKS = 40;
const ends = ["succeeded", "failed", "cancelled"];

function at(webhook) {
  return `/v1/webhook_endpoints/${webhook.id}`;
}

function showSecret(webhook) {
  return ask(
    `The secret of ${webhook.name}`,
    h(
      "div",
      {},
      h("p", {}, "Messages are signed with it, as OpenAI's clients check them. It is shown this once."),
      h(
        "p",
        {class: "copyable secret"},
        h("code", {tabindex: "0"}, webhook.signing_secret),
        copyButton(() => webhook.signing_secret, "Secret"),
      ),
    ),
    [{label: "I have it", value: true, class: "primary"}],
  );
}

// How its last delivery went.
function lastWords(webhook) {
  const last = webhook.last_delivery;
  if (!last) return ["Nothing was sent yet."];
  return [
    last.error ? `The last event did not arrive: ${last.error}.` : "The last event arrived.",
    last.status ? ` It answered ${last.status}, ` : " ",
    time(last.created_at),
    ".",
  ];
}

// Send a test and wait until its outcome is there: tests are tried once.
async function test(webhook, signal) {
  const sent = await post(`${at(webhook)}/test`);
  for (let i = 0; i < LOOKS; i++) {
    const now = await get(at(webhook), signal);
    if (now.last_delivery?.event_id === sent.id) return now;
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
  return get(at(webhook), signal);
}

// What a webhook is made of, as fields that hold what it is now; all events for a new one.
function webhookFields(now) {
  const name = h("input", {
    required: true,
    maxlength: "64",
    autocomplete: "off",
    placeholder: "pipeline",
    value: now?.name || "",
  });
  const url = h("input", {
    required: true,
    type: "url",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "https://example.com/jobs",
    value: now?.url || "",
  });
  const events = checks(
    "Tell of jobs that",
    ends.map((end) => {
      const type = "fine_tuning.job." + end;
      return [type, end, !now || now.event_types.includes(type)];
    }),
  );
  return {
    elements: [h("div", {class: "fields"}, field("Name", name), field("Address", url)), events.element],
    values: () => ({name: name.value, url: url.value, event_types: events.values()}),
    clear: () => (name.value = url.value = ""),
  };
}

// Its fold for changing it; the card makes way for one of what it has become, with the focus where it was.
function changeFold(webhook, changed, signal) {
  const fields = webhookFields(webhook);
  const form = h(
    "form",
    {aria: {label: `Change ${webhook.name}`}},
    fields.elements,
    h("div", {class: "buttons"}, h("button", {class: "small primary"}, "Save")),
  );
  const fold = h("details", {}, h("summary", {aria: {label: `Change ${webhook.name}`}}, "Change"), form);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      const now = await post(at(webhook), fields.values());
      const card = webhookCard(now, changed, signal);
      fold.closest(".webhook").replaceWith(card);
      card.querySelector("summary").focus();
      notice(`The webhook ${now.name} is changed.`);
    } catch (failure) {
      notice(failure.message, true);
    }
  });
  return h("div", {class: "folds"}, fold);
}

function webhookCard(webhook, changed, signal) {
  const last = h("p", {class: "meta muted", aria: {live: "polite"}}, lastWords(webhook));
  const told = webhook.event_types.map((t) => t.split(".").pop()).join(" or ");
  return h(
    "li",
    {class: "card item webhook"},
    h(
      "div",
      {},
      h("h3", {}, webhook.name),
      h("p", {class: "meta"}, h("code", {}, webhook.url)),
      h(
        "p",
        {class: "meta muted"},
        `Told of jobs that ${told}. Its secret ends in ${webhook.signing_secret_hint}`,
      ),
      last,
    ),
    h(
      "div",
      {class: "buttons"},
      action(
        "Test",
        async () => {
          setText(last, "Sending…");
          try {
            webhook = await test(webhook, signal);
          } finally {
            last.replaceChildren(...lastWords(webhook));
          }
        },
        {aria: {label: `Test ${webhook.name}`}},
      ),
      action(
        "New secret",
        async () => {
          const yes = await confirm(
            `A new secret for ${webhook.name}?`,
            "The old one signs too for a day, so that the receiver can change in peace.",
            "Make it",
          );
          if (!yes) return;
          const made = await post(`${at(webhook)}/rotate_secret`, {
            keep_old_secret_active_for_24_hours: true,
          });
          await changed();
          await showSecret(made);
        },
        {aria: {label: `New secret for ${webhook.name}`}},
      ),
      action(
        "Delete",
        async () => {
          const yes = await confirm(
            `Delete the webhook ${webhook.name}?`,
            "It is told of no job any more, and not of those that have ended but could not be told.",
            "Delete",
          );
          if (!yes) return;
          await del(at(webhook));
          notice(`The webhook ${webhook.name} is deleted.`);
          await changed();
        },
        {class: "danger", aria: {label: `Delete the webhook ${webhook.name}`}},
      ),
    ),
    changeFold(webhook, changed, signal),
  );
}

function createForm(changed) {
  const fields = webhookFields();
  const form = h(
    "form",
    {class: "card"},
    h("h2", {}, "New webhook"),
    fields.elements,
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Create webhook")),
  );
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      const made = await post("/v1/webhook_endpoints", fields.values());
      fields.clear();
      await changed();
      await showSecret(made);
    } catch (failure) {
      notice(failure.message, true);
    }
  });
  return form;
}

export function showWebhooks(main, args, signal) {
  const list = h("ul", {class: "plain items"});
  const changed = async () => {
    const webhooks = await all("/v1/webhook_endpoints", signal);
    list.replaceChildren(...webhooks.map((w) => webhookCard(w, changed, signal)));
    if (!webhooks.length) list.append(h("li", {class: "muted"}, "None yet."));
  };
  main.append(
    h("h1", {tabindex: "-1"}, "Webhooks"),
    h(
      "div",
      {class: "stack"},
      h(
        "p",
        {class: "muted"},
        "Addresses of yours that are told when a job ends, so that nothing has to ask.",
      ),
      createForm(changed),
      list,
    ),
  );
  changed().catch((e) => e.name !== "AbortError" && notice(e.message, true));
}
