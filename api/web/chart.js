// A job's losses over its steps, drawn as SVG while they come in: training (each step faint, smoothed bold),
// validation, and the learning rate in a strip of its own. The arrow keys walk along it.
import {h, setText, svg} from "./dom.js";
import {short} from "./format.js";

const HEIGHT = 230;
const STRIP = 44;
const GAP = 30;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
const TABLE_ROWS = 20;
const CHEAP_MS = 8;

// Round values between lo and hi, some n of them.
export function ticks(lo, hi, n) {
  const raw = (hi - lo) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let i = Math.ceil(lo / step); i * step <= hi * (1 + 1e-9); i++)
    out.push(Number((i * step).toPrecision(12)));
  return out;
}

function logTicks(lo, hi) {
  const out = [];
  for (let p = Math.floor(Math.log10(lo)); p <= Math.log10(hi); p++)
    for (const m of [1, 2, 5]) if (m * 10 ** p >= lo && m * 10 ** p <= hi) out.push(m * 10 ** p);
  return out.length >= 2 ? out : ticks(lo, hi, 3).filter((t) => t > 0);
}

// Points that fall on the same pixel become their lowest and highest.
function thin(points) {
  const out = [];
  for (let i = 0; i < points.length;) {
    const column = Math.round(points[i][0]);
    let low = points[i];
    let high = points[i];
    for (; i < points.length && Math.round(points[i][0]) === column; i++) {
      if (points[i][1] < low[1]) low = points[i];
      if (points[i][1] > high[1]) high = points[i];
    }
    out.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  return out;
}

function path(points) {
  return points.length
    ? "M" +
        thin(points)
          .map((p) => p[0].toFixed(1) + "," + p[1].toFixed(1))
          .join("L")
    : "";
}

// Exponential mean without the bias of its start; as long as an eightieth of the run.
function smooth(rows, total) {
  const keep = Math.min(0.985, Math.max(0, 1 - 80 / total));
  let mean = 0;
  let weight = 0;
  for (const r of rows) {
    if (r.train_loss === undefined) continue;
    mean = keep * mean + (1 - keep) * r.train_loss;
    weight = keep * weight + (1 - keep);
    r.smooth = mean / weight;
  }
}

function describe(r) {
  const parts = [`step ${r.step}`];
  if (r.train_loss !== undefined) parts.push(`training ${short(r.train_loss)}`);
  if (r.valid_loss !== undefined) parts.push(`validation ${short(r.valid_loss)}`);
  for (const [name, value] of Object.entries(r))
    if (name.startsWith("valid_") && name !== "valid_loss")
      parts.push(`${name.slice(6).replaceAll("_", " ")} ${short(value)}`);
  if (r.learning_rate !== undefined) parts.push(`learning rate ${short(r.learning_rate)}`);
  return parts.join(" · ");
}

function numbersTable(rows) {
  const every = Math.max(1, Math.ceil(rows.length / TABLE_ROWS));
  const shown = rows.filter((r, i) => i % every === 0 || i === rows.length - 1 || r.valid_loss !== undefined);
  const cell = (x) => h("td", {}, short(x));
  return h(
    "table",
    {class: "numbers"},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Step", "Training", "Validation", "Learning rate"].map((t) => h("th", {scope: "col"}, t)),
      ),
    ),
    h(
      "tbody",
      {},
      shown.map((r) =>
        h(
          "tr",
          {},
          h("th", {scope: "row"}, String(r.step)),
          cell(r.train_loss),
          cell(r.valid_loss),
          cell(r.learning_rate),
        ),
      ),
    ),
  );
}

