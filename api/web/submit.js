// A new job: drop a file, see what redd makes of it, start.
import {all, get, post, upload, del} from "./api.js";
import {adapterForm} from "./adapter.js";
import {action, field, h, notice, select} from "./dom.js";
import {bytes, modelShort} from "./format.js";
import {hyperForm} from "./hyper.js";
import {preflightReport} from "./preflight.js";
import {session} from "./session.js";

const SETTLE_MS = 400;

const shapes = {
  causal: ['{"prompt": "…", "completion": "…"}', '{"messages": [{"role": "user", "content": "…"}, …]}'],
  seq2seq: ['{"prompt": "…", "completion": "…"}'],
  encoder: ['{"text": "…", "label": "…"}'],
};

function isValidation(file) {
  return /(^|[^a-z])(valid|validation|val|dev|eval|test)([^a-z]|$)/i.test(file.name);
}

function dropZone(kind, take) {
  const input = h("input", {
    type: "file",
    accept: ".jsonl,.json,application/jsonl",
    multiple: true,
    id: "drop-input",
  });
  const zone = h(
    "div",
    {class: "drop"},
    h(
      "label",
      {for: "drop-input"},
      h("strong", {}, "Drop a .jsonl file here"),
      h("span", {}, "or choose one"),
    ),
    input,
    h(
      "p",
      {class: "hint"},
      "One row a line: ",
      shapes[kind].flatMap((s, i) => [i ? " or " : "", h("code", {}, s)]),
    ),
  );
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  return zone;
}

// The whole page takes files while the form is shown.
function acceptDrops(zone, take, signal) {
  let depth = 0;
  const on = (type, f) =>
    document.addEventListener(
      type,
      (e) => {
        if (!e.dataTransfer || !e.dataTransfer.types.includes("Files")) return;
        e.preventDefault();
        f(e);
      },
      {signal},
    );
  const show = () => zone.classList.toggle("over", depth > 0);
  on("dragenter", () => (depth++, show()));
  on("dragleave", () => (depth--, show()));
  on("dragover", (e) => (e.dataTransfer.dropEffect = "copy"));
  on("drop", (e) => {
    depth = 0;
    show();
    take([...e.dataTransfer.files]);
  });
}

class Submit {
  constructor(signal) {
    this.signal = signal;
    this.files = {}; // training, validation: {id, filename, bytes, own}
    this.kind = session.base ? session.base.kind : "causal";
    this.check = new AbortController();
    this.hyper = hyperForm(this.kind, () => this.changed());
    this.adapter = adapterForm(session.base && session.base.n_layers, () => this.changed());
    this.suffix = h("input", {
      maxlength: "64",
      autocomplete: "off",
      placeholder: "support-tone",
      pattern: "[A-Za-z0-9._\\-]*",
    });
    this.model = select(
      [[session.base ? session.base.id : "", session.base ? session.base.id : "none"]],
      session.base ? session.base.id : "",
    );
    this.report = h("div", {class: "report", aria: {live: "polite"}});
    this.chosen = h("ul", {class: "plain chosen"});
    this.start = action("Start training", () => this.create(), {class: "primary", disabled: true});
    const zone = dropZone(this.kind, (f) => this.take(f));
    acceptDrops(zone, (f) => this.take(f), signal);
    this.form = h(
      "div",
      {class: "form", hidden: true},
      this.report,
      h(
        "div",
        {class: "fields"},
        field("Name", this.suffix, "Shows in the model's name."),
        field("Start from", this.model),
      ),
      this.hyper.element,
      this.adapter.element,
      h("div", {class: "buttons"}, this.start),
    );
    this.earlier = h("div", {});
    this.element = h(
      "section",
      {class: "panel card"},
      h("h1", {tabindex: "-1"}, "New job"),
      zone,
      this.earlier,
      this.chosen,
      this.form,
    );
    this.model.addEventListener("change", () => this.changed());
    this.fill();
  }

  // Adapters to go on from, and files that are there already.
  async fill() {
    try {
      const models = await all("/v1/models", this.signal);
      this.model.append(
        ...models.filter((m) => m.parent).map((m) => h("option", {value: m.id}, modelShort(m.id))),
      );
      const files = (await get("/v1/files?purpose=fine-tune&limit=50", this.signal)).data;
      if (!files.length) return;
      const choice = select(
        [["", "Choose…"], ...files.map((f) => [f.id, `${f.filename} (${bytes(f.bytes)})`])],
        "",
      );
      choice.addEventListener("change", () => {
        const f = files.find((one) => one.id === choice.value);
        if (f) this.have("training", {...f, own: false});
      });
      this.earlier.append(field("Or take a file uploaded before", choice));
    } catch (e) {
      if (e.name !== "AbortError") notice(e.message, true);
    }
  }

