// The admin's part: tenants made, their keys shown once and revoked, tenants removed for good.
import assert from "node:assert/strict";
import fs from "node:fs";
import {after, before, test} from "node:test";

import {launch, open, screens} from "./browser.mjs";
import {startDaemon} from "./daemon.mjs";

let daemon;
let browser;

before(async () => {
  daemon = await startDaemon();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test("the state is backed up into a file", async () => {
  const tab = await open(browser, daemon.url, daemon.adminKey);
  const {page} = tab;
  const saved = page.waitForEvent("download");
  await page.getByRole("button", {name: "Download a backup"}).click();
  const download = await saved;
  assert.match(download.suggestedFilename(), /^redd-\d{4}-\d\d-\d\dT\d{6}\.tar$/);
  const tar = fs.readFileSync(await download.path());
  assert.equal(tar.subarray(257, 262).toString(), "ustar");
  assert.ok(tar.includes("SQLite format 3"));
  await tab.fit("backup");
  await tab.close();
});

for (const screen of Object.keys(screens)) {
  test(`a tenant comes and goes: ${screen}`, async () => {
    const name = "alice-" + screen;
    const tab = await open(browser, daemon.url, daemon.adminKey, screen);
    const {page} = tab;
    await page.getByLabel("Name", {exact: true}).fill(name);
    await page.getByText("Limits", {exact: true}).click();
    await page.getByLabel("Jobs in the queue").fill("3");
    await tab.fit("tenant-new");
    await page.getByRole("button", {name: "Create tenant"}).click();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    const key = await dialog.locator("code").textContent();
    await dialog.getByRole("button", {name: "Copy key"}).click();
    await page.getByText("Key copied.").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
    await tab.fit("tenant-key");
    await dialog.getByRole("button", {name: "I have it"}).click();
    await dialog.waitFor({state: "detached"});
    assert.equal((await daemon.call(key, "GET", "/v1/models")).status, 200);
    assert.ok(!(await page.content()).includes(key), "the key is shown once");

    const card = page.locator(".tenant", {hasText: name});
    await card.getByText("Keys", {exact: true}).click();
    await card.getByRole("button", {name: /^Revoke/}).click();
    await dialog.getByRole("button", {name: "Revoke"}).click();
    await card.getByText("No key: nobody can be this tenant.").waitFor();
    assert.equal((await daemon.call(key, "GET", "/v1/models")).status, 401);
    await tab.fit("tenants");

    await card.getByText("Change limits").click();
    const queue = card.getByLabel("Jobs in the queue");
    assert.equal(await queue.inputValue(), "3");
    await queue.fill("");
    await card.getByLabel("Requests a minute").fill("-1");
    await tab.fit("tenant-limits");
    await card.getByRole("button", {name: "Set limits of " + name}).click();
    await card.getByText("no limit", {exact: true}).waitFor();
    const {limits} = (await daemon.call(daemon.adminKey, "GET", "/admin/tenants")).json.data.find(
      (t) => t.name === name,
    );
    assert.deepEqual([limits.queued_jobs, limits.requests_per_minute], [0, -1]);

    await card.getByRole("button", {name: "Remove " + name}).click();
    const sure = dialog.getByRole("button", {name: "Remove for good"});
    assert.ok(await sure.isDisabled());
    await dialog.getByRole("textbox").fill(name);
    await tab.fit("tenant-remove");
    await sure.click();
    await card.waitFor({state: "detached"});
    const left = (await daemon.call(daemon.adminKey, "GET", "/admin/tenants")).json.data;
    assert.ok(!left.some((t) => t.name === name));
    await tab.close();
  });
}
