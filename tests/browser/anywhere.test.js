/** Blocked sockets, path prefixes, other hosts, upgrades, paper, home screens, other languages, other brands. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { Glance, launchBrowser, visit, waitForState, waitForVerdict } from "./support.js";

const ONLINE = 3;
/** @type {Glance} */
let glance;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {string} */
let folder;
/** @type {{close: () => void}[]} proxies and hosts of the tests */
const servers = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "glance-anywhere-"));
  await writeBrand("First");
  glance = await Glance.start({
    GLANCE_BOTS: "main:8", GLANCE_HEALTH_TIMEOUT: "600", GLANCE_BRAND_DIR: join(folder, "brand"),
  });
  browser = await launchBrowser();
  await glance.reportAll("main", "33333333");
});

after(async () => {
  await browser?.close();
  for (const server of servers) server.close();
  await glance?.remove();
  await rm(folder, { recursive: true, force: true });
});

/** @param {string} title another title is another page, as after an upgrade */
async function writeBrand(title) {
  await mkdir(join(folder, "brand"), { recursive: true });
  await writeFile(join(folder, "brand/brand.json"), JSON.stringify({ title, link: "https://bot.example.org/", logo: "logo.svg" }));
  await writeFile(join(folder, "brand/brand.css"), ":root { --accent: #6d28d9; }");
  await writeFile(join(folder, "brand/logo.svg"), '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>');
}

