// What redd says of the data before it is trained on: rows, tokens, time, and every line that will not do.
import {h} from "./dom.js";
import {count, duration, plural} from "./format.js";

const LINES = 12;

function faultTable(report, title) {
  const shown = report.faults.slice(0, LINES);
  const more = report.n_faults - shown.length;
  return h(
    "div",
    {class: "faults"},
    h("h2", {}, `${title}: ${plural(report.n_faults, "bad line")}`),
    h(
      "div",
      {
        class: "scroll",
        tabindex: "0",
        role: "region",
        aria: {label: `Bad lines of the ${title.toLowerCase()}`},
      },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "Line"), h("th", {scope: "col"}, "Reason"))),
        h(
          "tbody",
          {},
          shown.map((f) => h("tr", {}, h("th", {scope: "row"}, String(f.line)), h("td", {}, f.reason))),
        ),
      ),
    ),
    more > 0 ? h("p", {class: "muted"}, `and ${count(more)} more`) : null,
  );
}

function lines(numbers, n) {
  const shown = numbers.slice(0, LINES).join(", ");
  return shown + (n > Math.min(LINES, numbers.length) ? ", …" : "");
}

function warnings(report, title) {
  const out = [];
  if (report.n_truncated)
    out.push(
      h(
        "p",
        {class: "warn"},
        `${title}: ${plural(report.n_truncated, "row")} will be cut short: line ${lines(report.truncated_lines, report.n_truncated)}`,
      ),
    );
  if (report.n_without_loss)
    out.push(
      h(
        "p",
        {class: "warn"},
        `${title}: ${plural(report.n_without_loss, "row")} without anything to learn: line ${lines(report.lines_without_loss, report.n_without_loss)}`,
      ),
    );
  return out;
}

export function preflightReport(p) {
  const files = [
    [p.training_file, "Training file"],
    [p.validation_file, "Validation file"],
  ].filter(([r]) => r);
  const bad = files.filter(([r]) => r.n_faults).map(([r, title]) => faultTable(r, title));
  const number = (label, value) => h("div", {class: "stat"}, h("dt", {}, label), h("dd", {}, value));
  return h(
    "div",
    {class: "preflight"},
    p.valid ? h("p", {class: "good"}, "The data is fine.") : null,
    !p.valid && !bad.length
      ? h("p", {class: "error"}, p.error ? p.error.message : "The data cannot be trained on.")
      : null,
    p.rows > 0 &&
      h(
        "dl",
        {class: "stats"},
        number("Rows", count(p.rows)),
        number("Tokens", count(p.tokens)),
        number("Tokens with loss", count(p.trained_tokens)),
        p.valid ? number("Steps", count(p.steps)) : null,
        p.valid && p.estimated_seconds > 0 ? number("Expected time", duration(p.estimated_seconds)) : null,
      ),
    bad,
    files.flatMap(([r, title]) => warnings(r, title)),
  );
}
