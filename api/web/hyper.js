// The hyperparameters as a form: empty fields are left to redd, which says what it would take.
import {field, h, select} from "./dom.js";

const fields = [
  {
    name: "preset",
    label: "Recipe",
    options: ["none", "paper"],
    hint: "paper: as RED's authors trained this family.",
  },
  {name: "n_epochs", label: "Epochs", step: 1},
  {name: "batch_size", label: "Rows a step", step: 1},
  {name: "learning_rate", label: "Learning rate", hint: "Large for RED: about 0.03."},
  {name: "lr_scheduler", label: "Schedule", options: ["linear", "cosine", "constant"]},
  {name: "warmup_ratio", label: "Warm-up, share of steps"},
  {name: "weight_decay", label: "Weight decay"},
  {name: "max_grad_norm", label: "Longest gradient", hint: "0: no clipping."},
  {name: "dropout", label: "Dropout of the head", kinds: ["encoder"]},
  {
    name: "max_length",
    label: "Longest row, tokens",
    step: 1,
    hint: "0: the context; longer rows are refused.",
  },
  {name: "eval_every", label: "Validate every … steps", step: 1, hint: "0: once an epoch."},
  {
    name: "early_stopping_patience",
    label: "Stop after … validations without gain",
    step: 1,
    hint: "0: never.",
  },
  {name: "keep", label: "Keep the checkpoint", options: ["best", "last"]},
  {name: "problem_type", label: "Labels are", kinds: ["encoder"], options: ["classification", "regression"]},
  {
    name: "metric",
    label: "Best by",
    kinds: ["encoder"],
    options: ["loss", "accuracy", "f1", "matthews", "pearson", "spearman"],
  },
];

function control(f) {
  if (f.options) return select([["", "as redd decides"], ...f.options.map((o) => [o, o])], "");
  return h("input", {
    type: "number",
    min: "0",
    step: f.step ? String(f.step) : "any",
    placeholder: "auto",
    inputmode: "decimal",
  });
}

// {element, values(), resolved(hyperparameters), wrong(param)}; changed() is called on every edit.
export function hyperForm(kind, changed) {
  const mine = fields
    .filter((f) => !f.kinds || f.kinds.includes(kind))
    .map((f) => ({...f, control: control(f)}));
  const seed = h("input", {type: "number", min: "0", step: "1", placeholder: "drawn"});
  const element = h(
    "details",
    {},
    h("summary", {}, "Hyperparameters"),
    h(
      "div",
      {class: "fields"},
      mine.map((f) => field(f.label, f.control, f.hint)),
      field("Seed", seed, "The same seed gives the same bytes."),
    ),
  );
  element.addEventListener("input", changed);
  return {
    element,
    values() {
      const hyper = {};
      for (const f of mine) {
        const v = f.control.value;
        if (v !== "") hyper[f.name] = f.options ? v : Number(v);
      }
      return {hyper, seed: seed.value === "" ? undefined : Number(seed.value)};
    },
    resolved(hyper) {
      for (const f of mine) {
        const v = hyper[f.name];
        if (f.options) f.control.options[0].textContent = v && v !== "auto" ? `auto: ${v}` : "auto";
        else f.control.placeholder = typeof v === "number" ? `auto: ${Number(v.toPrecision(3))}` : "auto";
      }
    },
    wrong(param) {
      const name = (param || "").replace("hyperparameters.", "");
      for (const f of mine) {
        if (f.name === name) element.open = true;
        f.control.setAttribute("aria-invalid", String(f.name === name));
      }
    },
  };
}
