// A person at the status page, in headless Chromium: node tests/peers/page/browser.mjs URL CONFIG
//
// CONFIG is the file of the attache at URL. It is broken, mended and extended on the way. With SCREENSHOTS=FOLDER, pictures
// are left there. Prints one line of JSON; exits with 1 at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [url, config] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = process.env.SCREENSHOTS;
const patience = 20_000;
const desktop = { width: 1440, height: 900 };
const errors = [];
const findings = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Root can't use the sandbox, and only this page is opened.
  args: ["--no-sandbox"],
});

// Opens the page in a context of its own; returns once it is live.
async function open(options, path = "") {
  // The script of axe is injected, which the page's own policy forbids. Everything else is under the policy.
  const context = await browser.newContext({ viewport: desktop, ...options });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("requestfailed", (request) => {
    // A stream ends with its page.
    if (!request.url().includes("/events")) errors.push(`${request.url()}: ${request.failure().errorText}`);
  });
  await page.goto(new URL(path, url).href);
  if (options.javaScriptEnabled !== false) {
    await page.locator("#live[data-state=live]").waitFor({ timeout: patience });
  }
  return page;
}

async function audit(page, name) {
  // Evaluated by the debugger, which is under no policy.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, nodes } of violations) {
    findings.push({ page: name, id, impact, nodes: nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) });
  }
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: name !== "light" });
}

// Replaces the file as editors do.
function write(text) {
  writeFileSync(`${config}.new`, text);
  renameSync(`${config}.new`, config);
}

const rows = (page, table) => page.locator(`table.${table} > tbody > tr`);

async function live() {
  const page = await open({ colorScheme: "light" });
  await audit(page, "light");
  const good = readFileSync(config, "utf8");
  const count = async () => Number((await page.locator("#services-count").textContent()).replaceAll(",", ""));
  const before = await count();

  write(`${good}\nmisspelt: 1\n`);
  await page.locator("pre.problems", { hasText: "misspelt: 1" }).waitFor({ timeout: patience });
  await page.waitForFunction(() => /rejected/.test(document.getElementById("announcements").textContent));
  await audit(page, "rejected");

  // The same outcome again is news again.
  await page.evaluate(() => document.getElementById("announcements").replaceChildren());
  write(`${good}\nmisspelt: 2\n`);
  await page.waitForFunction(() => /rejected/.test(document.getElementById("announcements").textContent));

  write(good.replace("services:\n", "services:\n  brand-new: { account: { authorization: none }, server_url: http://127.0.0.1:9 }\n"));
  await page.locator("#service-brand-new").waitFor({ timeout: patience });
  assert.equal(await count(), before + 1, "services after the reload");

  write(good);
  await page.locator("#service-brand-new").waitFor({ state: "detached", timeout: patience });
  await page.context().close();
}

async function filter() {
  const page = await open({});
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the first stop of the keyboard");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main", "where the link leads");

  const key = await rows(page, "services").last().locator("th b").textContent();
  await page.locator("#q").fill(key);
  await page.locator("#services-count", { hasText: " of " }).waitFor({ timeout: patience });
  assert.match(page.url(), /\?q=/, "the filter is part of the address");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q", "the field keeps the focus");
  assert.equal(await rows(page, "services").last().locator("th b").textContent(), key);

  await page.locator("#clear").waitFor({ timeout: patience });
  await page.locator("#q").fill("matches-nothing");
  await page.getByText("No service matches the filter.").waitFor({ timeout: patience });
  await page.locator("#q").fill("");
  await rows(page, "services").first().waitFor({ timeout: patience });
  await page.locator("#clear").waitFor({ state: "hidden", timeout: patience });

  // An answer that comes after the one to a later question.
  const late = new Promise((resolve) => {
    page.route(/\/\?q=late$/, async (route) => {
      await page.waitForURL(/\?q=matches-nothing$/);
      await route.continue();
      resolve();
    });
  });
  await Promise.all([page.waitForRequest(/\/\?q=late$/), page.locator("#q").fill("late")]);
  await page.locator("#q").fill("matches-nothing");
  await late;
  await page.waitForTimeout(500);
  assert.match(page.url(), /\?q=matches-nothing$/, "the last question is answered");

  await page.locator("#pause").click();
  assert.equal(await page.locator("#live").textContent(), "Paused");
  await page.locator("#pause").click();
  await page.locator("#live[data-state=live]").waitFor({ timeout: patience });
  await page.context().close();
}

async function looks() {
  const dark = await open({ colorScheme: "dark" });
  const [red] = (await dark.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g);
  assert.ok(Number(red) < 64, "the background is dark");
  await audit(dark, "dark");
  await dark.context().close();

  for (const width of [390, 320, 820]) {
    const page = await open({ viewport: { width, height: 844 } });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `at ${width} pixels the page is ${wide} wide`);
    await audit(page, `width-${width}`);
    await page.context().close();
  }
}

async function withoutScript() {
  const page = await open({ javaScriptEnabled: false });
  assert.ok((await rows(page, "services").count()) > 0, "rows without script");
  assert.equal(await page.locator("#pause").isVisible(), false, "a button that does nothing");
  await page.locator("#q").fill("matches-nothing");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("No service matches the filter.").waitFor({ timeout: patience });
  await page.context().close();
}

try {
  for (const part of [live, filter, looks, withoutScript]) {
    await part().catch((error) => {
      error.message = `${part.name}: ${error.message}`;
      throw error;
    });
  }
  assert.deepEqual(errors, [], "errors on the console");
  const serious = findings.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(serious, [], "serious findings of axe");
  console.log(JSON.stringify({ findings }));
} finally {
  await browser.close();
}
