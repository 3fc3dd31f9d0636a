// Who is signed in, and signing in.
import {get, key} from "./api.js";
import {field, h} from "./dom.js";

export const needsKey = document.querySelector("meta[name=redd-auth]").content !== "none";

// {admin, tenant, base, version} once loaded.
export let session = null;

export async function load() {
  session = await get("/v1/session");
  return session;
}

export function leave() {
  key.forget();
  session = null;
}

// The form; done() is called once a key was good.
export function signIn(main, done) {
  const input = h("input", {
    type: "password",
    name: "key",
    autocomplete: "off",
    required: true,
    spellcheck: "false",
    placeholder: "sk-redd-…",
  });
  const wrong = h("p", {class: "error", role: "alert"});
  const form = h(
    "form",
    {class: "signin card"},
    h("h1", {tabindex: "-1"}, "Sign in"),
    h(
      "p",
      {class: "muted"},
      "With your API key, or with the admin key to manage tenants. It is kept in this tab only.",
    ),
    field("Key", input),
    wrong,
    h("button", {class: "primary"}, "Sign in"),
  );
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    wrong.textContent = "";
    key.set(input.value.trim());
    try {
      await load();
      done();
    } catch (failure) {
      key.forget();
      wrong.textContent = failure.status === 401 ? "This key is not known here." : failure.message;
      input.select();
    }
  });
  main.replaceChildren(form);
  input.focus();
}