  take(files) {
    if (!files.length) return;
    const valid =
      files.length > 1
        ? files.find(isValidation)
        : this.files.training && isValidation(files[0])
          ? files[0]
          : null;
    for (const f of files.slice(0, 2)) this.send(f === valid ? "validation" : "training", f);
  }

  async send(role, file) {
    const bar = h("progress", {max: "1", value: 0, aria: {label: `Uploading ${file.name}`}});
    const row = h(
      "li",
      {class: "row"},
      h("span", {}, file.name, h("span", {class: "muted"}, ` · ${bytes(file.size)}`)),
      bar,
    );
    this.chosen.append(row);
    try {
      const sent = await upload(file, (done) => (bar.value = done), this.signal);
      this.have(role, {...sent, own: true});
    } catch (e) {
      if (e.name !== "AbortError") notice(e.message, true);
    }
    row.remove();
  }

  have(role, file) {
    this.files[role] = file;
    if (role === "training" && !this.suffix.value)
      this.suffix.value = file.filename
        .replace(/\.jsonl?$/i, "")
        .replace(/[^A-Za-z0-9._-]+/g, "-")
        .slice(0, 64);
    this.draw();
    this.changed();
  }

  draw() {
    const row = (role) => {
      const f = this.files[role];
      return (
        f &&
        h(
          "li",
          {class: "row"},
          h(
            "span",
            {},
            h("strong", {}, f.filename),
            h("span", {class: "muted"}, ` · ${role} · ${bytes(f.bytes)}`),
          ),
          action("Remove", () => this.drop(role), {class: "small", aria: {label: `Remove ${f.filename}`}}),
        )
      );
    };
    this.chosen.replaceChildren(...["training", "validation"].map(row).filter(Boolean));
    this.form.hidden = !this.files.training;
    this.earlier.hidden = Boolean(this.files.training);
    if (this.files.training && !this.files.validation) this.chosen.append(this.validationPicker());
  }

  validationPicker() {
    const input = h("input", {type: "file", accept: ".jsonl,.json", id: "valid-input"});
    input.addEventListener("change", () => input.files[0] && this.send("validation", input.files[0]));
    return h(
      "li",
      {class: "row picker"},
      h("label", {for: "valid-input", class: "muted"}, "Validation file, if you have one"),
      input,
    );
  }

  async drop(role) {
    const f = this.files[role];
    delete this.files[role];
    if (f.own) await del(`/v1/files/${f.id}`);
    this.draw();
    this.changed();
  }

  body() {
    const {hyper, seed} = this.hyper.values();
    return {
      model: this.model.value,
      training_file: this.files.training.id,
      validation_file: this.files.validation && this.files.validation.id,
      suffix: this.suffix.value || undefined,
      seed,
      adapter: this.adapter.value(),
      method: {type: "supervised", supervised: {hyperparameters: hyper}},
    };
  }

  // Ask redd again once the form has been left alone for a moment.
  changed() {
    clearTimeout(this.timer);
    this.check.abort();
    this.start.disabled = true;
    if (this.files.training) this.timer = setTimeout(() => this.preflight(), SETTLE_MS);
  }

  async preflight() {
    this.check = new AbortController();
    this.report.ariaBusy = "true";
    try {
      const p = await post(
        "/v1/fine_tuning/jobs/preflight",
        this.body(),
        AbortSignal.any([this.signal, this.check.signal]),
      );
      this.report.replaceChildren(preflightReport(p));
      this.hyper.resolved(p.hyperparameters);
      this.hyper.wrong(p.error && p.error.param);
      this.start.disabled = !p.valid;
    } catch (e) {
      if (e.name === "AbortError") return;
      this.hyper.wrong(e.param);
      this.report.replaceChildren(h("p", {class: "error"}, e.message));
    } finally {
      this.report.ariaBusy = "false";
    }
  }

  async create() {
    const job = await post("/v1/fine_tuning/jobs", this.body());
    notice("The job is in the queue.");
    location.hash = "#/jobs/" + job.id;
  }
}

export function showSubmit(signal) {
  return new Submit(signal).element;
}
