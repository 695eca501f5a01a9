/** For keyboards, screen readers, and eyes of all kinds. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { Glance, launchBrowser, visit, waitForState, waitForVerdict } from "./support.js";

const AXE = await readFile(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  glance = await Glance.start({ GLANCE_BOTS: "main:64;demo:7", GLANCE_HEALTH_TIMEOUT: "600" });
  browser = await launchBrowser();
  await glance.reportAll("main", "3".repeat(64), (id) => ({ group: String(id >> 4), latency_ms: id === 9 ? 9000 : 40 }));
  await glance.reportAll("demo", "0123456");
});

after(async () => {
  await browser?.close();
  await glance?.remove();
});

/** @param {import("playwright-core").Page} page */
async function findViolations(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
}

for (const [name, options, palette] of [
  ["light, on a desktop", { colorScheme: "light", viewport: { width: 1280, height: 800 } }, "standard"],
  ["dark, on a phone", { colorScheme: "dark", viewport: { width: 360, height: 740 } }, "standard"],
  ["the other palette", { colorScheme: "light", viewport: { width: 1280, height: 800 } }, "safe"],
  ["the other palette in the dark", { colorScheme: "dark", viewport: { width: 360, height: 740 } }, "safe"],
]) {
  test(`axe finds nothing: ${name}`, async () => {
    const { page, context } = await visit(browser, glance.url, options);
    await page.evaluate((chosen) => localStorage.setItem("glance.palette", chosen), palette);
    await page.reload();
    await page.locator("body.has-picture").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.palette ?? "standard"), palette);
    assert.deepEqual(await findViolations(page), [], "as it opens");
    await page.locator("#search-input").fill("nothing of use");
    await page.keyboard.press("Enter");
    await page.getByText("How do I find the ID?").click();
    assert.deepEqual(await findViolations(page), [], "with help");
    await page.locator("#search-input").fill("613425648685547541");
    await page.keyboard.press("Enter");
    await page.locator("#answer-rows li").first().waitFor();
    await page.locator('[data-cluster="main"] [data-shard="0"]').click();
    await page.locator("#panel").waitFor();
    assert.deepEqual(await findViolations(page), [], "with an answer and the panel");
    await page.keyboard.press("Escape");
    await page.locator("#settings summary").click();
    assert.deepEqual(await findViolations(page), [], "with the settings");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    await context.close();
  });
}

test("what a screen reader meets, in order", async () => {
  const { page, context } = await visit(browser, glance.url);
  await waitForVerdict(page, /./);
  const tree = await page.locator("body").ariaSnapshot();
  const positions = [
    "link \"Skip to the shards\"", "searchbox \"Find your server", "heading \"demo: ", "list \"Shards by state",
    "button \"Online", "button \"Problems first\"", "region \"Cluster main\"", "heading \"main\"", "listbox \"Shards of main\"",
    "option \"Shard 0, online, group 0\"", "option \"Shard 9, online, but slow to answer, group 0\"", "listbox \"Shards of demo\"",
    "option \"Shard 1, unhealthy\"", "option \"Shard 2, offline\"", "link \"Plain text\"",
  ].map((part) => [part, tree.indexOf(part)]);
  for (const [part, position] of positions) assert.ok(position >= 0, `${part} is missing in\n${tree.slice(0, 3000)}`);
  const order = positions.map(([, position]) => position);
  assert.deepEqual(order, order.toSorted((one, other) => one - other));
  await context.close();
});

test("keys: / to the search, Escape to leave it, a visible focus", async () => {
  const { page, context } = await visit(browser, glance.url);
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "search-input");
  await page.keyboard.type("a/b");
  assert.equal(await page.locator("#search-input").inputValue(), "a/b", "there, it is a letter");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#search-input").inputValue(), "");
  await page.locator('[data-cluster="demo"] [data-shard="0"]').focus();
  await page.keyboard.press("ArrowRight");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await context.close();
});

test("the verdict is announced when it is another one, and not with each change", async () => {
  const { page, context } = await visit(browser, glance.url);
  await page.evaluate(() => {
    window.spoken = [];
    new MutationObserver(() => window.spoken.push(document.querySelector("#spoken-verdict").textContent))
      .observe(document.querySelector("#spoken-verdict"), { childList: true, characterData: true, subtree: true });
  });
  await glance.reportAll("demo", "3333333");
  await page.waitForFunction(() => window.spoken.some((text) => /^All 71 shards are online$/.test(text)));
  for (const states of ["23", "223", "2223", "22223"]) {
    await glance.reportAll("demo", states.padEnd(7, "3"));
    await waitForVerdict(page, `demo: ${states.length - 1} of 7`);
  }
  await page.waitForFunction(() => window.spoken.some((text) => /^demo: \d of 7 shards/.test(text)));
  const spoken = await page.evaluate(() => window.spoken);
  assert.equal(spoken.length, 2, spoken.join("; "));
  await context.close();
});

/**
 * A health check, and the two pulses after it: the second one comes when the first was drawn.
 * @param {import("playwright-core").Page} page whose feed is open
 */
async function beat(page) {
  await page.evaluate(() => (window.pulses = 0));
  await glance.post("api/health/main/0");
  await page.waitForFunction(() => window.pulses >= 3);
}

for (const [motion, blinks] of [["reduce", false], ["no-preference", true]]) {
  test(`who asks for less motion gets none: ${motion}`, async () => {
    const context = await browser.newContext({ reducedMotion: motion });
    const page = await context.newPage();
    await page.addInitScript(() => {
      const { WebSocket } = window;
      window.WebSocket = class extends WebSocket {
        constructor(...address) {
          super(...address);
          this.addEventListener("message", ({ data }) => (window.pulses += Number(data.includes('"pulse"'))));
        }
      };
    });
    await page.goto(glance.url);
    await waitForState(page, "main", 0, 3);
    await page.locator("#connection[data-condition='live'], #connection[data-condition='unjudged']").waitFor();
    await beat(page);
    assert.equal(await page.locator("[data-beat]").count() > 0, blinks);
    await context.close();
  });
}
