import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";

import { LANGUAGES, chooseLanguage, fill, formatNumber, useLanguage } from "../js/language.js";
import english from "../js/language/en.js";

const tags = Object.keys(LANGUAGES);
after(() => useLanguage("en", english));

/**
 * @param {any} words
 * @param {string} path
 * @returns {[path: string, text: string][]}
 */
function flatten(words, path = "") {
  return Object.entries(words).flatMap(([key, value]) => (
    typeof value === "string" ? [/** @type {[string, string]} */ ([path + key, value])] : flatten(value, `${path}${key}.`)
  ));
}

/** @param {string} text */
function gaps(text) {
  return Array.from(text.matchAll(/\{(\w+)\}/g), (match) => match[1]).sort().join();
}

for (const tag of tags) {
  test(`${LANGUAGES[/** @type {keyof typeof LANGUAGES} */ (tag)]} has every word, with the same gaps`, async () => {
    const words = (await import(`../js/language/${tag}.js`)).default;
    const wanted = new Map(flatten(english));
    const found = new Map(flatten(words));
    assert.deepEqual([...found.keys()].filter((key) => !/\.\w+$/.test(key)), [...wanted.keys()].filter((key) => !/\.\w+$/.test(key)));
    for (const [key, text] of wanted) {
      const own = found.get(key);
      assert.ok(own, `${key} is missing`);
      assert.equal(gaps(own), gaps(text), key);
    }
    useLanguage(tag, words);
    const library = new Intl.NumberFormat(tag);
    for (const n of [0, 7, 999, 1000, 4096, 9999, 10_000, 262_144, 1_000_000, -1056, 0.5]) assert.equal(formatNumber(n), library.format(n));
    for (const n of [0, 1, 2, 5, 1_000_000]) assert.doesNotMatch(fill(words.downSome, { n, total: 1056 }), /undefined|\{/);
  });
}

test("the languages differ", async () => {
  const texts = await Promise.all(tags.map(async (tag) => (await import(`../js/language/${tag}.js`)).default.noReports));
  assert.equal(new Set(texts).size, tags.length);
});

test("every word of index.html is in the languages, and English says the same", async () => {
  const html = await readFile(new URL("../index.html", import.meta.url), "utf8");
  /** @type {Record<string, string>} */
  const words = english.static;
  const marked = [...html.matchAll(/data-text="(\w+)"[^>]*>([^<]*)</g)].map(([, key, text]) => [key, text]);
  for (const [, attribute, key] of html.matchAll(/(?:aria-label|placeholder)="([^"]*)" data-(?:label|hint)="(\w+)"/g)) marked.push([key, attribute]);
  assert.ok(marked.length > 25);
  for (const [key, text] of marked) assert.equal(words[key], text, key);
  const used = new Set(marked.map(([key]) => key));
  assert.deepEqual(Object.keys(words).filter((key) => !used.has(key)), []);
  // What is left has no words of ours: the gaps, and what scripts write.
  const body = html.slice(html.indexOf("<body>")).replace(/<noscript>[^]*?<\/noscript>/, "").replace(/data-text="\w+"[^>]*>[^<]*</g, "><");
  const left = [...body.matchAll(/>([^<>]*[A-Za-z]{2}[^<>]*)</g)].map((match) => match[1].trim()).filter((text) => !/^\{\{\w+\}\}$/.test(text));
  assert.deepEqual(left, ["Connecting", "Copy link"]);
});

test("the viewer's choice comes first, then the operator's, then the browser's", () => {
  assert.equal(chooseLanguage("es", "de", ["en-US"]), "es");
  assert.equal(chooseLanguage("", "de", ["en-US"]), "de");
  assert.equal(chooseLanguage("", "", ["fr-FR", "de-AT", "en"]), "de");
  assert.equal(chooseLanguage("xx", "", ["fr"]), "en");
  assert.equal(chooseLanguage("", "", []), "en");
});
