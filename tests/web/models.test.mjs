// What becomes of adapters: compared by streaming, mapped, aliased, downloaded, deleted; and all views on all
// screens.
import assert from "node:assert/strict";
import fs from "node:fs";
import {after, before, test} from "node:test";

import {launch, open, screens} from "./browser.mjs";
import {startDaemon} from "./daemon.mjs";
import {rows} from "./files.mjs";

let daemon;
let browser;
let key;
let model;
let job;

async function train(suffix, text, epochs, positions) {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", new Blob([text]), suffix + ".jsonl");
  const file = (await daemon.call(key, "POST", "/v1/files", form)).json.id;
  const made = (
    await daemon.call(key, "POST", "/v1/fine_tuning/jobs", {
      model: "redd-base",
      training_file: file,
      suffix,
      seed: 1,
      hyperparameters: {n_epochs: epochs},
      adapter: {type: "red", positions},
    })
  ).json;
  const stream = await fetch(`${daemon.url}/v1/fine_tuning/jobs/${made.id}/events?stream=true`, {
    headers: {authorization: `Bearer ${key}`},
  });
  await stream.text();
  return (await daemon.call(key, "GET", `/v1/fine_tuning/jobs/${made.id}`)).json;
}

before(async () => {
  daemon = await startDaemon();
  key = await daemon.tenant("ann");
  job = await train("pirate", rows(160), 3, ["ffn"]);
  model = job.fine_tuned_model;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test("base and adapter answer side by side as they write; strength 0 is the base", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await tab.go("playground/" + encodeURIComponent(model));
  const prompt = page.getByLabel("Prompt");
  await page.waitForFunction(() => document.querySelector("textarea")?.value);
  assert.match(await prompt.inputValue(), /\n$/);
  await prompt.fill("Tell me about the old bridge.");
  await page.getByText("trained on prompts that end with a line break").waitFor();
  await prompt.fill("Tell me about the old bridge.\n");
  await page.evaluate(() => {
    window.grown = 0;
    new MutationObserver((all) => (window.grown += all.length)).observe(
      document.querySelectorAll(".output")[1],
      {childList: true},
    );
  });
  await prompt.press("Control+Enter");
  await page.getByText("Both answers are there.").waitFor({state: "attached"});
  const [base, tuned] = await page.locator(".output").allTextContents();
  assert.ok(base.length > 20 && tuned.length > 20);
  assert.notEqual(base, tuned);
  assert.ok((await page.evaluate(() => window.grown)) > 5, "the answer came in pieces");
  await tab.fit("playground");

  const slider = page.getByLabel("Strength");
  await slider.focus();
  await page.keyboard.press("Home");
  await page.getByText("the same as the base").waitFor();
  assert.equal(await slider.getAttribute("aria-valuetext"), "0: the base");
  assert.equal((await page.locator(".output").allTextContents())[1], base);
  await tab.close();
});

test("a second adapter is blended in by its share", async () => {
  const other = (await train("clerk", rows(40), 2, ["ffn"])).fine_tuned_model;
  const prompt = "Tell me about the old bridge.\n";
  const asked = async (weight) =>
    (
      await daemon.call(key, "POST", "/v1/completions", {
        model,
        prompt,
        max_tokens: 128,
        temperature: 0,
        adapters: [
          {model, weight: 1 - weight},
          {model: other, weight},
        ],
      })
    ).json.choices[0].text;
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  const answer = async () => {
    await page.getByText("Both answers are there.").waitFor({state: "attached"});
    await page.waitForFunction(() => document.querySelectorAll(".output")[1].ariaBusy === "false");
    return (await page.locator(".output").allTextContents())[1];
  };
  await tab.go("playground/" + encodeURIComponent(model));
  await page.waitForFunction(() => document.querySelector("textarea")?.value);
  await page.getByLabel("Prompt").fill(prompt);
  const share = page.getByLabel("Its share");
  assert.ok(await share.isHidden());
  await page.getByLabel("Blended with").selectOption(other);
  await page.getByRole("button", {name: "Run"}).click();
  assert.equal(await answer(), await asked(0.5));
  await page.getByRole("heading", {name: / and clerk/}).waitFor();
  await tab.fit("playground-blend");
  await share.focus();
  await page.keyboard.press("End");
  assert.equal(await share.getAttribute("aria-valuetext"), "100 %");
  await page.waitForFunction(
    (text) => document.querySelectorAll(".output")[1].textContent === text,
    await asked(1),
  );
  await tab.close();
});

test("the map shows each edited layer", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await tab.go("models/" + encodeURIComponent(model));
  await page.getByText("Scale, away from 1").waitFor();
  assert.equal(await page.locator(".heat").count(), 2 * 8);
  await page.locator(".heat").first().hover();
  assert.match(await page.locator(".readout").textContent(), /^Layer 0, mlp\.down_proj: scale rms [\d.]+/);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", {name: /^Download ft|^Download pirate/}).click();
  const file = fs.readFileSync(await (await saved).path());
  assert.ok(file.includes("delta_vector.activation_scaling"));
  await tab.close();
});

