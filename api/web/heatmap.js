// How far each layer was edited: a square for every module, the stronger the larger the edit.
import {h, setText} from "./dom.js";
import {short} from "./format.js";

const parts = [
  {name: "scale", title: "Scale, away from 1"},
  {name: "bias", title: "Bias, away from 0"},
  {name: "ln_weight", title: "Layer norm's weight, away from 1"},
  {name: "ln_bias", title: "Layer norm's bias, away from 0"},
];

// The row of the map that a module belongs to: layers run along it.
function rowOf(edit) {
  const below = edit.site.match(/.*\.\d+\.(.+)$/);
  const tail = below ? below[1] : edit.position;
  const side =
    edit.site.startsWith("encoder.") && edit.site.includes(".block.")
      ? "encoder "
      : edit.site.startsWith("decoder.")
        ? "decoder "
        : "";
  return side + tail;
}

function map(edits, part, readout) {
  const rows = [...new Set(edits.map(rowOf))];
  const layers = [...new Set(edits.map((e) => e.layer))].sort((a, b) => a - b);
  const most = edits.reduce((a, e) => Math.max(a, e[part.name] ? e[part.name].rms : 0), 0);
  const cell = (row, layer) => {
    const e = edits.find((one) => one.layer === layer && rowOf(one) === row);
    if (!e || !e[part.name]) return h("td", {}, h("span", {class: "sr"}, "not edited"));
    const s = e[part.name];
    const td = h("td", {class: "heat"}, h("span", {class: "sr"}, short(s.rms)));
    td.style.setProperty("--heat", String(most ? s.rms / most : 0));
    td.addEventListener("pointerenter", () =>
      setText(
        readout,
        `Layer ${layer}, ${row}: ${part.name.replace("_", " ")} rms ${short(s.rms)}, largest ${short(s.max)}, mean ${short(s.mean)}`,
      ),
    );
    return td;
  };
  const every = Math.max(1, Math.ceil(layers.length / 12));
  return h(
    "div",
    {class: "heatmap"},
    h(
      "table",
      {},
      h("caption", {}, part.title, h("span", {class: "muted"}, ` · rms up to ${short(most)}`)),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", {scope: "col"}, h("span", {class: "sr"}, "Module")),
          layers.map((l, i) =>
            h("th", {scope: "col"}, i % every ? h("span", {class: "sr"}, String(l)) : String(l)),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((r) =>
          h(
            "tr",
            {},
            h(
              "th",
              {scope: "row"},
              r.split(/(?<=[._])/).flatMap((w) => [h("wbr"), w]),
            ),
            layers.map((l) => cell(r, l)),
          ),
        ),
      ),
    ),
  );
}

function numbers(edits) {
  const head = ["Module", "Scale rms", "Scale largest", "Bias rms", "Bias largest"];
  return h(
    "details",
    {},
    h("summary", {}, "Numbers"),
    h(
      "div",
      {class: "scroll", tabindex: "0", role: "region", aria: {label: "Sizes of the edits"}},
      h(
        "table",
        {class: "numbers"},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((t) => h("th", {scope: "col"}, t)),
          ),
        ),
        h(
          "tbody",
          {},
          edits.map((e) =>
            h(
              "tr",
              {},
              h("th", {scope: "row"}, e.site),
              [e.scale.rms, e.scale.max, e.bias.rms, e.bias.max].map((v) => h("td", {}, short(v))),
            ),
          ),
        ),
      ),
    ),
  );
}

// edits: the data of GET /v1/adapters/ID/edits.
export function heatmap(edits) {
  if (!edits.length) return h("p", {class: "muted"}, "No module is edited: it is a head alone.");
  const readout = h(
    "p",
    {class: "readout muted"},
    "The stronger the colour, the further. Point at a square to read it.",
  );
  return h(
    "div",
    {class: "heatmaps"},
    parts.filter((p) => edits.some((e) => e[p.name])).map((p) => map(edits, p, readout)),
    readout,
    numbers(edits),
  );
}
