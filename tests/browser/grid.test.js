/** The grid: groups, what is shown first, the panel, and fleets that are larger than any screen. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Glance, launchBrowser, visit, waitForState } from "./support.js";

const LARGE = 4096;
/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  glance = await Glance.start({ GLANCE_BOTS: `main:64;large:${LARGE}`, GLANCE_HEALTH_TIMEOUT: "600" });
  browser = await launchBrowser();
  await glance.reportAll("main", "3".repeat(64), (id) => ({
    group: `host-${Math.floor(id / 16)}`,
    version: "2.4.1",
    guilds: 1234,
    latency_ms: id === 7 ? 6200 : 41,
    events_per_s: id === 20 ? 0 : 12,
  }));
  await glance.reportAll("large", "3".repeat(LARGE));
});

after(async () => {
  await browser?.close();
  await glance?.remove();
});

test("groups are blocks with their names; the cells' own names say them too", async () => {
  const { page, problems, context } = await visit(browser, glance.url);
  const blocks = page.locator('[data-cluster="main"] .block');
  await blocks.first().waitFor();
  assert.deepEqual(await blocks.locator(".block-name").allTextContents(), ["host-0", "host-1", "host-2", "host-3"]);
  assert.equal(await blocks.nth(1).locator("[data-shard]").count(), 16);
  await page.getByRole("option", { name: "Shard 16, online, group host-1" }).waitFor();
  await glance.post("api/status/main/17/2");
  await blocks.nth(1).locator(".block-mark").filter({ hasText: "15/16" }).waitFor();
  await glance.post("api/status/main/17/3");
  await waitForState(page, "main", 17, 3);
  assert.equal(await page.locator('[data-cluster="large"] .block').count(), 0, "who names no groups has rows");
  assert.deepEqual(problems, []);
  await context.close();
});

test("problems come first when somebody asks for it, and the choice is remembered", async () => {
  const { page, context } = await visit(browser, glance.url);
  await glance.post("api/status/main/50/2");
  await waitForState(page, "main", 50, 2);
  const first = page.locator('[data-cluster="main"] .block-name').first();
  assert.equal(await first.textContent(), "host-0");
  await page.getByRole("button", { name: "Problems first" }).click();
  await first.filter({ hasText: "host-3" }).waitFor();
  await page.reload();
  await first.filter({ hasText: "host-3" }).waitFor();
  await page.getByRole("button", { name: "Problems first" }).click();
  await first.filter({ hasText: "host-0" }).waitFor();
  await glance.post("api/status/main/50/3");
  await context.close();
});

test("a cell opens a panel with all that is known, and its last changes", async () => {
  const { page, problems, context } = await visit(browser, glance.url);
  for (const state of [6, 4, 2, 4, 2, 4, 2, 4, 3]) {
    await glance.post(`api/status/main/3/${state}`);
    await waitForState(page, "main", 3, state);
  }
  await page.locator('[data-cluster="main"] [data-shard="3"]').click();
  const panel = page.locator("#panel");
  for (const text of ["Shard 3 of main", "Online", "State before", "Starting", "Last health check", "Group", "host-0", "Version", "2.4.1", "1,234", "41 ms"]) {
    await panel.getByText(text, { exact: true }).first().waitFor();
  }
  const changes = panel.locator(".panel-changes li");
  await changes.first().filter({ hasText: "Starting → Online" }).waitFor();
  assert.equal(await changes.count(), 8);
  assert.match(await changes.first().locator("small").textContent(), /reported by the bot$/);
  // It follows while it is open.
  await glance.post("api/status/main/3/5");
  await changes.first().filter({ hasText: "Online → Stopping" }).waitFor();
  await glance.post("api/status/main/3/3");
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "hidden" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("who is online by its own word, but does nothing, has a mark", async () => {
  const { page, context } = await visit(browser, glance.url);
  await page.locator('[data-cluster="main"] [data-shard="20"][data-zombie="idle"]').waitFor();
  await page.locator('[data-cluster="main"] [data-shard="7"][data-zombie="slow"]').waitFor();
  assert.equal(await page.locator("[data-shard][data-zombie]").count(), 2);
  await page.getByRole("option", { name: /^Shard 20, online by its own word, but it handles no events/ }).waitFor();
  await page.locator('[data-cluster="main"] [data-shard="20"]').click();
  await page.locator("#panel .panel-meaning").filter({ hasText: "it handles no events" }).waitFor();
  assert.equal(await page.locator("#panel .cell[data-zombie]").count(), 1);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /^Zombie 2/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-cluster="main"] [data-shard]').length === 2);
  await context.close();
});

test("a large fleet has cells where somebody looks, and nowhere else", async () => {
  const { page, problems, context } = await visit(browser, glance.url, { viewport: { width: 360, height: 740 } });
  const cells = page.locator('[data-cluster="large"] [data-shard]');
  assert.ok(await page.locator("[data-shard]").count() < LARGE / 2, "far too many");
  await page.locator("#search-input").fill("large 4000");
  await page.keyboard.press("Enter");
  const found = page.locator('[data-cluster="large"] [data-shard="4000"].is-found');
  await found.waitFor();
  await page.waitForFunction(() => {
    const box = document.querySelector('[data-cluster="large"] [data-shard="4000"]').getBoundingClientRect();
    return box.top > 0 && box.bottom < innerHeight;
  });
  await waitForState(page, "large", 4000, 3);
  // A change of a shard that nobody sees is there when somebody looks.
  assert.equal(await page.locator('[data-cluster="large"] [data-shard="300"]').count(), 0);
  await glance.post("api/status/large/300/2");
  await page.locator("#search-input").fill("large 300");
  await page.keyboard.press("Enter");
  await waitForState(page, "large", 300, 2);
  assert.ok(await cells.count() < LARGE);
  await glance.post("api/status/large/300/3");
  assert.deepEqual(problems, []);
  await context.close();
});

test("arrow keys lead through the whole grid", async () => {
  const { page, context } = await visit(browser, glance.url);
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("data-shard"));
  await page.locator('[data-cluster="large"] [data-shard="0"]').focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "1");
  await page.keyboard.press("End");
  assert.equal(await focused(), String(LARGE - 1));
  await page.keyboard.press("Home");
  assert.equal(await focused(), "0");
  await page.locator('[data-cluster="main"] [data-shard="0"]').focus();
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "8", "blocks have rows of eight");
  await page.keyboard.press("Enter");
  await page.locator("#panel").waitFor();
  await context.close();
});