/** A server that is told how to answer, for the time of the tests. */
async function serve(answer, upgrade) {
  const server = createServer(answer);
  /** @type {Set<import("node:net").Socket>} also those that were upgraded */
  const sockets = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  if (upgrade) server.on("upgrade", upgrade);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  servers.push({
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  return `http://127.0.0.1:${port}/`;
}

/** A reverse proxy that serves Glance below a path, WebSocket included unless it is blocked. */
function serveBelow(prefix, { isBlocked = false } = {}) {
  const port = Number(new URL(glance.url).port);
  const strip = (path) => (path.startsWith(prefix) ? path.slice(prefix.length - 1) : null);
  return serve((incoming, outgoing) => {
    const path = strip(incoming.url);
    if (path === null) return outgoing.writeHead(404).end();
    const forward = ask({ port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    forward.on("error", () => outgoing.destroy());
    incoming.pipe(forward);
  }, (incoming, socket, head) => {
    const path = strip(incoming.url);
    if (isBlocked || path === null) return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    const behind = connect(port, "127.0.0.1", () => {
      const headers = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      behind.write(`GET ${path} HTTP/1.1\r\n${headers}\r\n`);
      behind.write(head);
      behind.pipe(socket).pipe(behind);
    });
    for (const end of [behind, socket]) end.on("error", () => (behind.destroy(), socket.destroy()));
  });
}

test("behind a path prefix, with the feed", async () => {
  const proxy = await serveBelow("/status/");
  const { page, problems, context } = await visit(browser, `${proxy}status/`);
  await page.locator("#connection[data-condition='live'], #connection[data-condition='unjudged']").waitFor();
  await glance.post("api/status/main/1/2");
  await waitForState(page, "main", 1, 2);
  await glance.post("api/status/main/1/3");
  await page.locator('[data-cluster="main"] [data-shard="1"]').click();
  await page.locator("#panel li").first().waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("where WebSockets are blocked, the page asks every few seconds", async () => {
  const proxy = await serveBelow("/", { isBlocked: true });
  const { page, context } = await visit(browser, proxy);
  await page.locator("#connection-label").filter({ hasText: "Live, every few seconds" }).waitFor();
  await glance.post("api/status/main/2/2");
  await waitForState(page, "main", 2, 2);
  await waitForVerdict(page, "1 of 8 shards is down");
  await glance.post("api/status/main/2/3");
  await waitForVerdict(page, "All 8 shards are online");
  const banner = page.locator("#banner");
  assert.ok(!await banner.isVisible() || await banner.getAttribute("data-condition") === "unjudged", "no alarm");
  await context.close();
});

/** Serves a folder, as a host of static files does. */
function serveFolder(root) {
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png" };
  return serve(async (incoming, outgoing) => {
    const path = new URL(incoming.url, "http://x").pathname.replace(/\/$/, "/index.html");
    try {
      const body = await readFile(join(root, path));
      outgoing.writeHead(200, { "Content-Type": types[extname(path)] ?? "application/octet-stream" }).end(body);
    } catch {
      outgoing.writeHead(404).end();
    }
  });
}

test("the page on another host", async () => {
  const brand = join(folder, "elsewhere");
  await mkdir(brand, { recursive: true });
  await writeFile(join(brand, "brand.json"), JSON.stringify({ title: "Elsewhere", api: glance.url }));
  const exported = join(folder, "exported");
  const program = resolve(process.env.GLANCE_BIN_DIR ?? "target/debug", "glance-web");
  const env = { PATH: process.env.PATH, GLANCE_BRAND_DIR: brand };
  await promisify(execFile)(program, ["--export-page", exported, "--port", "0"], { env, cwd: folder });
  const host = await serveFolder(exported);
  const { page, problems, context } = await visit(browser, host);
  await glance.post("api/status/main/3/2");
  await waitForState(page, "main", 3, 2);
  await glance.post("api/status/main/3/3");
  await waitForState(page, "main", 3, ONLINE);
  assert.match(await page.title(), /· Elsewhere$/);
  // The service may have another page than this host for good: that is no reason to load again.
  const config = await page.evaluate(() => JSON.parse(document.querySelector("#config").textContent));
  assert.equal(config.build, "");
  const html = await readFile(join(exported, "index.html"), "utf8");
  assert.match(html, /<title>Elsewhere<\/title>/);
  assert.ok(html.includes(`href="${glance.url}plain"`));
  assert.deepEqual(problems, []);
  await context.close();
});

test("without scripts the verdict is there, and a link to the text", async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(glance.url);
  await page.getByRole("heading", { name: "All 8 shards are online" }).waitFor();
  await page.locator("noscript li").filter({ hasText: "main: all 8 shards are online" }).waitFor();
  await page.getByRole("link", { name: "the same table as plain text" }).click();
  await page.getByText("First: All 8 shards are online").waitFor();
  await context.close();
});

test("a part that is gone makes the page load again, once", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  let loads = 0;
  page.on("request", (request) => request.isNavigationRequest() && (loads += 1));
  await page.route("**/js/all.js", (route) => route.fulfill({ status: 404, body: "gone" }));
  await page.goto(glance.url);
  await page.waitForFunction(() => sessionStorage.getItem("glance.reloaded") !== null);
  await page.waitForLoadState("networkidle");
  assert.equal(loads, 2);
  await page.unroute("**/js/all.js");
  await page.reload();
  await page.locator("body.has-picture").waitFor();
  await context.close();
});

test("so does one where WebSockets are blocked", async () => {
  const { page, context } = await visit(browser, await serveBelow("/", { isBlocked: true }));
  await page.locator("#connection-label").filter({ hasText: "Live, every few seconds" }).waitFor();
  await page.evaluate(() => {
    Math.random = () => 0;
    window.wasHere = true;
  });
  await writeBrand("Third");
  await glance.end("SIGTERM");
  await glance.launch();
  await page.waitForFunction(() => window.wasHere === undefined);
  await page.locator("body.has-picture").waitFor();
  assert.match(await page.title(), /· Third$/);
  await writeBrand("First");
  await glance.end("SIGTERM");
  await glance.launch();
  await context.close();
});

test("an open page loads itself anew after an upgrade, and keeps what it was asked", async () => {
  const { page, context } = await visit(browser, `${glance.url}#shard=main/5`);
  // Not in 30 s: a test has no patience.
  await page.evaluate(() => {
    Math.random = () => 0;
    window.wasHere = true;
    document.activeElement.blur();
  });
  await writeBrand("Second");
  await glance.end("SIGTERM");
  await glance.launch();
  await page.waitForFunction(() => window.wasHere === undefined);
  await page.locator("body.has-picture").waitFor();
  await page.locator("#answer-rows li").filter({ hasText: "Shard 5 of main" }).waitFor();
  assert.match(await page.title(), /· Second$/);
  await context.close();
});

test("a brand is a folder: title, link, logo, colours", async () => {
  const { page, problems, context } = await visit(browser, glance.url);
  assert.equal(await page.locator("#brand").getAttribute("href"), "https://bot.example.org/");
  assert.match(await page.locator("#brand-logo").getAttribute("src"), /brand\/logo\.svg$/);
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--accent")), "#6d28d9");
  assert.deepEqual(problems, []);
  await context.close();
});

test("a first visit is a few small requests, and another one is next to nothing", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  /** @type {Map<string, string>} */
  const addresses = new Map();
  let transferred = [];
  session.on("Network.requestWillBeSent", ({ requestId, request }) => addresses.set(requestId, new URL(request.url).pathname));
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const address = addresses.get(requestId) ?? "?";
    if (!address.startsWith("/api/")) transferred.push({ address, encodedDataLength });
  });
  await session.send("Network.enable");
  for (const [limit, requests] of [[60_000, 12], [1000, 12]]) {
    transferred = [];
    await page.goto(glance.url, { waitUntil: "networkidle" });
    await page.locator("body.has-picture").waitFor();
    const bytes = transferred.reduce((sum, { encodedDataLength }) => sum + encodedDataLength, 0);
    assert.ok(bytes < limit && transferred.length < requests, `${bytes} bytes: ${JSON.stringify(transferred)}`);
    assert.ok(bytes > 0);
  }
  await context.close();
});

test("it can be put on a phone's home screen", async () => {
  const manifest = await (await fetch(new URL("manifest.webmanifest", glance.url))).json();
  assert.equal(manifest.display, "standalone");
  for (const { src, sizes } of manifest.icons) {
    const icon = Buffer.from(await (await fetch(new URL(src, glance.url))).arrayBuffer());
    assert.equal(`${icon.readUInt32BE(16)}x${icon.readUInt32BE(20)}`, sizes, src);
  }
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(glance.url);
  const session = await context.newCDPSession(page);
  const { errors } = await session.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  await context.close();
});

test("on paper there are the verdict and the cells, and no controls", async () => {
  const { page, context } = await visit(browser, glance.url);
  await page.evaluate(() => (document.documentElement.dataset.theme = "dark"));
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("#verdict")).color), "rgb(0, 0, 0)");
  assert.equal(await page.locator("#verdict").isVisible(), true);
  assert.equal(await page.locator('[data-cluster="main"] [data-shard="7"]').isVisible(), true);
  for (const part of ["#search", "#settings", ".view-buttons"]) assert.equal(await page.locator(part).isVisible(), false, part);
  await context.close();
});

for (const [locale, sentence, hint] of [
  ["de-AT", "Alle 8 Shards sind online", "Server finden: ID oder Link"],
  ["es-MX", "Los 8 shards están en línea", "Tu servidor: ID o enlace"],
  ["ja-JP", "All 8 shards are online", "Find your server: ID or link"],
]) {
  test(`the browser's language: ${locale}`, async () => {
    const { page, problems, context } = await visit(browser, glance.url, { locale });
    await waitForVerdict(page, sentence);
    assert.equal(await page.locator("#search-input").getAttribute("placeholder"), hint);
    assert.equal(await page.locator("html").getAttribute("lang"), locale.startsWith("ja") ? "en" : locale.slice(0, 2));
    await page.locator("#settings summary").click();
    await page.locator("#language").selectOption("en");
    await waitForVerdict(page, "All 8 shards are online");
    await page.reload();
    await waitForVerdict(page, "All 8 shards are online");
    assert.deepEqual(problems, []);
    await context.close();
  });
}
