// What an adapter edits, as a form: positions, parts, layers.
import {checks, field, h} from "./dom.js";

// "0-3, 7" to [0,1,2,3,7]; "" and "all" to "all". Throws on anything else.
export function parseLayers(text) {
  const t = text.trim();
  if (t === "" || t === "all") return "all";
  const out = new Set();
  for (const part of t.split(",")) {
    const m = part.trim().match(/^(\d{1,3})(?:\s*-\s*(\d{1,3}))?$/);
    if (!m) throw new Error(`"${part.trim()}" is neither a layer nor a range such as 0-3.`);
    for (let i = Number(m[1]); i <= Number(m[2] ?? m[1]); i++) out.add(i);
  }
  return [...out].sort((a, b) => a - b);
}

// {element, value()}: undefined when it is redd's default.
export function adapterForm(nLayers, changed) {
  const positions = checks(
    "Positions",
    [
      ["ffn", "feed-forward", true],
      ["attn", "attention output", false],
      ["qkv", "query, key, value", false],
      ["res", "behind the feed-forward residual", false],
      ["attn_res", "behind the attention residual", false],
    ],
    "Feed-forward alone is RED as published; with attention output and query, key, value it is RED++.",
  );
  const parts = checks("Parts", [
    ["scale", "scale", true],
    ["bias", "bias", true],
    ["ln", "a layer norm behind them", false],
  ]);
  const layers = h("input", {placeholder: "all", autocomplete: "off"});
  const element = h(
    "details",
    {},
    h("summary", {}, "What is edited"),
    h(
      "div",
      {class: "fields"},
      positions.element,
      parts.element,
      field("Layers", layers, nLayers ? `0 to ${nLayers - 1}, such as 0-3, 7.` : "Such as 0-3, 7."),
    ),
  );
  element.addEventListener("input", changed);
  return {
    element,
    value() {
      const spec = {
        type: "red",
        positions: positions.values(),
        parts: parts.values(),
        layers: parseLayers(layers.value),
      };
      const plain =
        spec.positions.join() === "ffn" && spec.parts.join() === "scale,bias" && spec.layers === "all";
      return plain ? undefined : spec;
    },
  };
}
