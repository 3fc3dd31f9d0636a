// Models: the base, the adapters made from it, and the names that point at them; and one adapter's page.
import {all, blob, del, get, post} from "./api.js";
import {aliasSection} from "./aliases.js";
import {confirm} from "./dialog.js";
import {action, copyButton, field, h, notice, save} from "./dom.js";
import {bytes, count, large, modelShort, time} from "./format.js";
import {heatmap} from "./heatmap.js";
import {session} from "./session.js";

function fileName(model, extension) {
  return model.id.replace(/[^A-Za-z0-9._-]+/g, "-") + extension;
}

function download(model, label, format, extension) {
  return action(
    label,
    async () => {
      if (format === "folded") notice("Writing the whole checkpoint; this takes a moment.");
      save(
        await blob(`/v1/adapters/${encodeURIComponent(model.id)}/content?format=${format}`),
        fileName(model, extension),
      );
    },
    {aria: {label: `${label} ${modelShort(model.id)}`}},
  );
}

async function remove(model) {
  const name = modelShort(model.id);
  if (
    !(await confirm(
      `Delete ${name}?`,
      "The adapter and its checkpoints are erased. Requests under way finish; later ones get an error.",
      "Delete",
    ))
  )
    return false;
  await del(`/v1/models/${encodeURIComponent(model.id)}`);
  notice(`${name} is deleted.`);
  return true;
}

function adapterCard(model, changed) {
  const a = model.adapter || {};
  const at = encodeURIComponent(model.id);
  return h(
    "li",
    {class: "card item"},
    h(
      "div",
      {},
      h("h3", {}, h("a", {href: "#/models/" + at}, modelShort(model.id))),
      h(
        "p",
        {class: "meta muted"},
        time(model.created),
        a.bytes ? ` · ${bytes(a.bytes)}` : "",
        ` · ${(a.positions || []).join(", ") || "head"}`,
      ),
    ),
    h(
      "div",
      {class: "buttons"},
      h(
        "a",
        {class: "button", href: "#/playground/" + at, aria: {label: `Try it: ${modelShort(model.id)}`}},
        "Try it",
      ),
      download(model, "Download", "safetensors", ".safetensors"),
      action("Delete", async () => (await remove(model)) && changed(), {
        class: "danger",
        aria: {label: `Delete ${modelShort(model.id)}`},
      }),
    ),
  );
}

function baseCard() {
  const b = session.base;
  if (!b) return null;
  const kinds = {
    causal: "a decoder: it completes and chats",
    encoder: "an encoder: it classifies",
    seq2seq: "an encoder-decoder: it answers texts with texts",
  };
  return h(
    "div",
    {class: "card base"},
    h("h2", {}, b.id),
    h(
      "p",
      {class: "muted"},
      `The frozen base, ${kinds[b.kind]}. ${large(b.n_params)} parameters, ${b.n_layers} layers of ${b.width}, context ${b.max_positions} tokens.`,
    ),
  );
}

function importForm(changed) {
  const file = h("input", {type: "file", accept: ".safetensors,.pth,.pt,.bin"});
  const name = h("input", {autocomplete: "off", placeholder: "my-adapter"});
  return h(
    "details",
    {class: "card"},
    h("summary", {}, "Import an adapter"),
    h(
      "div",
      {class: "fields"},
      field("File", file, "redd's safetensors, or the RED authors' delta_vector.pth."),
      field("Name", name),
    ),
    h(
      "div",
      {class: "buttons"},
      action("Import", async () => {
        if (!file.files[0]) throw new Error("Choose a file first.");
        const form = new FormData();
        form.append("file", file.files[0]);
        if (name.value) form.append("name", name.value);
        const model = await post("/v1/adapters", form);
        notice(`${modelShort(model.id)} is there.`);
        changed();
      }),
    ),
  );
}

export function showModels(main, args, signal) {
  const list = h("ul", {class: "plain items"});
  const aliases = h("div", {});
  const changed = async () => {
    const models = (await all("/v1/models", signal)).filter((m) => m.parent);
    list.replaceChildren(...models.map((m) => adapterCard(m, changed)));
    if (!models.length) list.append(h("li", {class: "muted"}, "None yet: they come out of jobs."));
    aliases.replaceChildren(await aliasSection(models, signal));
  };
  main.append(
    h("h1", {tabindex: "-1"}, "Models"),
    baseCard() || "",
    h("h2", {}, "Adapters"),
    list,
    aliases,
    importForm(changed),
  );
  changed().catch((e) => e.name !== "AbortError" && notice(e.message, true));
}

function manifest(model) {
  const a = model.adapter || {};
  const rows = [
    ["parent", modelShort(model.parent)],
    ["method", a.method],
    ["positions", (a.positions || []).join(", ")],
    ["parts", (a.parts || []).join(", ")],
    ["layers", a.layers && String(a.layers)],
    ["labels", a.labels && a.labels.join(", ")],
    ["layer norm", a.ln && "yes"],
    ["trained numbers", a.trainable_params && count(a.trainable_params)],
    ["steps", a.steps],
    ["seed", a.seed],
    ["size", a.bytes && bytes(a.bytes)],
    ["sha256", a.sha256],
    ["data_sha256", a.data_sha256],
    ["base_hash", a.base_hash],
  ];
  return h(
    "dl",
    {class: "facts"},
    rows
      .filter(([, v]) => v !== undefined && v !== null && v !== "")
      .map(([k, v]) =>
        h("div", {}, h("dt", {}, k), h("dd", {}, /^[0-9a-f]{64}$/.test(v) ? h("code", {}, v) : String(v))),
      ),
  );
}

async function fillModel(body, id, signal) {
  const at = encodeURIComponent(id);
  const model = await get(`/v1/models/${at}`, signal);
  const edits = h("section", {class: "card"}, h("h2", {}, "How far each layer was edited"));
  body.replaceChildren(
    h(
      "div",
      {class: "buttons"},
      h("a", {class: "button primary", href: "#/playground/" + at}, "Try it"),
      download(model, "Download", "safetensors", ".safetensors"),
      download(model, "Download folded", "folded", ".tar"),
      action(
        "Delete",
        async () => {
          if (await remove(model)) location.hash = "#/models";
        },
        {class: "danger"},
      ),
    ),
    h(
      "p",
      {class: "muted copyable"},
      h("code", {}, model.id),
      copyButton(() => model.id, "Model name"),
    ),
    edits,
    h("section", {class: "card"}, h("h2", {}, "Manifest"), manifest(model)),
  );
  edits.append(heatmap((await get(`/v1/adapters/${at}/edits`, signal)).data));
}

export function showModel(main, [id], signal) {
  const body = h("div", {class: "stack"});
  main.append(
    h("a", {class: "back always", href: "#/models"}, "All models"),
    h("h1", {tabindex: "-1"}, modelShort(id)),
    body,
  );
  fillModel(body, id, signal).catch((e) => {
    if (e.name !== "AbortError") body.append(h("p", {class: "error", role: "alert"}, e.message));
  });
}
