/** What the page says when something is wrong: with a shard, with the dashboard's ears, or with the way to the viewer. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Services } from "./services.js";
import { LIMIT, launchBrowser, waitForState } from "./support.js";

const UNHEALTHY = 1;
const ONLINE = 3;
/** Short, so that silence is seen soon. */
const TIMEOUT_S = 4;

/** @type {Services} */
let services;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  services = await Services.start({ GLANCE_BOTS: "main:40;demo:1", GLANCE_HEALTH_TIMEOUT: String(TIMEOUT_S) });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await services?.remove();
});

/** A page that follows the feed, and whatever its scripts threw or complained about. */
async function openPage() {
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto(services.url);
  await page.locator("#connection", { hasText: "Live" }).waitFor();
  return { page, problems };
}

/** The banner once it says this. */
function banner(page, text) {
  return page.locator("#banner", { hasText: text }).waitFor();
}

/** The age in the banner, in seconds. */
async function readAge(page) {
  const text = await page.locator("#banner-text").textContent();
  const age = /is (\d+) seconds? old/.exec(text ?? "");
  assert.ok(age, `no age in "${text}"`);
  return Number(age[1]);
}

/** Waits until the age in the banner has grown. */
async function seeAgeGrow(page) {
  const age = await readAge(page);
  await page.waitForFunction((known) => {
    const found = /is (\d+) seconds? old/.exec(document.querySelector("#banner-text")?.textContent ?? "");
    return found !== null && Number(found[1]) >= known + 2;
  }, age);
}

async function seeLive(page) {
  await page.locator("#connection", { hasText: "Live" }).waitFor();
  await page.locator("#clusters:not(.is-old)").waitFor();
}

test("a paused aggregator: the dashboard cannot hear the bots, and the last picture stays", async () => {
  const { page, problems } = await openPage();
  await services.report("main", 2, "5");
  await waitForState(page, "main", 2, 5);
  services.aggregator.signal("SIGSTOP");
  await banner(page, "The dashboard cannot hear the bots");
  await page.locator("#clusters.is-old").waitFor();
  await waitForState(page, "main", 2, 5);
  await page.locator("#verdict", { hasText: "Last known" }).waitFor();
  await seeAgeGrow(page);
  // A second viewer, who comes now, sees the same.
  const late = await browser.newPage();
  await late.goto(services.url);
  await banner(late, "The dashboard cannot hear the bots");
  await waitForState(late, "main", 2, 5);
  services.aggregator.signal("SIGCONT");
  for (const each of [page, late]) await seeLive(each);
  assert.deepEqual(problems, []);
  await late.close();
  await page.close();
});

test("a web service that is gone, and a device without network, are two things", async () => {
  const { page, problems } = await openPage();
  await services.web.end("SIGKILL");
  await banner(page, "Your browser cannot reach the dashboard");
  await seeAgeGrow(page);
  await page.context().setOffline(true);
  await banner(page, "Your device is offline");
  await seeAgeGrow(page);
  await page.locator("#clusters.is-old").waitFor();
  await services.startWeb();
  await page.context().setOffline(false);
  await seeLive(page);
  assert.deepEqual(problems, []);
  await page.close();
});

test("an upgrade of the web service raises no alarm, and the page is back within 2 seconds", async () => {
  const { page, problems } = await openPage();
  await page.evaluate(() => {
    window.alarms = [];
    const look = () => {
      const condition = document.querySelector("#connection").dataset.condition;
      const isOld = document.querySelector("#clusters").classList.contains("is-old");
      if (isOld || !document.querySelector("#banner").hidden || ["lost", "offline"].includes(condition)) window.alarms.push(condition);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, attributes: true });
  });
  await services.web.end("SIGTERM");
  const stopped = Date.now();
  await services.startWeb();
  const started = Date.now();
  await seeLive(page);
  const gone = Date.now() - started;
  await services.report("main", 3, "3");
  await waitForState(page, "main", 3, ONLINE);
  // A try comes every second at least; the rest is the machine's.
  assert.ok(gone < 3000, `live only ${gone} ms after the service was back`);
  // On a machine so slow that the service itself was away for long, an alarm is right.
  if (started - stopped < 1500) assert.deepEqual(await page.evaluate(() => window.alarms), []);
  assert.deepEqual(problems, []);
  await page.close();
});

test("a cluster that falls silent as a whole says since when, and that this is all that is known", async () => {
  const { page, problems } = await openPage();
  await services.report("demo", 0, "3");
  await waitForState(page, "demo", 0, ONLINE);
  await waitForState(page, "demo", 0, UNHEALTHY);
  const note = page.locator('[data-cluster="demo"] .cluster-note');
  await note.filter({ hasText: /^demo has not been heard for \d+ seconds; that is all that is known\.$/ }).waitFor();
  const seconds = Number(/\d+/.exec(await note.textContent())[0]);
  assert.ok(seconds >= TIMEOUT_S, `${seconds} seconds`);
  await page.locator('[data-cluster="demo"] [data-shard="0"]').click();
  await page.locator("#panel", { hasText: "This shard is silent" }).waitFor();
  await services.report("demo", 0, "3");
  await note.waitFor({ state: "hidden" });
  assert.deepEqual(problems, []);
  await page.close();
});

test("a cluster that gets another size shows it, and the open answer is worked out anew", async () => {
  const { page, problems } = await openPage();
  await page.evaluate(() => (window.wasHere = true));
  const guild = (2_199_023_255_552n + 2n) << 22n;
  const answer = page.locator("#answer-rows");
  await page.locator("#search-input").fill(String(guild));
  await page.keyboard.press("Enter");
  for (const total of [48, 32, 40]) {
    await services.aggregator.end();
    services.startAggregator({ GLANCE_BOTS: `main:${total};demo:1` });
    const cells = page.locator('[data-cluster="main"] [data-shard]');
    await page.locator(`[data-cluster="main"] [data-shard="${total - 1}"]`).waitFor({ state: "attached" });
    await page.waitForFunction((wanted) => document.querySelectorAll('[data-cluster="main"] [data-shard]').length === wanted, total);
    assert.equal(await cells.count(), total);
    const shard = Number((guild >> 22n) % BigInt(total));
    await answer.getByText(`shard ${shard} of main`).waitFor();
    await page.locator(`[data-cluster="main"] [data-shard="${shard}"].is-found`).waitFor({ state: "attached" });
  }
  assert.equal(await page.evaluate(() => window.wasHere), true);
  assert.deepEqual(problems, []);
  await page.close();
});

test("a cluster of unknown size says so until a bot has told it", async () => {
  const learning = await Services.start({ GLANCE_BOTS: "main:auto;demo:1" });
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  try {
    await page.goto(learning.url);
    await page.locator('[data-cluster="main"]', { hasText: "size not known yet" }).waitFor();
    await page.locator("#search-input").fill("613425648685547541");
    await page.keyboard.press("Enter");
    await page.getByText("The number of shards of main is not known yet, so its shard cannot be told.").waitFor();
    await page.locator("#answer-rows", { hasText: "shard 0 of demo" }).waitFor();
    await learning.report("main", 7, JSON.stringify({ state: "online", total: 12 }));
    await waitForState(page, "main", 7, ONLINE);
    const shard = Number((613425648685547541n >> 22n) % 12n);
    await page.locator("#answer-rows", { hasText: `shard ${shard} of main` }).waitFor();
    await page.locator("#answer-problem").waitFor({ state: "hidden" });
    assert.deepEqual(problems, []);
  } finally {
    await page.close();
    await learning.remove();
  }
});
