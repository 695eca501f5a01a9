import assert from "node:assert/strict";
import { test } from "node:test";

import { CHUNK_CELLS, fitGrid, moveFocus } from "../js/layout.js";

test("rows are as wide as the window, and a chunk is a whole number of them", () => {
  for (const largest of [1, 16, 360, 1056, 16_384, 100_000]) {
    for (let width = 280; width < 4000; width += 37) {
      const { columns, pitch, gap } = fitGrid(width, largest, 2);
      assert.equal(CHUNK_CELLS % columns, 0);
      assert.ok(columns * pitch - gap <= width, `${largest} in ${width}: ${columns} x ${pitch}`);
      assert.ok(pitch >= 13 && pitch <= 28, `${largest} in ${width}: ${pitch}`);
    }
  }
});

test("a phone gets rows of 16, a desktop longer ones when the fleet needs them", () => {
  assert.equal(fitGrid(328, 1056).columns, 16);
  assert.equal(fitGrid(1200, 1056).columns, 64);
  assert.equal(fitGrid(1200, 66).columns, 16);
});

test("arrow keys move by cell and by row, and stay inside", () => {
  /** @type {[string, number, number | null][]} */
  const cases = [
    ["ArrowRight", 5, 6], ["ArrowRight", 39, 39], ["ArrowLeft", 0, 0], ["ArrowDown", 5, 21], ["ArrowDown", 30, 30],
    ["ArrowUp", 21, 5], ["ArrowUp", 5, 5], ["Home", 21, 0], ["End", 3, 39], ["PageDown", 3, 39], ["PageUp", 37, 5], ["a", 3, null],
  ];
  for (const [key, from, to] of cases) assert.equal(moveFocus(key, from, 40, 16), to, `${key} from ${from}`);
});