class LossChart {
  constructor() {
    this.rows = [];
    this.byStep = new Map();
    this.total = 1;
    this.at = null; // row pointed at; null = the last
    this.log = false;
    this.cost = 0; // of the last drawing, ms
    this.svg = svg("svg", {class: "plot", "aria-hidden": "true"});
    this.readout = h("p", {class: "readout muted"});
    this.scrub = h("input", {
      type: "range",
      class: "scrub",
      min: "0",
      max: "0",
      value: "0",
      aria: {label: "Loss by step"},
    });
    this.validKey = h("span", {class: "key valid", hidden: true}, "validation loss");
    this.logBox = h("input", {type: "checkbox"});
    // For the caller to place.
    this.table = h("details", {}, h("summary", {}, "Numbers"));
    this.area = h("div", {class: "plotarea"}, this.svg, this.scrub);
    this.element = h(
      "figure",
      {class: "chart"},
      h(
        "figcaption",
        {class: "legend"},
        h("span", {class: "key train"}, "training loss"),
        this.validKey,
        h("label", {class: "check"}, this.logBox, "log scale"),
      ),
      this.area,
      this.readout,
    );
    this.element.hidden = this.table.hidden = true; // until there is a step to show
    this.listen();
  }

  listen() {
    this.logBox.addEventListener("change", () => {
      this.log = this.logBox.checked;
      this.draw();
    });
    this.scrub.addEventListener("input", () => this.point(this.rows[Number(this.scrub.value)]));
    this.scrub.addEventListener("blur", () => this.point(null));
    this.area.addEventListener("pointermove", (e) =>
      this.pointAt(e.clientX - this.area.getBoundingClientRect().left),
    );
    this.area.addEventListener("pointerleave", () => this.point(null));
    this.table.addEventListener("toggle", () => this.fillTable());
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  push(data) {
    let row = this.byStep.get(data.step);
    if (!row) {
      row = {step: data.step};
      this.byStep.set(data.step, row);
      this.rows.push(row);
      if (this.rows.length > 1 && this.rows[this.rows.length - 2].step > row.step)
        this.rows.sort((a, b) => a.step - b.step);
    }
    for (const name of ["train_loss", "learning_rate", "epoch"])
      if (data[name] !== undefined) row[name] = data[name];
    for (const name of Object.keys(data)) if (name.startsWith("valid_")) row[name] = data[name];
    this.total = data.total_steps || this.total;
    this.element.hidden = this.table.hidden = false;
    this.drawSoon();
  }

  // With the next frame; a drawing that takes long is done less often.
  drawSoon() {
    if (this.frame) return;
    this.frame =
      this.cost < CHEAP_MS
        ? requestAnimationFrame(() => this.draw())
        : setTimeout(() => this.draw(), 8 * this.cost);
  }

  showsValidation(yes) {
    this.validKey.hidden = !yes;
  }

  last(name) {
    for (let i = this.rows.length - 1; i >= 0; i--)
      if (this.rows[i][name] !== undefined) return this.rows[i][name];
    return undefined;
  }

  point(row) {
    this.at = row;
    this.drawCursor();
  }

  pointAt(x) {
    if (!this.rows.length || !this.x) return;
    const step = ((x - LEFT) / (this.width - LEFT - RIGHT)) * Math.max(1, this.total - 1) + 1;
    let lo = 0;
    let hi = this.rows.length - 1;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.rows[mid].step < step) lo = mid + 1;
      else hi = mid;
    }
    this.point(this.rows[lo]);
  }

  scales() {
    const values = this.rows
      .flatMap((r) => [r.train_loss, r.valid_loss])
      .filter((v) => v !== undefined && Number.isFinite(v));
    let lo = values.reduce((a, v) => Math.min(a, v), Infinity);
    let hi = values.reduce((a, v) => Math.max(a, v), -Infinity);
    if (lo === hi || !values.length) [lo, hi] = [(lo || 0) - 0.5, (hi || 0) + 0.5];
    this.useLog = this.log && lo > 0;
    const margin = (hi - lo) * 0.04;
    if (!this.useLog) [lo, hi] = [lo >= 0 ? Math.max(0, lo - margin) : lo - margin, hi + margin];
    const f = this.useLog ? Math.log : (v) => v;
    this.lo = lo;
    this.hi = hi;
    this.x = (step) => LEFT + ((step - 1) / Math.max(1, this.total - 1)) * (this.width - LEFT - RIGHT);
    this.y = (v) => TOP + (1 - (f(v) - f(lo)) / (f(hi) - f(lo))) * (HEIGHT - TOP);
    const top = this.rows.reduce((a, r) => Math.max(a, r.learning_rate || 0), 0) || 1;
    this.rateTop = top;
    this.yRate = (v) => HEIGHT + GAP + (1 - v / top) * STRIP;
  }

  grid() {
    const out = [];
    const right = this.width - RIGHT;
    const bottom = HEIGHT + GAP + STRIP;
    const text = (x, y, s, anchor) => svg("text", {x, y, "text-anchor": anchor}, s);
    for (const t of this.useLog ? logTicks(this.lo, this.hi) : ticks(this.lo, this.hi, 6)) {
      const y = this.y(t);
      out.push(
        svg("line", {class: "grid", x1: LEFT, x2: right, y1: y, y2: y}),
        text(LEFT - 8, y + 4, String(t), "end"),
      );
    }
    for (const t of ticks(1, Math.max(2, this.total), this.width < 480 ? 4 : 8).filter(
      (v) => Number.isInteger(v) && v > 0,
    ))
      out.push(text(this.x(t), bottom + 16, String(t), "middle"));
    out.push(svg("line", {class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom}));
    out.push(
      text(LEFT - 8, HEIGHT + GAP + 5, String(Number(this.rateTop.toPrecision(2))), "end"),
      text(LEFT, HEIGHT + GAP - 9, "learning rate", "start"),
    );
    return out;
  }

  draw() {
    const began = performance.now();
    this.frame = 0;
    this.width = this.area.clientWidth;
    if (this.width < LEFT + RIGHT + 20) return;
    smooth(this.rows, this.total);
    this.scales();
    const finite = (name) => this.rows.filter((r) => Number.isFinite(r[name]));
    const line = (name, y) => path(finite(name).map((r) => [this.x(r.step), y(r[name])]));
    const valid = finite("valid_loss");
    const total = HEIGHT + GAP + STRIP + BOTTOM;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${total}`);
    this.svg.setAttribute("height", total);
    this.cursor = svg("g", {class: "cursor"});
    this.svg.replaceChildren(
      ...this.grid(),
      svg("path", {class: "raw", d: line("train_loss", this.y)}),
      svg("path", {class: "train", d: line("smooth", this.y)}),
      svg("path", {class: "valid", d: line("valid_loss", this.y)}),
      ...(valid.length <= 80 ? valid : []).map((r) =>
        svg("circle", {class: "valid", r: 3, cx: this.x(r.step), cy: this.y(r.valid_loss)}),
      ),
      svg("path", {class: "rate", d: line("learning_rate", this.yRate)}),
      this.cursor,
    );
    this.scrub.max = String(Math.max(0, this.rows.length - 1));
    this.drawCursor();
    if (this.table.open) this.fillTable();
    this.cost = performance.now() - began;
  }

  drawCursor() {
    const row = this.at || this.rows[this.rows.length - 1];
    if (!row || !this.cursor) return;
    const said = describe(row);
    setText(this.readout, said);
    this.scrub.setAttribute("aria-valuetext", said);
    if (!this.at) this.scrub.value = this.scrub.max;
    this.cursor.replaceChildren();
    const x = this.x(row.step);
    if (this.at) this.cursor.append(svg("line", {x1: x, x2: x, y1: TOP, y2: HEIGHT + GAP + STRIP}));
    if (Number.isFinite(row.smooth))
      this.cursor.append(svg("circle", {class: "train", r: 3.5, cx: x, cy: this.y(row.smooth)}));
  }

  fillTable() {
    if (this.table.open)
      this.table.replaceChildren(
        this.table.firstChild,
        h(
          "div",
          {class: "scroll", tabindex: "0", role: "region", aria: {label: "Numbers of the curve"}},
          numbersTable(this.rows),
        ),
      );
  }
}

export function lossChart() {
  return new LossChart();
}
