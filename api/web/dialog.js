// Questions that stop everything else: the browser's own dialog keeps the focus and closes on Escape.
import {h} from "./dom.js";

let ids = 0;

// Show body under a title; buttons [{label, value, class}]. Resolves to the value pressed, or null.
export function ask(title, body, buttons) {
  const id = "dialog" + ++ids;
  return new Promise((resolve) => {
    let value = null;
    const dialog = h("dialog", {aria: {labelledby: id}}, h("h2", {id}, title), body);
    const row = h("div", {class: "buttons"});
    for (const b of buttons) {
      row.append(
        h(
          "button",
          {
            type: "button",
            class: b.class,
            disabled: b.disabled,
            onclick: () => {
              value = b.value;
              dialog.close();
            },
          },
          b.label,
        ),
      );
    }
    dialog.append(row);
    dialog.addEventListener("close", () => {
      document.body.append(...dialog.querySelectorAll(".toast"));
      dialog.remove();
      resolve(value);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function confirm(title, text, verb) {
  return ask(title, h("p", {}, text), [
    {label: "Keep it", value: null},
    {label: verb, value: true, class: "danger"},
  ]);
}

// For what cannot be undone and is large: the name must be typed.
export async function confirmByName(title, text, name, verb) {
  const input = h("input", {
    autocomplete: "off",
    spellcheck: "false",
    aria: {label: `Type ${name} to confirm`},
  });
  const body = h(
    "div",
    {},
    h("p", {}, text),
    h("p", {}, "Type ", h("strong", {}, name), " to confirm."),
    input,
  );
  input.addEventListener("input", () => {
    const button = input.closest("dialog").querySelector(".danger");
    button.disabled = input.value !== name;
  });
  return ask(title, body, [
    {label: "Keep it", value: null},
    {label: verb, value: true, class: "danger", disabled: true},
  ]);
}
