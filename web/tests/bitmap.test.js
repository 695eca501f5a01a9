import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeBitmap, eachBit } from "../js/bitmap.js";

/**
 * @param {string} text
 * @param {number} total
 */
function ids(text, total) {
  /** @type {number[]} */
  const found = [];
  eachBit(decodeBitmap(text), total, (id) => found.push(id));
  return found;
}

test("bits come least significant first", () => {
  assert.deepEqual(ids(Buffer.from([0b1000_0001, 0, 0b10]).toString("base64"), 24), [0, 7, 17]);
  assert.deepEqual(ids("", 8), []);
});

test("bits beyond the last shard are ignored", () => {
  assert.deepEqual(ids(Buffer.from([0xff, 0xff]).toString("base64"), 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("what is not base64 says nothing", () => {
  assert.deepEqual(ids("!!!", 8), []);
});