test("an alias is made, switched and deleted; an adapter is deleted after a question", async () => {
  const other = (await train("short", rows(20), 1, ["ffn", "attn", "qkv"])).fine_tuned_model;
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await tab.go("models");
  await page.getByLabel("New alias").fill("support");
  await page.getByLabel("answers from").selectOption(model);
  await page.getByRole("button", {name: "Add alias"}).click();
  await page.getByLabel("Adapter behind support").selectOption(other);
  await page.getByRole("button", {name: "Switch support"}).click();
  await page.getByText(/support now answers from/).waitFor();
  assert.equal((await daemon.call(key, "GET", "/v1/aliases/support")).json.model, other);
  await tab.fit("models-alias");
  await page.getByRole("button", {name: "Delete the alias support"}).click();
  await page.getByRole("dialog").getByRole("button", {name: "Delete"}).click();
  await page.getByText("The alias support is deleted.").waitFor();
  await tab.go("models/" + encodeURIComponent(other));
  await page.getByText("Scale, away from 1").waitFor();
  assert.equal(await page.locator(".heat").count(), 2 * 8 * 5);
  await tab.fit("model-all-positions");
  await page.getByRole("button", {name: "Delete"}).click();
  await page.getByRole("dialog").getByRole("button", {name: "Delete"}).click();
  await page.getByRole("heading", {name: "Models"}).waitFor();
  assert.equal((await daemon.call(key, "GET", `/v1/models/${other}`)).status, 404);
  await tab.close();
});

for (const screen of Object.keys(screens)) {
  test(`every view is fit for all: ${screen}`, async () => {
    const tab = await open(browser, daemon.url, key, screen);
    const {page} = tab;
    await page.locator(".jobcard").first().waitFor();
    await tab.fit("jobs");
    await tab.go("jobs/" + job.id);
    await page.locator("h1 .pill.succeeded").waitFor();
    await page.waitForFunction(() => document.querySelector("path.raw")?.getAttribute("d").length > 100);
    await page.getByText("Settings").click();
    await tab.fit("job");
    await tab.go("models");
    await page.locator(".item").first().waitFor();
    await tab.fit("models");
    await tab.go("models/" + encodeURIComponent(model));
    await page.locator(".heat").first().waitFor();
    await page.getByText("Numbers", {exact: true}).click();
    await tab.fit("model");
    await tab.go("playground/" + encodeURIComponent(model));
    await page.getByText("Sampling").click();
    await page.getByLabel("Most tokens").fill("40");
    await page.getByRole("button", {name: "Run"}).click();
    await page.getByText("Both answers are there.").waitFor({state: "attached"});
    await tab.fit("playground-run");
    await tab.close();
  });
}
