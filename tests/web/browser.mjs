// Debian's Chromium, and pages in it that hold every complaint against the test: console errors, exceptions,
// requests to another host, findings of axe, content wider than the screen.
import assert from "node:assert/strict";
import fs from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {chromium} from "playwright-core";

const axeSource = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const screens = {
  light: {colorScheme: "light", viewport: {width: 1280, height: 860}},
  dark: {colorScheme: "dark", viewport: {width: 1280, height: 860}},
  phone: {colorScheme: "light", viewport: {width: 360, height: 740}, hasTouch: true, deviceScaleFactor: 2},
  "phone-dark": {
    colorScheme: "dark",
    viewport: {width: 360, height: 740},
    hasTouch: true,
    deviceScaleFactor: 2,
  },
};

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: flags,
  });
}

// Signed in with key (null: not yet). complaints fills up as the page lives.
export async function open(browser, url, key, screen = "light") {
  const context = await browser.newContext({
    ...screens[screen],
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  const complaints = [];
  page.setDefaultTimeout(60000);
  page.on(
    "console",
    (m) => ["error", "warning"].includes(m.type()) && complaints.push(`${m.type()}: ${m.text()}`),
  );
  page.on("pageerror", (e) => complaints.push(String(e.stack)));
  page.on(
    "request",
    (r) =>
      /^(blob|data):/.test(r.url()) ||
      r.url().startsWith(url + "/") ||
      complaints.push("request to " + r.url()),
  );
  if (key)
    await context.addInitScript(
      (k) => sessionStorage.getItem("redd.key") ?? sessionStorage.setItem("redd.key", k),
      key,
    );
  await page.goto(url + "/");
  return {
    page,
    complaints,
    async go(hash) {
      await page.goto(`${url}/#/${hash}`);
    },
    // No complaint so far, and the page as it stands is fit for all; kept as a picture when SHOTS names a
    // folder.
    async fit(name) {
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(wider, 0, `${name} on ${screen} is ${wider} px wider than the screen`);
      assert.doesNotMatch(await page.locator("body").innerText(), /\[object |\bundefined\b/);
      await page.evaluate(axeSource);
      const {violations} = await page.evaluate((r) => axe.run(document, {runOnly: r}), rules);
      const said = violations.map(
        (v) =>
          `${v.id}: ${v.help}\n${v.nodes.map((n) => "  " + n.html.slice(0, 160) + "\n  " + n.failureSummary).join("\n")}`,
      );
      if (process.env.SHOTS)
        await page.screenshot({path: path.join(process.env.SHOTS, `${name}-${screen}.png`), fullPage: true});
      assert.deepEqual(said, [], `axe on ${name}, ${screen}`);
      assert.deepEqual(complaints, []);
    },
    async close() {
      assert.deepEqual(complaints, []);
      await context.close();
    },
  };
}
