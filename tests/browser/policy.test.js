/** The page keeps to its own policy in all that it does, and what was slipped into it does nothing. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { Glance, LIMIT, launchBrowser, waitForState, waitForVerdict } from "./support.js";

/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {string} */
let folder;
/** @type {import("node:http").Server[]} */
const servers = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "glance-policy-"));
  await writeBrand("own", {});
  glance = await Glance.start({
    GLANCE_BOTS: "main:8", GLANCE_HEALTH_TIMEOUT: "600", GLANCE_BRAND_DIR: join(folder, "own"), GLANCE_FEED_ORIGINS: "same",
  });
  browser = await launchBrowser();
  await glance.reportAll("main", "33333323", () => ({ group: "0", latency_ms: 41 }));
});

after(async () => {
  await browser?.close();
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  await glance?.remove();
  await rm(folder, { recursive: true, force: true });
});

/** @param {string} name @param {object} more */
async function writeBrand(name, more) {
  const brand = join(folder, name);
  await mkdir(brand, { recursive: true });
  await writeFile(join(brand, "brand.json"), JSON.stringify({ title: "Branded", logo: "logo.svg", ...more }));
  await writeFile(join(brand, "brand.css"), ":root { --accent: #6d28d9; background-image: url(data:image/gif;base64,R0lGODlhAQABAAAAACw=); }");
  await writeFile(join(brand, "logo.svg"), '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><style>path { fill: red }</style><path style="stroke: blue" d="M0 0h9v9z"/></svg>');
  return brand;
}

/** @param {import("node:http").RequestListener} answer */
async function serve(answer) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}/`;
}

/** A page, and each time that it broke its policy. */
async function open(url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  /** @type {string[]} */
  const broken = [];
  await page.exposeFunction("tellBroken", (text) => broken.push(text));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => window.tellBroken(`${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`));
  });
  page.on("console", (message) => /content.security.policy/i.test(message.text()) && broken.push(message.text()));
  await page.goto(url);
  return { page, broken, context };
}

test("the page keeps to its policy in all that it does", async () => {
  const { page, broken, context } = await open(glance.url);
  await page.locator("#connection[data-condition='live'], #connection[data-condition='unjudged']").waitFor();
  await page.locator("#settings summary").click();
  for (const choice of ["safe", "standard", "dark", "light"]) await page.locator(`#settings input[value="${choice}"]`).check();
  await page.locator("#pulse").check();
  for (const language of ["de", "es", "en"]) {
    await page.evaluate(() => (document.querySelector("#settings").open = true));
    await page.locator("#language").selectOption(language);
    await page.locator(`html[lang="${language}"]`).waitFor();
  }
  await page.keyboard.press("Escape");
  await page.locator("#problems-first").click();
  await page.locator("#search-input").fill("shard 3");
  await page.keyboard.press("Enter");
  await page.locator("#answer-rows li").first().waitFor();
  await page.locator('[data-cluster="main"] [data-shard="6"]').hover();
  await page.locator('[data-cluster="main"] [data-shard="6"]').click();
  await page.locator("#panel").waitFor();
  await glance.post("api/status/main/6/3");
  await waitForState(page, "main", 6, 3);
  await page.emulateMedia({ media: "print" });
  await page.emulateMedia({ media: "screen" });
  await page.reload();
  await page.locator("body.has-picture").waitFor();
  assert.equal(await page.evaluate(() => document.querySelector("#brand-logo").naturalWidth > 0), true);
  assert.deepEqual(broken, []);
  await context.close();
});

test("so do the text, a picture and the JSON", async () => {
  for (const path of ["plain", "api/snapshot", "assets/brand/logo.svg", "nothing"]) {
    const { broken, context } = await open(new URL(path, glance.url).href);
    assert.deepEqual(broken, [], path);
    await context.close();
  }
});

test("what was slipped into the page does nothing", async () => {
  const elsewhere = await serve((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Content-Type", "text/javascript");
    response.end("window.hacked = 'from elsewhere'");
  });
  const { page, broken, context } = await open(glance.url);
  await page.locator("body.has-picture").waitFor();
  assert.deepEqual(broken, []);
  const read = await page.evaluate(async (elsewhere) => {
    // A script that cannot be loaded would make the page load itself anew.
    sessionStorage.setItem("glance.reloaded", String(Date.now()));
    const slip = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
    slip("script", { textContent: "window.hacked = 'inline'" });
    slip("script", { src: elsewhere });
    slip("div", { innerHTML: "<img src=x onerror=\"window.hacked = 'handler'\"><a id=trap href=\"javascript:window.hacked = 'link'\">x</a><b id=styled style=\"color: rgb(1, 2, 3)\"></b>" });
    document.querySelector("#trap").click();
    slip("base", { href: elsewhere });
    const read = await fetch(elsewhere).then(() => true, () => false);
    return { read, colour: getComputedStyle(document.querySelector("#styled")).color, base: document.baseURI };
  }, elsewhere);
  await page.waitForFunction(() => document.querySelector("img[src=x]")?.complete);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(read.read, false);
  assert.notEqual(read.colour, "rgb(1, 2, 3)");
  assert.equal(read.base, glance.url);
  for (const directive of ["script-src-elem", "script-src-attr", "style-src-attr", "connect-src", "base-uri"]) {
    assert.ok(broken.some((text) => text.startsWith(directive)), `${directive}: ${broken}`);
  }
  await context.close();
});

test("a page of another host may not show it in a frame, one of its own may", async () => {
  const framed = '<iframe id="frame" src="SRC"></iframe>';
  const elsewhere = await serve((request, response) => response.setHeader("Content-Type", "text/html").end(framed.replace("SRC", glance.url)));
  for (const [url, shown] of [[elsewhere, false], [`${glance.url}plain`, true]]) {
    const context = await browser.newContext();
    const page = await context.newPage();
    // The same host, with a page of its own that our headers do not hold back.
    if (shown) await page.route("**/plain", (route) => route.fulfill({ contentType: "text/html", body: framed.replace("SRC", "./") }));
    await page.goto(url);
    const frame = await (await page.waitForSelector("#frame")).contentFrame();
    await frame.waitForLoadState();
    assert.equal((await frame.locator("#verdict").count()) > 0, shown, url);
    await context.close();
  }
});

test("a page on another host has its policy in itself; without the feed it asks every few seconds", async () => {
  const brand = await writeBrand("elsewhere", { api: glance.url });
  const exported = join(folder, "exported");
  const program = resolve(process.env.GLANCE_BIN_DIR ?? "target/debug", "glance-web");
  const env = { PATH: process.env.PATH, GLANCE_BRAND_DIR: brand };
  await promisify(execFile)(program, ["--export-page", exported, "--port", "0"], { env, cwd: folder });
  const html = await readFile(join(exported, "index.html"), "utf8");
  assert.match(html, /<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; /);
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png" };
  const host = await serve(async (request, response) => {
    const name = request.url === "/" ? "index.html" : request.url.slice(1);
    const body = await readFile(join(exported, name)).catch(() => null);
    response.writeHead(body ? 200 : 404, { "Content-Type": types[extname(name)] ?? "application/json" }).end(body);
  });
  const { page, broken, context } = await open(host);
  await waitForVerdict(page, "All 8 shards are online");
  // The rule says that only the service's own page may open the feed.
  await page.locator("#connection-label").filter({ hasText: "Live, every few seconds" }).waitFor();
  assert.deepEqual(broken, []);
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("script"), { textContent: "window.hacked = 1" })));
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(broken.some((text) => text.startsWith("script-src-elem")), true, String(broken));
  await context.close();
});
