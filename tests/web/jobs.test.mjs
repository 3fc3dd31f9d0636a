// A job from the drop of its file to its adapter, in the browser.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";

import {launch, open} from "./browser.mjs";
import {startDaemon} from "./daemon.mjs";
import {drop, pirate, rows} from "./files.mjs";

let daemon;
let browser;
let key;

before(async () => {
  daemon = await startDaemon();
  key = await daemon.tenant("ann");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test("a key is asked for, a wrong one refused, and it is gone with the tab", async () => {
  const tab = await open(browser, daemon.url, null);
  const {page} = tab;
  await page.getByLabel("Key").fill("sk-redd-wrong");
  await page.getByRole("button", {name: "Sign in"}).click();
  await page.getByText("This key is not known here.").waitFor();
  assert.match(tab.complaints.splice(0).join(), /401/);
  await page.getByLabel("Key").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", {name: "New job"}).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  await page.getByRole("button", {name: "Sign out"}).click();
  await page.getByRole("heading", {name: "Sign in"}).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await tab.fit("signin");
  await tab.close();
});

test("preflight names every bad line and lets nothing start", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await drop(page, {"broken.jsonl": rows(3) + '{"prompt": 7}\nnot json\n' + rows(2)});
  await page.getByRole("heading", {name: "Training file: 2 bad lines"}).waitFor();
  const lines = await page.locator(".faults tbody th").allTextContents();
  assert.deepEqual(lines, ["4", "5"]);
  assert.ok(await page.getByRole("button", {name: "Start training"}).isDisabled());
  await tab.fit("preflight-bad");
  await page.getByRole("button", {name: "Remove broken.jsonl"}).click();
  await page.getByRole("button", {name: "Start training"}).waitFor({state: "hidden"});
  assert.equal((await daemon.call(key, "GET", "/v1/files")).json.data.length, 0);
  await tab.close();
});

test("a hyperparameter out of range is said, and marked", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await drop(page, {"pirate.jsonl": rows(20)});
  await page.getByText("The data is fine.").waitFor();
  await page.getByText("Hyperparameters").click();
  assert.match(await page.getByLabel("Learning rate").getAttribute("placeholder"), /^auto: 0\.03/);
  await page.getByLabel("Epochs").fill("5000");
  await page.getByText("n_epochs must be").waitFor();
  assert.equal(await page.getByLabel("Epochs").getAttribute("aria-invalid"), "true");
  tab.complaints.splice(0, 9, ...tab.complaints.filter((c) => !c.includes("400")));
  await tab.close();
});

test("a dropped file becomes a job whose curve grows until it is done", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await drop(page, {"pirate.jsonl": pirate, "pirate-valid.jsonl": rows(24)});
  await page.getByText("The data is fine.").waitFor();
  assert.match(await page.locator(".preflight").textContent(), /Rows320/);
  await page.locator(".chosen").getByText("· validation").waitFor();
  await tab.fit("preflight");
  await page.getByText("Hyperparameters").click();
  await page.getByLabel("Epochs").fill("2");
  await page.getByLabel("Name").fill("pirate");
  await page.getByText("What is edited").click();
  await tab.fit("new-job");
  const start = page.getByRole("button", {name: "Start training"});
  await page.waitForFunction((b) => !b.disabled, await start.elementHandle());
  await start.click();

  const drawn = () => page.evaluate(() => document.querySelector("path.raw")?.getAttribute("d").length ?? 0);
  await page.waitForFunction(() => (document.querySelector("path.raw")?.getAttribute("d").length ?? 0) > 40);
  const early = await drawn();
  await page.waitForFunction(
    (n) => document.querySelector("path.raw").getAttribute("d").length > n + 200,
    early,
    {timeout: 120000},
  );
  await page.locator("h1 .pill.running").waitFor();
  await page.getByRole("link", {name: "Try it as it is"}).waitFor();
  await tab.fit("job-running");
  await page.locator("h1 .pill.succeeded").waitFor({timeout: 180000});
  assert.ok((await page.locator("circle.valid").count()) >= 2);
  await page.getByRole("link", {name: "Try it", exact: true}).waitFor();

  const readout = page.locator(".readout");
  const last = await readout.textContent();
  await page.getByLabel("Loss by step").focus();
  await page.keyboard.press("ArrowLeft");
  assert.notEqual(await readout.textContent(), last);
  assert.match(
    await page.getByLabel("Loss by step").getAttribute("aria-valuetext"),
    /^step \d+ · training [\d.]+/,
  );
  await page.getByText("Numbers", {exact: true}).click();
  await page.getByText("Checkpoints").click();
  await page.locator(".lines li").first().waitFor();
  await tab.fit("job-open");
  await tab.close();
});

