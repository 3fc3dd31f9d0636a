// The dashboard over an encoder, without keys: a head is trained from labelled texts, and the playground
// classifies.
import assert from "node:assert/strict";
import path from "node:path";
import {after, before, test} from "node:test";

import {launch, open} from "./browser.mjs";
import {startDaemon} from "./daemon.mjs";
import {drop} from "./files.mjs";

const base = path.resolve(process.env.DEMO ?? "tests/demo", "../goldens/roberta");
const rows =
  Array.from({length: 24}, (_, i) =>
    JSON.stringify(
      i % 2 ? {text: `a fine day ${i}`, label: "sunny"} : {text: `a dark storm ${i}`, label: "rainy"},
    ),
  ).join("\n") + "\n";

let daemon;
let browser;

before(async () => {
  daemon = await startDaemon("--model", base, "--model-name", "weather", "--no-auth");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test("labelled texts become a classifier, and the playground asks it", async () => {
  const tab = await open(browser, daemon.url, null);
  const {page} = tab;
  await page.getByText('"label"').waitFor();
  assert.equal(await page.getByRole("button", {name: "Sign out"}).count(), 0);
  await drop(page, {"weather.jsonl": rows});
  await page.getByText("The data is fine.").waitFor();
  const start = page.getByRole("button", {name: "Start training"});
  await page.waitForFunction((b) => !b.disabled, await start.elementHandle());
  await start.click();
  await page.getByRole("link", {name: "Try it", exact: true}).click();
  await page.getByRole("heading", {name: "Playground"}).waitFor();
  await page.waitForFunction(() => document.querySelector("textarea")?.value);
  assert.match(await page.getByLabel("Text", {exact: true}).inputValue(), /^a /);
  await page.getByRole("button", {name: "Classify"}).click();
  await page.locator(".probs li").nth(1).waitFor();
  const shown = (await page.locator(".probs li").allTextContents()).join();
  assert.match(shown, /sunny/);
  assert.match(shown, /rainy/);
  await tab.fit("classify");
  await tab.close();
});
