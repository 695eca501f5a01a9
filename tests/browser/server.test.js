/** "Is it broken for my server?" */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Glance, launchBrowser, visit } from "./support.js";

/** Beyond 2^53, where a number of JavaScript would be rounded. */
const GUILD = (2_199_023_255_552n + 2n) << 22n;
const SHARD = Number((GUILD >> 22n) % 40n);
/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  glance = await Glance.start({ GLANCE_HEALTH_TIMEOUT: "600" });
  browser = await launchBrowser();
  await glance.reportAll("main", "3".repeat(40), () => ({ group: "alpha" }));
  await glance.reportAll("demo", "3");
});

after(async () => {
  await browser?.close();
  await glance?.remove();
});

test("whatever names a server leads to its shard, in words, for every cluster", async () => {
  const { page, problems, context } = await visit(browser, glance.url);
  const input = page.locator("#search-input");
  const rows = page.locator("#answer-rows li");
  for (const text of [
    `  ${GUILD} `,
    `my server is ${GUILD}, please help`,
    `https://discord.com/channels/${GUILD}/123/456`,
    `https://ptb.discord.com/channels/${GUILD}/123`,
    `discord://-/channels/${GUILD}/1`,
  ]) {
    await input.fill("");
    await input.fill(text);
    await input.press("Enter");
    await rows.first().filter({ hasText: `Your server is on shard ${SHARD} of main (group alpha)` }).waitFor();
    assert.equal(await rows.count(), 2, text);
    await rows.first().filter({ hasText: /online for \d+ \w+, last heard / }).waitFor();
    assert.equal(new URL(page.url()).hash, `#guild=${GUILD}`);
  }
  assert.equal(await page.locator(`[data-cluster="main"] [data-shard="${SHARD}"].is-found`).count(), 1);
  assert.deepEqual(problems, []);
  await context.close();
});

test("a shard by its number, direct messages, and helpful words for everything else", async () => {
  const { page, context } = await visit(browser, glance.url);
  const ask = async (text) => {
    await page.locator("#search-input").fill(text);
    await page.locator("#search-input").press("Enter");
  };
  const rows = page.locator("#answer-rows li");
  await ask("shard 12");
  await rows.first().filter({ hasText: "Shard 12 of main (group alpha)" }).waitFor();
  assert.equal(await rows.count(), 1, "demo has no such shard");
  assert.equal(new URL(page.url()).hash, "#shard=12");
  await ask("main/39");
  await rows.first().filter({ hasText: "Shard 39 of main" }).waitFor();
  await ask("main 40");
  await page.locator("#answer-problem").filter({ hasText: "main has no shard 40: its shards are 0 to 39." }).waitFor();
  await ask("@me");
  await rows.first().filter({ hasText: "Direct messages are on shard 0 of main" }).waitFor();
  await ask("https://discord.gg/abc");
  await page.locator("#answer-problem").filter({ hasText: "invite" }).waitFor();
  await ask("hello");
  await page.locator("#answer-problem").filter({ hasText: "There is no server ID in that" }).waitFor();
  await page.getByText("How do I find the ID?").click();
  await page.getByText(/On a phone: .*Copy Server ID/).waitFor();
  await page.getByText(/On a computer: .*Copy Server ID/).waitFor();
  await context.close();
});

test("a link leads to the answer without scrolling on a phone, and can be copied", async () => {
  const { page, context } = await visit(browser, `${glance.url}#guild=${GUILD}`, { viewport: { width: 360, height: 740 } });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const row = page.locator("#answer-rows li").first();
  await row.waitFor();
  const { y, height } = await row.boundingBox();
  assert.ok(y >= 0 && y + height <= 740, `${y} ${height}`);
  await page.getByRole("button", { name: "Copy link" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${glance.url}#guild=${GUILD}`);
  await context.close();
});

test("where a page may not write to the clipboard, the link is there to be copied by hand", async () => {
  const { page, context } = await visit(browser, `${glance.url}#shard=main/3`);
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("not allowed"));
  });
  await page.getByRole("button", { name: "Copy link" }).click();
  await page.locator("#answer-link").waitFor();
  assert.equal(await page.locator("#answer-link").inputValue(), `${glance.url}#shard=main/3`);
  await context.close();
});

test("a link to a shard of a cluster is no mistake while the clusters are not known yet", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.problems = [];
    new MutationObserver(() => {
      const problem = document.querySelector("#answer-problem")?.textContent;
      if (problem) window.problems.push(problem);
    }).observe(document, { childList: true, subtree: true, characterData: true });
  });
  await page.goto(`${glance.url}#shard=main/12`);
  await page.locator("#answer-rows li").first().filter({ hasText: "Shard 12 of main (group alpha)" }).waitFor();
  assert.deepEqual(await page.evaluate(() => window.problems), []);
  await context.close();
});

test("a shard that the view leaves out is shown to who asks for it", async () => {
  const { page, context } = await visit(browser, glance.url);
  await page.getByRole("button", { name: /^Offline/ }).click();
  await page.getByText("No shard of main is in one of the states that are shown.").waitFor();
  await page.locator("#search-input").fill("main 7");
  await page.keyboard.press("Enter");
  await page.locator('[data-cluster="main"] [data-shard="7"].is-found').waitFor();
  assert.equal(await page.getByRole("button", { name: /^Offline/ }).getAttribute("aria-pressed"), "false");
  await context.close();
});

test("the answer is live", async () => {
  const { page, context } = await visit(browser, `${glance.url}#guild=${GUILD}`);
  const row = page.locator("#answer-rows li").first();
  await row.filter({ hasText: "online for" }).waitFor();
  await glance.post(`api/status/main/${SHARD}/2`);
  await row.filter({ hasText: "offline for" }).waitFor();
  await page.locator("#spoken-answer").filter({ hasText: "offline for" }).waitFor();
  await glance.post(`api/status/main/${SHARD}/3`);
  await row.filter({ hasText: "online for" }).waitFor();
  await context.close();
});

test("the ID stays in the browser", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const sent = [];
  page.on("request", (request) => sent.push(request.url() + (request.postData() ?? "") + JSON.stringify(request.headers())));
  page.on("websocket", (socket) => {
    sent.push(socket.url());
    socket.on("framesent", (frame) => sent.push(String(frame.payload)));
  });
  await page.goto(`${glance.url}#guild=${GUILD}`);
  await page.locator("#answer-rows li").first().waitFor();
  await page.locator(`[data-cluster="main"] [data-shard="${SHARD}"]`).click();
  await page.locator("#panel").waitFor();
  assert.ok(sent.length > 10 && sent.some((text) => text.startsWith("ws")));
  assert.deepEqual(sent.filter((text) => text.includes(String(GUILD))), []);
  await context.close();
});
