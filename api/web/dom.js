// Elements, made and changed; notices.

const NOTICE_MS = 6000;

// h("a", {class: "x", href: "#/", onclick: f, aria: {label: "y"}}, child, "text", [more], null)
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "aria") for (const [k, v] of Object.entries(value)) e.setAttribute("aria-" + k, v);
    else if (name === "value" || name === "checked") e[name] = value;
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

export function svg(tag, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// Set the text only when it differs, so that selections and screen readers are left alone.
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// Bring the children of list in line with items: one element a key, kept as long as the key stays.
export function keyed(list, items, keyOf, make, update) {
  const have = list.keyed || (list.keyed = new Map());
  const keys = new Set(items.map(keyOf));
  for (const [key, e] of have) {
    if (keys.has(key)) continue;
    e.remove();
    have.delete(key);
  }
  items.forEach((item, i) => {
    const key = keyOf(item);
    let e = have.get(key);
    if (!e) have.set(key, (e = make(item)));
    if (update) update(e, item);
    if (list.children[i] !== e) list.insertBefore(e, list.children[i] || null);
  });
}

const shown = document.getElementById("notice");
const spoken = document.getElementById("spoken");
let noticeTimer;
// Said to everyone: shown for a while, and read out. What lies outside an open dialog is neither.
export function notice(text, bad = false) {
  const host = document.querySelector("dialog[open]") || document.body;
  if (shown.parentNode !== host) host.append(shown);
  clearTimeout(noticeTimer);
  shown.textContent = text;
  shown.classList.toggle("bad", bad);
  noticeTimer = setTimeout(() => (shown.textContent = ""), bad ? 2 * NOTICE_MS : NOTICE_MS);
}

// Said to those who cannot see it happen.
export function announce(text) {
  spoken.textContent = text;
}

// A button that cannot be pressed again while its work is under way; failures are said.
export function action(label, work, props = {}) {
  const button = h("button", {type: "button", ...props}, label);
  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    try {
      await work(button);
    } catch (e) {
      if (e.name !== "AbortError") notice(e.message, true);
    } finally {
      button.ariaDisabled = null;
    }
  });
  return button;
}

let ids = 0;
// A labelled control. hint is text beneath it, spoken with it.
export function field(label, control, hint) {
  control.id = control.id || "f" + ++ids;
  const note = hint ? h("p", {class: "hint", id: control.id + "-hint"}, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", {class: "field"}, h("label", {for: control.id}, label), control, note);
}

export function select(options, value, props = {}) {
  const e = h(
    "select",
    props,
    options.map((o) => h("option", {value: o[0]}, o[1])),
  );
  e.value = value;
  return e;
}

// Boxes under a legend, of [value, label, checked].
export function checks(legend, items, hint) {
  const boxes = items.map(([value, label, on]) => ({
    value,
    box: h("input", {type: "checkbox", checked: on}),
    label,
  }));
  const element = h(
    "fieldset",
    {class: "field"},
    h("legend", {}, legend),
    boxes.map((b) => h("label", {class: "check"}, b.box, b.label)),
    hint ? h("p", {class: "hint"}, hint) : null,
  );
  return {element, values: () => boxes.filter((b) => b.box.checked).map((b) => b.value)};
}

export function copyButton(text, what) {
  return action(
    "Copy",
    async () => {
      await navigator.clipboard.writeText(text());
      notice(what + " copied.");
    },
    {class: "small", aria: {label: "Copy " + what.toLowerCase()}},
  );
}

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const a = h("a", {href: url, download: name});
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
