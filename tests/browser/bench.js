/**
 * Measures the page in Chromium: `make bench-page`. Figures stand beside a bare page, measured in the same run: as
 * many cells without any style sheet or script of ours, whose states are changed as often. Nothing here fails because it
 * is slow; goals are printed as met or missed.
 */

import { mkdir, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";

import { connect } from "@nats-io/transport-node";

import { Glance, LIMIT, launchBrowser } from "./support.js";
import { listTasks, longest, sumScriptByFrame } from "./tracing.js";

const { values: flags } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, json: { type: "string", default: "target/bench/page.json" } },
});
const ROUNDS = Number(flags.rounds);
const CHANGES_PER_S = 1000;
const CHANGES_S = 5;
/** As many as fit into a request of 512 KiB. */
const REPORT_MAX = 4096;
/** How often in a round. */
const PAINTS = 3;
const SEARCHES = 4;
const VIEWPORT = { width: 1280, height: 800 };

/** @typedef {{shards: number, figure: string, unit: string, goal: number | null, values: number[], bare: number[]}} Row */

/** @type {Row[]} */
const rows = [];

/** @param {number[]} values */
function median(values) {
  return values.toSorted((one, other) => one - other)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

/** @param {number} value */
function show(value) {
  return Number.isNaN(value) ? "" : value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

/** @param {number[]} values */
function showSpread(values) {
  if (values.length === 0) return "";
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${show(median(values))} (${show(low)}–${show(high)})`;
}

/** In every page, before anything else: tells when the cells were painted first. */
const WATCH_PAINT = `(() => {
  const look = () => {
    if (!document.querySelector(".cells .cell[data-state='3'], body > .cell")) return requestAnimationFrame(look);
    // The next task begins when the frame is on its way to the screen.
    const channel = new MessageChannel();
    channel.port1.onmessage = () => painted(String(performance.now()));
    channel.port2.postMessage(null);
  };
  requestAnimationFrame(look);
})()`;

/**
 * Opens an address in a new tab that the test driver does not know: what the driver does in its own tabs takes as long as
 * the page.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @returns {Promise<number>} when its cells were painted, in milliseconds since the navigation began
 */
async function timePaint(browser, url) {
  const session = await browser.newBrowserCDPSession();
  const { browserContextId } = await session.send("Target.createBrowserContext", {});
  const { targetId } = await session.send("Target.createTarget", { url: "about:blank", browserContextId, ...VIEWPORT });
  const { sessionId } = await session.send("Target.attachToTarget", { targetId, flatten: false });
  let id = 0;
  const send = (method, params = {}) => session.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id: id += 1, method, params }) });
  const painted = new Promise((done) => {
    session.on("Target.receivedMessageFromTarget", ({ message }) => {
      const { method, params } = JSON.parse(message);
      if (method === "Runtime.bindingCalled") done(Number(params.payload));
    });
  });
  await send("Page.enable");
  await send("Runtime.addBinding", { name: "painted" });
  await send("Runtime.enable");
  await send("Page.addScriptToEvaluateOnNewDocument", { source: WATCH_PAINT });
  // A tab that was just opened is still being set up; people have one already.
  await new Promise((done) => setTimeout(done, 500));
  await send("Page.navigate", { url });
  const paintedMs = await painted;
  await session.send("Target.disposeBrowserContext", { browserContextId });
  await session.detach();
  return paintedMs;
}

/**
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @param {(page: import("playwright-core").Page) => Promise<void>} act once its cells are there
 */
async function open(browser, url, act) {
  const context = await browser.newContext({ viewport: VIEWPORT });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  await page.goto(url);
  await page.locator(".cells .cell, body > .cell").first().waitFor();
  await act(page);
  await context.close();
}

/** @param {number} shards a server of one page with that many cells, and nothing else */
async function serveBare(shards) {
  const cell = '<i class="cell" data-state="3"></i>';
  const style = "body{display:grid;grid-template-columns:repeat(64,15px);gap:3px}.cell{height:15px;background:green}.cell[data-state='2']{background:red}";
  const script = `addEventListener("go",()=>{let n=0;const all=document.querySelectorAll(".cell");setInterval(()=>{
    for(let i=0;i<${CHANGES_PER_S / 10};i+=1){n+=1;all[(n*7919)%all.length].dataset.state=n%2?2:3}},100)})`;
  const html = `<!doctype html><style>${style}</style><body>${cell.repeat(shards)}<script>${script}</script>`;
  const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(html)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}/`, close: () => (server.closeAllConnections(), server.close()) };
}

/** @param {number} id a shard with all that a bot may tell of it; 16 in a process */
function describe(id) {
  const group = String(id >> 4);
  return { id, state: 3, group, version: "4.2.0", latency_ms: 40 + (id % 23), guilds: 1200 + (id % 99), events_per_s: 90 };
}

/** A fleet whose shards change all the time. */
class Fleet {
  /** @param {Glance} glance @param {number} shards */
  constructor(glance, shards) {
    this.glance = glance;
    this.shards = shards;
    this.count = 0;
  }

  async fill() {
    for (let first = 0; first < this.shards; first += REPORT_MAX) {
      const length = Math.min(REPORT_MAX, this.shards - first);
      const shards = Array.from({ length }, (_, index) => describe(first + index));
      await this.glance.report({ cluster: "main", shards });
    }
  }

  /**
   * Changes the states of so many shards a second.
   * @param {number} [seconds]
   */
  async change(seconds = CHANGES_S) {
    const broker = await connect({ servers: this.glance.broker });
    const end = performance.now() + seconds * 1000;
    for (let due = performance.now(); due < end; due += 100) {
      for (let index = 0; index < CHANGES_PER_S / 10; index += 1) {
        this.count += 1;
        const shard = (this.count * 7919) % this.shards;
        broker.publish(`glance.main.${shard}.state`, this.count % 2 === 0 ? "3" : "2");
      }
      await broker.flush();
      await new Promise((done) => setTimeout(done, Math.max(0, due + 100 - performance.now())));
    }
    await broker.close();
  }
}

/**
 * @param {import("playwright-core").Browser} browser
 * @param {import("playwright-core").Page} page
 * @param {() => Promise<void>} action
 */
async function trace(browser, page, action) {
  const categories = ["devtools.timeline", "disabled-by-default-devtools.timeline", "disabled-by-default-devtools.timeline.frame", "__metadata"];
  await browser.startTracing(page, { categories });
  await action();
  return JSON.parse((await browser.stopTracing()).toString()).traceEvents;
}

/** @param {import("playwright-core").Page} page how long from the question to the answer on the screen, in milliseconds */
function timeSearch(page) {
  return page.evaluate(() => new Promise((done) => {
    const input = document.querySelector("#search-input");
    const asked = performance.now();
    input.value = String((BigInt(Math.floor(Math.random() * 1e9)) + 200_000_000_000n) << 22n);
    input.dispatchEvent(new InputEvent("input", { inputType: "insertFromPaste", bubbles: true }));
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => done(performance.now() - asked);
      channel.port2.postMessage(null);
    });
  }));
}

