// Webhooks: made, tested against a receiver that takes them and one that does not, changed, given a new
// secret, deleted.
import assert from "node:assert/strict";
import http from "node:http";
import {after, before, test} from "node:test";

import {launch, open, screens} from "./browser.mjs";
import {startDaemon} from "./daemon.mjs";

let daemon;
let browser;
let key;
let receiver;
let status = 200;
const heard = [];

before(async () => {
  receiver = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    heard.push({headers: request.headers, event: JSON.parse(Buffer.concat(parts))});
    response.writeHead(status).end();
  });
  await new Promise((done) => receiver.listen(0, "127.0.0.1", done));
  daemon = await startDaemon("--webhook-private");
  key = await daemon.tenant("ann");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
  receiver?.close();
});

// By the keyboard alone: refused without an event, then saved; the focus comes back to where it began.
async function change(tab, name) {
  const {page} = tab;
  const card = page.locator(".webhook", {hasText: name});
  const fold = card.locator("summary");
  await fold.focus();
  await page.keyboard.press("Enter");
  assert.equal(await card.getByLabel("Address").inputValue(), `http://127.0.0.1:${receiver.address().port}/jobs`);
  assert.ok(!(await card.getByLabel("cancelled").isChecked()));
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.type(`http://127.0.0.1:${receiver.address().port}/ends`);
  for (let i = 0; i < 2; i++) {
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
  }
  await tab.fit("webhook-change");
  await page.keyboard.press("Enter");
  await page.getByText(/'event_types' must be a list/).first().waitFor();
  assert.match(tab.complaints.splice(0).join(), /^[^,]*status of 400[^,]*$/);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.keyboard.press("Enter");
  await card.getByText("Told of jobs that cancelled.").waitFor();
  assert.ok(await fold.evaluate((e) => e === document.activeElement), "the focus is on the fold again");
  const [now] = (await daemon.call(key, "GET", "/v1/webhook_endpoints")).json.data;
  assert.equal(now.url, `http://127.0.0.1:${receiver.address().port}/ends`);
  assert.deepEqual(now.event_types, ["fine_tuning.job.cancelled"]);
  status = 200;
  await card.getByRole("button", {name: "Test " + name}).click();
  await card.getByText(/The last event arrived\./).waitFor();
  assert.equal(heard.at(-1).event.type, "fine_tuning.job.cancelled");
}

for (const screen of Object.keys(screens)) {
  test(`a webhook is made, tested and deleted: ${screen}`, async () => {
    const name = "hook-" + screen;
    const tab = await open(browser, daemon.url, key, screen);
    const {page} = tab;
    const dialog = page.getByRole("dialog");
    await tab.go("webhooks");
    await page.getByText("None yet.").waitFor();
    await page.getByLabel("Name", {exact: true}).fill(name);
    await page.getByLabel("Address").fill(`http://127.0.0.1:${receiver.address().port}/jobs`);
    await page.getByLabel("cancelled").uncheck();
    await tab.fit("webhook-new");
    await page.getByRole("button", {name: "Create webhook"}).click();
    await dialog.waitFor();
    const secret = await dialog.locator("code").textContent();
    assert.match(secret, /^whsec_/);
    await tab.fit("webhook-secret");
    await dialog.getByRole("button", {name: "I have it"}).click();
    await dialog.waitFor({state: "detached"});
    assert.ok(!(await page.content()).includes(secret), "the secret is shown once");

    const card = page.locator(".webhook", {hasText: name});
    await card.getByText("Told of jobs that succeeded or failed.").waitFor();
    await card.getByText("Nothing was sent yet.").waitFor();
    status = 200;
    await card.getByRole("button", {name: "Test " + name}).click();
    await card.getByText(/The last event arrived\. It answered 200, .*\./).waitFor();
    const {headers, event} = heard.at(-1);
    assert.equal(event.type, "fine_tuning.job.succeeded");
    assert.match(headers["webhook-signature"], /^v1,/);
    status = 503;
    await card.getByRole("button", {name: "Test " + name}).click();
    await card.getByText(/did not arrive: .* It answered 503, .*\./).waitFor();
    await tab.fit("webhooks");

    await change(tab, name);
    await card.getByRole("button", {name: "New secret for " + name}).click();
    await dialog.getByRole("button", {name: "Make it"}).click();
    await page.getByRole("dialog", {name: "The secret of " + name}).waitFor();
    assert.notEqual(await dialog.locator("code").textContent(), secret);
    await dialog.getByRole("button", {name: "I have it"}).click();
    await dialog.waitFor({state: "detached"});
    await card.getByRole("button", {name: "Delete the webhook " + name}).click();
    await dialog.getByRole("button", {name: "Delete"}).click();
    await page.getByText("None yet.").waitFor();
    assert.deepEqual((await daemon.call(key, "GET", "/v1/webhook_endpoints")).json.data, []);
    await tab.close();
  });
}
