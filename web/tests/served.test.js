/** What is served fits together: the web service embeds these files, and fills the gaps of index.html. */

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const web = new URL("../", import.meta.url);
const html = await readFile(new URL("index.html", web), "utf8");
const scripts = await list("js/");

/**
 * @param {string} folder
 * @returns {Promise<string[]>} the files in it and below, without the folder
 */
async function list(folder) {
  const files = await readdir(new URL(folder, web), { recursive: true, withFileTypes: true });
  return files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name).split(`/web/${folder}`)[1]);
}

test("index.html names every style sheet, and the script that all others hang on", async () => {
  const [, styles] = /\{\{styles ([^}]+)\}\}/.exec(html) ?? [];
  assert.deepEqual(styles.split(" ").map((name) => name.replace("css/", "")).sort(), (await list("css/")).sort());
  assert.match(html, /\{\{script js\/main\.js\}\}/);
  const entry = await readFile(new URL("js/main.js", web), "utf8");
  const sources = await Promise.all(scripts.map((name) => readFile(new URL(`js/${name}`, web), "utf8")));
  const imported = new Set(sources.flatMap((source) => Array.from(source.matchAll(/(?:from |import\()"\.\/([^"]+)"/g), (match) => match[1])));
  assert.ok(entry.includes("import "));
  assert.deepEqual(scripts.filter((name) => name !== "main.js" && !imported.has(name)), [], "a module that nobody needs");
});

test("all addresses are relative and lead to a file", async () => {
  let count = 0;
  for (const [, address] of html.matchAll(/(?:href|src)="([^"#]+)"/g)) {
    if (["{{link}}", "{{logo}}", "{{plain}}", "plain", "manifest.webmanifest"].includes(address)) continue;
    assert.match(address, /^\{\{assets\}\}\//);
    await readFile(new URL(address.replace("{{assets}}/", "").replace("{{mood}}", "good"), web));
    count += 1;
  }
  assert.ok(count > 2);
});

test("a strict content security policy is possible", async () => {
  assert.doesNotMatch(html, /<style|\sstyle=|\son[a-z]+=|javascript:/i);
  const inline = Array.from(html.matchAll(/<script>([^]*?)<\/script>/g), (match) => match[1]);
  assert.equal(inline.length, 1, "one script in the page itself, so that one hash allows it");
  assert.doesNotMatch(inline[0], /\{\{/, "it is the same for everybody");
  for (const name of scripts) {
    const code = await readFile(new URL(`js/${name}`, web), "utf8");
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.cssText|setAttribute\("style"/, name);
  }
});

test("browsers of 2021 understand the scripts", async () => {
  const younger = /\.(?:findLast|findLastIndex|toSorted|toReversed|toSpliced|at)\(|Object\.(?:hasOwn|groupBy)|structuredClone|AbortSignal\.(?:timeout|any)\(|\(\?<[=!]|^\s*static \{|Promise\.withResolvers/m;
  for (const name of scripts) assert.doesNotMatch(await readFile(new URL(`js/${name}`, web), "utf8"), younger, name);
});
