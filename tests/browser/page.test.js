/** From a report to the page, in a real browser. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { connect } from "@nats-io/transport-node";

import { Glance, LIMIT, launchBrowser, waitForState } from "./support.js";

const ONLINE = 3;
const RESUMING = 6;

/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  // One after the other, so that `after` can end what was started.
  glance = await Glance.start();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await glance?.remove();
});

/** A page that has drawn its cells, and whatever went wrong in it. */
async function openPage(path = "", options = {}) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(LIMIT);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await page.goto(glance.url + path);
  await page.locator('[data-cluster="main"] [data-shard="39"]').waitFor({ state: "attached" });
  return { page, problems };
}

test("the curl that glance prints turns the cell green without a reload", async () => {
  const { page, problems } = await openPage();
  await page.evaluate(() => (window.wasHere = true));
  await promisify(execFile)("sh", ["-c", glance.curl]);
  await waitForState(page, "main", 0, ONLINE);
  assert.equal(await page.evaluate(() => window.wasHere), true);
  await page.getByText("1/40 online").or(page.getByText("1 / 40")).first().waitFor();
  assert.deepEqual(problems, []);
  await page.close();
});

test("clients of NATS that are not ours move the page", async () => {
  const { page } = await openPage();
  const broker = await connect({ servers: glance.broker });
  broker.publish("glance.main.5.state", "online");
  broker.publish("glance.main.6.state", JSON.stringify({ state: "Resuming", group: "g" }));
  await broker.flush();
  await waitForState(page, "main", 5, ONLINE);
  await waitForState(page, "main", 6, RESUMING);
  await broker.close();

  const python = [
    "import asyncio, nats, sys",
    "async def main():",
    "    broker = await nats.connect(sys.argv[1])",
    "    await broker.publish('glance.main.7.state', b'3')",
    "    await broker.flush()",
    "    await broker.close()",
    "asyncio.run(main())",
  ].join("\n");
  await promisify(execFile)("python3", ["-c", python, glance.broker]);
  await waitForState(page, "main", 7, ONLINE);
  await page.close();
});

test("a server ID, a message link and a deep link lead to the shard", async () => {
  await glance.post("/api/status/main/2/3");
  // Beyond 2^53, where a number of JavaScript would be rounded.
  const guild = (2_199_023_255_552n + 2n) << 22n;
  const shard = Number((guild >> 22n) % 40n);
  const { page, problems } = await openPage();
  const input = page.locator("#search-input");
  const answer = page.locator("#answer-rows");
  await input.fill(`  ${guild} `);
  await input.press("Enter");
  await answer.getByText(`shard ${shard}`).first().waitFor();
  assert.equal(await answer.locator("li").count(), 2, "one answer for each cluster");
  await input.fill(`https://discord.com/channels/${guild}/123/456`);
  await input.press("Enter");
  await answer.getByText(`shard ${shard}`).first().waitFor();
  await input.fill("my server");
  await input.press("Enter");
  await page.locator("#answer-problem").filter({ hasText: /\S/ }).waitFor();
  await page.close();

  const deep = await openPage(`#guild=${guild}`);
  await deep.page.locator("#answer-rows").getByText(`shard ${shard}`).first().waitFor();
  assert.deepEqual([...problems, ...deep.problems], []);
  await deep.page.close();
});

test("a cell opens a panel with words, by mouse and by keyboard", async () => {
  await glance.post("/api/status/main/3/5");
  const { page, problems } = await openPage();
  await waitForState(page, "main", 3, 5);
  await page.locator('[data-cluster="main"] [data-shard="3"]').click();
  const panel = page.locator("#panel");
  await panel.getByText("Stopping").first().waitFor();
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "hidden" });
  await page.locator('[data-cluster="main"] [data-shard="0"]').focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await panel.getByText("Stopping").first().waitFor();
  assert.deepEqual(problems, []);
  await page.close();
});

test("kill -9 and a new start: the last picture stays, marked as old, then the same table is there", async () => {
  const { page } = await openPage();
  await glance.post("/api/status/main/11/3");
  await waitForState(page, "main", 11, ONLINE);
  await glance.end("SIGKILL");
  const connection = page.locator("#connection");
  await connection.filter({ hasNotText: "Live" }).waitFor();
  await page.locator("#banner").filter({ hasText: /\S/ }).waitFor();
  await waitForState(page, "main", 11, ONLINE);
  await glance.launch();
  await connection.filter({ hasText: "Live" }).waitFor();
  await waitForState(page, "main", 11, ONLINE);
  // And moves again.
  await glance.post("/api/status/main/12/3");
  await waitForState(page, "main", 12, ONLINE);
  const fresh = await openPage();
  await waitForState(fresh.page, "main", 11, ONLINE);
  await fresh.page.close();
  await page.close();
});

test("nothing is asked from another host, and a phone does not scroll sideways", async () => {
  const context = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  const page = await context.newPage();
  const strangers = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(glance.url) && !request.url().startsWith("data:")) strangers.push(request.url());
  });
  await page.goto(glance.url);
  await page.locator('[data-cluster="main"] [data-shard="39"]').waitFor({ state: "attached" });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} pixels too wide`);
  assert.deepEqual(strangers, []);
  await context.close();
});
