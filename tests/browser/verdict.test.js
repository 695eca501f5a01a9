/** How it is, first: for viewers, tabs, links and readers without scripts; and what the operators tell. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Glance, LIMIT, launchBrowser, visit, waitForState, waitForVerdict } from "./support.js";

const TOTAL = 32;
/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  glance = await Glance.start({ GLANCE_BOTS: `main:${TOTAL};demo:2`, GLANCE_HEALTH_TIMEOUT: "600" });
  browser = await launchBrowser();
  await glance.reportAll("demo", "33");
});

after(async () => {
  await browser?.close();
  await glance?.remove();
});

/** @param {string} states with which main begins; the rest is online */
function reportMain(states) {
  return glance.reportAll("main", states.padEnd(TOTAL, "3"), (id) => ({ group: String(Math.floor(id / 16)) }));
}

/** @param {string} mood */
function readIcon(page, mood) {
  return page.waitForFunction((wanted) => document.querySelector("#icon").getAttribute("href").endsWith(`/icons/mood-${wanted}.svg`), mood);
}

test("one sentence and one colour, in the heading, the tab, the served page and the text", async () => {
  await reportMain("");
  const { page, problems, context } = await visit(browser, glance.url);
  for (const [states, sentence, mood] of [
    ["", "All 34 shards are online", "good"],
    ["2", "main: 1 of 32 shards is down", "warn"],
    ["2222", "main: 4 of 32 shards are down", "bad"],
    ["4".repeat(16), "main is restarting: 1 of 2 groups done", "calm"],
    ["5", "main: 1 of 32 shards is restarting", "calm"],
    ["0", "33 of 34 shards are online; nothing is known of 1 yet", "good"],
  ]) {
    await reportMain(states);
    await waitForVerdict(page, sentence);
    await page.locator(`#verdict[data-mood="${mood}"]`).waitFor();
    await page.waitForFunction((title) => document.title === title, `${sentence} · Glance`);
    await readIcon(page, mood);
    const served = await (await fetch(glance.url)).text();
    assert.match(served, new RegExp(`<meta property="og:title" content="${sentence}">`));
    assert.match(served, new RegExp(`<title>${sentence} · Glance</title>`));
    const plain = await (await fetch(new URL("plain", glance.url))).text();
    assert.ok(plain.startsWith(`Glance: ${sentence}\n`), plain);
  }
  assert.deepEqual(problems, []);
  await context.close();
});

test("a tab in the background shows how it is", async () => {
  await reportMain("");
  const { page, context } = await visit(browser, glance.url);
  await page.waitForFunction(() => document.title.startsWith("All 34 shards are online"));
  // As browsers treat a tab that nobody looks at.
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { get: () => true });
    window.requestAnimationFrame = () => 0;
  });
  await reportMain("2222");
  await page.waitForFunction(() => document.title.startsWith("main: 4 of 32 shards are down"), undefined, { polling: 100 });
  await context.close();
});

test("what was down is told once it is over", async () => {
  await reportMain("");
  const { page, context } = await visit(browser, glance.url);
  await reportMain("222");
  await waitForVerdict(page, "3 of 32");
  assert.equal(await page.locator("#lately").textContent(), "");
  // A few times a second it is looked at how many are down.
  await page.waitForFunction(async () => (await (await fetch("api/history")).json()).outages.some(({ ended }) => ended === null));
  await reportMain("");
  await page.locator("#lately").filter({ hasText: /\d+ shards of main were down for \d+ seconds?\.$/ }).waitFor();
  await context.close();
});

test("a click on a state shows only its shards; another one ends it", async () => {
  await reportMain("2214");
  const { page, context } = await visit(browser, glance.url);
  await waitForState(page, "main", 0, 2);
  const cells = page.locator('[data-cluster="main"] [data-shard]');
  await page.getByRole("button", { name: /^Offline 2/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-cluster="main"] [data-shard]').length === 2);
  assert.equal(await page.getByRole("button", { name: /^Offline/ }).getAttribute("aria-pressed"), "true");
  await page.getByText("No shard of demo is in one of the states that are shown.").waitFor();
  await page.getByRole("button", { name: /^Starting 1/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-cluster="main"] [data-shard]').length === 3);
  await page.getByRole("button", { name: "Show all" }).click();
  await page.waitForFunction((total) => document.querySelectorAll('[data-cluster="main"] [data-shard]').length === total, TOTAL);
  assert.equal(await cells.count(), TOTAL);
  await page.locator('[data-cluster="main"] .cluster-count').filter({ hasText: "28/32 online" }).waitFor();
  await context.close();
});

test("an announcement comes first, everywhere, until it is taken back", async () => {
  await reportMain("2222");
  const { page, problems, context } = await visit(browser, glance.url);
  await glance.notice("api/announcement", { text: "We know, and are on it <b>now</b>", severity: "info", until: Date.now() / 1000 + 3600 });
  await waitForVerdict(page, "We know, and are on it <b>now</b>");
  await page.locator('#verdict[data-mood="bad"]').waitFor();
  await page.locator("#verdict-facts").filter({ hasText: "main: 4 of 32 shards are down" }).waitFor();
  await page.locator("#verdict-about").filter({ hasText: /^Announcement, until / }).waitFor();
  const plain = await (await fetch(new URL("plain", glance.url))).text();
  assert.match(plain, /^Glance: We know, and are on it <b>now<\/b>\nmain: 4 of 32|^Glance: We know, and are on it <b>now<\/b>\n\nmain: 4 of 32/);
  assert.match(plain, /\nAnnouncement \(until \d{4}-/);
  const snapshot = await (await fetch(new URL("api/snapshot", glance.url))).json();
  assert.equal(snapshot.announcement.severity, "info");
  assert.match(await (await fetch(glance.url)).text(), /og:title" content="We know, and are on it &lt;b&gt;now&lt;\/b&gt;"/);
  await glance.notice("api/announcement", null);
  await waitForVerdict(page, "main: 4 of 32 shards are down");
  assert.deepEqual(problems, []);
  await context.close();
});

test("maintenance is shown instead of an outage, until its end and not longer", async () => {
  await reportMain("2".repeat(16));
  const { page, context } = await visit(browser, glance.url);
  await waitForVerdict(page, "main: 16 of 32 shards are down");
  await glance.notice("api/maintenance/main/0", { text: "New disks" });
  await waitForVerdict(page, "Group 0 of main is under maintenance: 0 of 16 shards are online");
  await page.locator('#verdict[data-mood="calm"]').waitFor();
  await page.locator('[data-cluster="main"] .cluster-note').filter({ hasText: "Group 0 is under maintenance: New disks" }).waitFor();
  await page.waitForFunction(() => document.querySelectorAll('[data-cluster="main"] [data-maintained]').length === 16);
  await glance.notice("api/maintenance/main/0", null);
  await waitForVerdict(page, "main: 16 of 32 shards are down");
  // It ends by itself, although nobody says so.
  await glance.notice("api/maintenance/main", { text: "New disks", until: Date.now() / 1000 + 3 });
  await waitForVerdict(page, "main is under maintenance: 16 of 32 shards are online");
  await page.locator("#verdict-text").filter({ hasText: "main: 16 of 32 shards are down" }).waitFor({ timeout: LIMIT });
  await page.waitForFunction(() => document.querySelectorAll("[data-maintained]").length === 0);
  const plain = await (await fetch(new URL("plain", glance.url))).text();
  assert.doesNotMatch(plain, /aintenance/);
  await context.close();
});
