/** Takes the pictures of docs/: `make screenshots`. Not a test. */

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import { Glance, launchBrowser, visit, waitForVerdict } from "./support.js";

const OUT = resolve(process.argv[2] ?? join(import.meta.dirname, "../../docs"));
const DESKTOP = { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2 };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const TOTAL = 1056;
const GROUP = 16;
/** A server on a shard that is down. */
const SHARD = 371;
const GUILD = (BigInt(TOTAL) * 198_975_111n + BigInt(SHARD)) << 22n;

/** @param {number} id a fleet with a life: versions, latencies, servers */
function describe(id) {
  return {
    group: String(Math.floor(id / GROUP)),
    version: "4.2.0",
    latency_ms: 38 + ((id * 7919) % 23),
    guilds: 1180 + ((id * 104_729) % 140),
    events_per_s: id === 645 ? 0 : 90 + ((id * 31) % 40),
  };
}

/** @param {(id: number) => number} stateOf */
function statesOf(stateOf) {
  return Array.from({ length: TOTAL }, (_, id) => stateOf(id)).join("");
}

/** One group is down, another one restarts, and a few shards have troubles of their own. */
const TROUBLE = statesOf((id) => {
  const group = Math.floor(id / GROUP);
  if (group === 23 || (group === 24 && id % GROUP < 5)) return 2;
  if (group === 41) return id % GROUP < 6 ? 3 : 4;
  return id === 77 || id === 803 ? 6 : id === 190 ? 5 : 3;
});

/**
 * @param {string} name of the picture
 * @param {import("playwright-core").BrowserContextOptions} options
 * @param {{fragment?: string, act?: (page: import("playwright-core").Page) => Promise<void>, fullPage?: boolean}} [how]
 */
async function shoot(name, options, { fragment = "", act = async () => {}, fullPage = false } = {}) {
  // Cells that blink would be in between.
  const { page, context } = await visit(browser, glance.url + fragment, { ...options, reducedMotion: "reduce" });
  await page.locator("#connection[data-condition='live'], #connection[data-condition='unjudged']").waitFor();
  await page.locator("body.has-picture .cell").first().waitFor();
  await act(page);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(OUT, `${name}.png`), fullPage, animations: "disabled" });
  await context.close();
}

/** @param {import("playwright-core").Page} page @param {number} id */
async function openPanel(page, id) {
  await page.locator(`[data-cluster="main"] [data-shard="${id}"]`).click();
  await page.locator("#panel .panel-changes li").first().waitFor();
}

await mkdir(OUT, { recursive: true });
// Nobody falls silent while the pictures are taken; the time of grace after the start is over soon all the same.
const glance = await Glance.start({ GLANCE_BOTS: `main:${TOTAL};canary:16`, GLANCE_HEALTH_TIMEOUT: "20" });
const browser = await launchBrowser();
const light = { colorScheme: /** @type {const} */ ("light") };
const dark = { colorScheme: /** @type {const} */ ("dark") };

/** @param {string} main */
async function report(main) {
  await glance.reportAll("main", main, describe);
  await glance.reportAll("canary", "3".repeat(16), describe);
}

try {
  const all = "3".repeat(TOTAL);
  let states = all;
  await report(states);
  const alive = setInterval(() => void report(states).catch(() => {}), 5000);
  const { page, context } = await visit(browser, glance.url);
  await page.locator("#connection[data-condition='live']").waitFor();
  states = TROUBLE;
  await waitForVerdict(page, "main: 21 of 1,056 shards are down");
  await shoot("desktop-light", { ...DESKTOP, ...light });
  await shoot("desktop-dark", { ...DESKTOP, ...dark }, { act: (shown) => openPanel(shown, SHARD) });
  await shoot("phone-light", { ...PHONE, ...light }, { fragment: `#guild=${GUILD}` });
  await shoot("phone-dark", { ...PHONE, ...dark });
  states = all;
  await waitForVerdict(page, "All 1,072 shards are online");
  await shoot("well", { ...DESKTOP, ...light }, { act: (shown) => shown.locator("#lately:not(:empty)").waitFor() });
  await context.close();
  clearInterval(alive);
} finally {
  await browser.close();
  await glance.remove();
}