test("a curve goes on where it was when the daemon was killed", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await drop(page, {"killed.jsonl": rows(40)});
  await page.getByText("The data is fine.").waitFor();
  await page.getByText("Hyperparameters").click();
  await page.getByLabel("Epochs").fill("200");
  const start = page.getByRole("button", {name: "Start training"});
  await page.waitForFunction((b) => !b.disabled, await start.elementHandle());
  await start.click();
  const step = () =>
    page.evaluate(() => Number(document.querySelector(".readout").textContent.match(/step (\d+)/)?.[1] ?? 0));
  await page.waitForFunction(() => /step \d\d/.test(document.querySelector(".readout")?.textContent));
  await daemon.kill();
  const before = await step();
  await daemon.again();
  await page.waitForFunction(
    (n) => Number(document.querySelector(".readout").textContent.match(/step (\d+)/)[1]) > n + 5,
    before,
    {timeout: 120000},
  );
  const refused = tab.complaints
    .splice(0)
    .filter((c) => !/ERR_CONNECTION|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(c));
  assert.deepEqual(refused, []);
  await page.getByRole("button", {name: "Cancel"}).click();
  await page.getByRole("button", {name: "Cancel the job"}).click();
  await page.locator("h1 .pill.cancelled").waitFor();
  await tab.close();
});

test("the keyboard alone reaches all", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await page.getByRole("heading", {name: "New job"}).waitFor();
  const focused = () =>
    page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "drop-input");
  for (let i = 0; i < 5 && (await focused()) !== "Models"; i++) await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", {name: "Models"}).waitFor();
  assert.equal(await focused(), "Models");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await tab.close();
});

test("a job is paused, resumed and cancelled; a hidden page holds no connection", async () => {
  const tab = await open(browser, daemon.url, key);
  const {page} = tab;
  await drop(page, {"long.jsonl": pirate});
  await page.getByText("The data is fine.").waitFor();
  await page.getByText("Hyperparameters").click();
  await page.getByLabel("Epochs").fill("200");
  const start = page.getByRole("button", {name: "Start training"});
  await page.waitForFunction((b) => !b.disabled, await start.elementHandle());
  await start.click();
  await page.locator("h1 .pill.running").waitFor();
  const streams = async () =>
    (await (await fetch(daemon.url + "/metrics")).text()).match(/^redd_event_streams (\d+)/m)[1];
  const look = (hidden) =>
    page.evaluate((h) => {
      Object.defineProperty(document, "hidden", {value: h, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const until = async (n) => {
    while ((await streams()) !== n) await page.evaluate(() => new Promise(requestAnimationFrame));
  };
  await until("1");
  await look(true);
  await until("0");
  await look(false);
  await until("1");
  await page.getByRole("button", {name: "Pause"}).click();
  await page.locator("h1 .pill.paused").waitFor();
  await page.getByRole("button", {name: "Resume"}).click();
  await page.getByRole("button", {name: "Pause"}).waitFor();
  await page.getByRole("button", {name: "Cancel"}).click();
  await page.getByRole("dialog").waitFor();
  await tab.fit("job-cancel");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({state: "detached"});
  await page.getByRole("button", {name: "Cancel"}).click();
  await page.getByRole("button", {name: "Cancel the job"}).click();
  await page.locator("h1 .pill.cancelled").waitFor();
  await tab.close();
});
