// Aliases: names that stay while the adapter behind them is switched.
import {del, get, put} from "./api.js";
import {confirm} from "./dialog.js";
import {action, field, h, notice, select} from "./dom.js";
import {modelShort} from "./format.js";

function aliasRow(alias, options, changed) {
  const known = options.some((o) => o[0] === alias.model)
    ? options
    : [[alias.model, modelShort(alias.model)], ...options];
  const choice = select(known, alias.model, {aria: {label: `Adapter behind ${alias.id}`}});
  const apply = action(
    "Switch",
    async () => {
      await put(`/v1/aliases/${encodeURIComponent(alias.id)}`, {model: choice.value});
      notice(`${alias.id} now answers from ${modelShort(choice.value)}.`);
      await changed();
    },
    {disabled: true, aria: {label: `Switch ${alias.id}`}},
  );
  choice.addEventListener("change", () => (apply.disabled = choice.value === alias.model));
  return h(
    "li",
    {class: "card item"},
    h("h3", {}, alias.id),
    h(
      "div",
      {class: "buttons"},
      choice,
      apply,
      action(
        "Delete",
        async () => {
          if (
            !(await confirm(
              `Delete the alias ${alias.id}?`,
              "Requests that use this name get an error from now on. The adapter stays.",
              "Delete",
            ))
          )
            return;
          await del(`/v1/aliases/${encodeURIComponent(alias.id)}`);
          notice(`The alias ${alias.id} is deleted.`);
          await changed();
        },
        {class: "danger", aria: {label: `Delete the alias ${alias.id}`}},
      ),
    ),
  );
}

function addForm(options, changed) {
  const name = h("input", {maxlength: "64", autocomplete: "off", placeholder: "support"});
  const choice = select(options, options[0][0]);
  return h(
    "div",
    {class: "fields addalias"},
    field("New alias", name),
    field("answers from", choice),
    h(
      "div",
      {class: "buttons"},
      action("Add alias", async () => {
        const alias = await put(`/v1/aliases/${encodeURIComponent(name.value.trim() || " ")}`, {
          model: choice.value,
        });
        notice(`${alias.id} answers from ${modelShort(alias.model)}.`);
        await changed();
      }),
    ),
  );
}

export async function aliasSection(models, signal) {
  const box = h("section", {aria: {labelledby: "aliases-title"}});
  const options = models.map((m) => [m.id, modelShort(m.id)]);
  const changed = async () => {
    const aliases = (await get("/v1/aliases", signal)).data;
    box.replaceChildren(
      h("h2", {id: "aliases-title"}, "Aliases"),
      h(
        "p",
        {class: "muted"},
        "A stable name for your clients. Switching is atomic; requests under way finish on the adapter they began with.",
      ),
      h(
        "ul",
        {class: "plain items"},
        aliases.map((a) => aliasRow(a, options, changed)),
      ),
      options.length ? addForm(options, changed) : "",
    );
  };
  await changed();
  return box;
}
