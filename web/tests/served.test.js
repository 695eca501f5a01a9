/** What is served fits together: the web service embeds these files as they are. */

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";

const web = new URL("../", import.meta.url);
const html = await readFile(new URL("index.html", web), "utf8");

test("index.html preloads every module", async () => {
  const modules = (await readdir(new URL("js/", web))).filter((name) => name !== "early.js" && name !== "main.js");
  const wanted = ["assets/config.js", ...modules.map((name) => `assets/js/${name}`)].sort();
  const listed = Array.from(html.matchAll(/rel="modulepreload" href="([^"]+)"/g), (match) => match[1]).sort();
  assert.deepEqual(listed, wanted);
});

test("all addresses are relative and lead to a file", async () => {
  for (const [, address] of html.matchAll(/(?:href|src)="([^"#]+)"/g)) {
    if (address === "./" || address === "plain") continue;
    assert.match(address, /^assets\//);
    await readFile(new URL(address.replace(/^assets\//, ""), web));
  }
});

test("a strict content security policy is possible", async () => {
  assert.doesNotMatch(html, /<style|\sstyle=|\son[a-z]+=|javascript:/i);
  assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)/i);
  for (const name of await readdir(new URL("js/", web))) {
    const code = await readFile(new URL(`js/${name}`, web), "utf8");
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.cssText|setAttribute\("style"/, name);
  }
});

test("the page stays small", async () => {
  let bytes = html.length;
  for (const folder of ["js/", "css/", "icons/"]) {
    for (const name of await readdir(new URL(folder, web))) bytes += (await readFile(new URL(folder + name, web))).length;
  }
  assert.ok(bytes < 150_000, `${bytes} bytes before compression`);
});
