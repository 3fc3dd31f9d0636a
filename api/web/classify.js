// The playground of an encoder: a text, the labels an adapter gives it.
import {get, post} from "./api.js";
import {choices, strengthSlider} from "./choose.js";
import {field, h, notice, select} from "./dom.js";
import {examplesOf} from "./example.js";
import {short} from "./format.js";

// One bar a label; a regression has one number and no bar.
function labelRows(data, labels) {
  const best = data.probs.indexOf(Math.max(...data.probs));
  const names = labels || data.probs.map((_, i) => (i === best ? data.label : `label ${i}`));
  if (data.probs.length < 2) return [h("li", {}, h("strong", {}, short(data.probs[0])))];
  return data.probs.map((p, i) => {
    const bar = h("span", {class: "bar", aria: {hidden: "true"}}, h("span", {}));
    bar.firstChild.style.width = `${100 * p}%`;
    return h(
      "li",
      {class: i === best ? "best" : ""},
      h("span", {class: "row"}, h("span", {}, names[i]), h("span", {}, `${(100 * p).toFixed(1)} %`)),
      bar,
    );
  });
}

export function showClassify(wanted, signal) {
  const text = h("textarea", {rows: "3", required: true});
  const pair = h("input", {autocomplete: "off"});
  const model = select([], "");
  const strength = strengthSlider();
  const list = h("ul", {class: "plain probs", aria: {live: "polite"}});
  const result = h("section", {class: "card", hidden: true}, h("h2", {}, "Labels"), list);
  const example = h("button", {type: "button", class: "small", hidden: true}, "Another example");
  const form = h(
    "form",
    {class: "card"},
    field("Text", text),
    field("Second text, for pairs", pair),
    h("div", {class: "fields"}, field("Adapter", model), strength.element),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Classify"), example),
  );
  let examples = [];
  let labels = null;

  const run = async () => {
    try {
      const input = pair.value ? [[text.value, pair.value]] : [text.value];
      const answer = await post(
        "/v1/classify",
        {model: model.value, input, adapter_strength: strength.value()},
        signal,
      );
      list.replaceChildren(...labelRows(answer.data[0], labels));
      result.hidden = false;
    } catch (e) {
      if (e.name !== "AbortError") notice(e.message, true);
    }
  };
  const use = (i) => {
    text.value = examples[i].prompt;
    pair.value = examples[i].pair || "";
  };
  const chosen = async () => {
    const behind = model.selectedOptions[0].dataset.model;
    // What is still in training has no manifest yet.
    labels = behind.endsWith(":live") ? null : await get(`/v1/models/${encodeURIComponent(behind)}`, signal);
    labels = labels && labels.adapter.labels;
    examples = await examplesOf(behind, signal).catch(() => []);
    example.hidden = !examples.length;
    if (examples.length && !text.value) use(0);
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    run();
  });
  example.addEventListener("click", () => use(Math.floor(Math.random() * examples.length)));
  model.addEventListener("change", () => chosen().catch((e) => notice(e.message, true)));
  strength.input.addEventListener("change", () => !result.hidden && run());
  choices(wanted, signal)
    .then((options) => {
      model.append(...options);
      if (!options.length)
        return form.prepend(
          h(
            "p",
            {class: "warn"},
            "There is no adapter yet. A base of this kind answers once a head is trained.",
          ),
        );
      model.value = wanted || options[0].value;
      return chosen();
    })
    .catch((e) => e.name !== "AbortError" && notice(e.message, true));
  return h("div", {class: "stack"}, form, result);
}