/**
 * @param {import("playwright-core").Browser} browser
 * @param {number} shards
 * @param {{paint?: number, search?: number, script?: number, task?: number}} goals in milliseconds
 */
async function measure(browser, shards, goals) {
  const glance = await Glance.start({ GLANCE_BOTS: `main:${shards}`, GLANCE_HEALTH_TIMEOUT: "86400" });
  const bare = await serveBare(shards);
  const fleet = new Fleet(glance, shards);
  /** @param {string} figure @param {number | undefined} goal @param {string} [unit] @returns {Row} */
  const row = (figure, goal, unit = "ms") => {
    const made = { shards, figure, unit, goal: goal ?? null, values: [], bare: [] };
    rows.push(made);
    return made;
  };
  try {
    await fleet.fill();
    const paint = row("navigation to the first paint of cells", goals.paint);
    const search = row("question to answer on the screen", goals.search);
    const script = row(`script in a frame, at most, ${CHANGES_PER_S} changes a second`, goals.script);
    const task = row("longest task after the first paint", goals.task);
    const busy = row("main thread busy meanwhile", undefined, "% of a core");
    // Once for the caches of the system.
    await timePaint(browser, glance.url);
    for (let round = 1; round <= ROUNDS; round += 1) {
      process.stderr.write(`${shards} shards: round ${round} of ${ROUNDS} ...\n`);
      for (let sample = 0; sample < PAINTS; sample += 1) {
        paint.bare.push(await timePaint(browser, bare.url));
        paint.values.push(await timePaint(browser, glance.url));
      }
      await open(browser, bare.url, async (page) => {
        const events = await trace(browser, page, async () => {
          await page.evaluate(() => window.dispatchEvent(new Event("go")));
          await page.waitForTimeout(CHANGES_S * 1000);
        });
        note(script.bare, task.bare, busy.bare, events);
      });
      await open(browser, glance.url, async (page) => {
        note(script.values, task.values, busy.values, await trace(browser, page, () => fleet.change()));
        for (let sample = 0; sample < SEARCHES; sample += 1) {
          search.values.push(await timeSearch(page));
          await page.waitForTimeout(300);
        }
      });
    }
    // The page asks for the whole table once a minute.
    const minute = row("longest task in 70 seconds", goals.task);
    process.stderr.write(`${shards} shards: 70 seconds ...\n`);
    await open(browser, glance.url, async (page) => {
      minute.values.push(longest(listTasks(await trace(browser, page, () => fleet.change(70)))));
    });
  } finally {
    bare.close();
    await glance.remove();
  }
}

/** @param {number[]} script @param {number[]} task @param {number[]} busy @param {object[]} events of one trace */
function note(script, task, busy, events) {
  const tasks = listTasks(events);
  script.push(longest(sumScriptByFrame(events)));
  task.push(longest(tasks));
  busy.push(tasks.reduce((sum, ms) => sum + ms, 0) / (CHANGES_S * 10));
}

const browser = await launchBrowser();
try {
  await measure(browser, 1056, { script: 16 });
  await measure(browser, 4096, { paint: 300, script: 16 });
  await measure(browser, 16_384, { paint: 1000, search: 50, script: 16 });
  await measure(browser, 100_000, { task: 200 });
} finally {
  await browser.close();
}

const lines = rows.map(({ shards, figure, unit, goal, values, bare }) => [
  String(shards), `${figure}, ${unit}`, showSpread(values), showSpread(bare), goal === null ? "" : `${median(values) < goal ? "met" : "missed"}: under ${goal}`,
]);
const table = [["shards", "figure", "page", "bare page", "goal"], ["-:", "-", "-:", "-:", "-"], ...lines];
console.log(table.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
const path = resolve(flags.json);
await mkdir(dirname(path), { recursive: true });
await writeFile(path, `${JSON.stringify({ at: Math.floor(Date.now() / 1000), rounds: ROUNDS, rows }, null, 2)}\n`);
console.log(`kept in ${path}`);
