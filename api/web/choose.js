// Which adapter is asked, and how strongly: the parts that all playgrounds have.
import {all, get} from "./api.js";
import {field, h, setText} from "./dom.js";
import {modelShort} from "./format.js";

// Adapters and aliases one may ask, as options that know the adapter behind them; wanted is among them even
// if it is none of those.
export async function choices(wanted, signal) {
  const models = (await all("/v1/models", signal)).filter((m) => m.parent);
  const aliases = (await get("/v1/aliases", signal)).data;
  const option = (value, words, model) => h("option", {value, "data-model": model}, words);
  const out = [
    ...aliases.map((a) => option(a.id, `${a.id} (alias)`, a.model)),
    ...models.map((m) => option(m.id, modelShort(m.id), m.id)),
  ];
  if (wanted && !out.some((o) => o.value === wanted)) out.unshift(option(wanted, modelShort(wanted), wanted));
  return out;
}

export function strengthSlider() {
  const input = h("input", {type: "range", min: "0", max: "2", step: "0.05", value: "1", list: "strengths"});
  const said = h("output", {class: "said"});
  const words = () => {
    const v = Number(input.value);
    const text = v === 0 ? "0: the base" : v === 1 ? "1: as trained" : v.toFixed(2);
    setText(said, text);
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", words);
  words();
  const element = field("Strength", input);
  element.classList.add("strength");
  element.append(
    said,
    h(
      "datalist",
      {id: "strengths"},
      ["0", "1", "2"].map((v) => h("option", {value: v})),
    ),
  );
  return {element, input, value: () => Number(input.value)};
}
