import assert from "node:assert/strict";
import { test } from "node:test";

import { judgeFleet } from "../js/verdict.js";
import { sayVerdict } from "../js/words.js";

/**
 * @param {string} name
 * @param {Record<number, number>} counts by state
 */
function tally(name, counts) {
  const all = Array.from({ length: 7 }, (_, state) => counts[state] ?? 0);
  return { name, total: all.reduce((sum, count) => sum + count, 0), counts: all };
}

/** @type {[fleet: ReturnType<typeof tally>[], sentence: string, mood: string][]} */
const CASES = [
  [[], "No bots are configured yet", "none"],
  [[tally("main", { 0: 360 })], "No shard has reported yet", "none"],
  [[tally("main", { 3: 1 })], "The one shard is online", "good"],
  [[tally("main", { 3: 3500 }), tally("demo", { 3: 84 })], "All 3,584 shards are online", "good"],
  [[tally("main", { 3: 1055, 2: 1 }), tally("demo", { 3: 6 })], "1 of 1,056 shards of main is down", "warn"],
  [[tally("main", { 3: 928, 2: 100, 1: 28 }), tally("demo", { 3: 6 })], "128 of 1,056 shards of main are down", "bad"],
  [[tally("main", { 3: 928, 2: 128 }), tally("demo", { 1: 6 })], "134 of 1,062 shards of main and demo are down", "bad"],
  [[tally("main", { 2: 6 })], "All 6 shards are down", "bad"],
  [[tally("main", { 3: 23, 4: 43 })], "43 of 66 shards are restarting", "calm"],
  [[tally("main", { 3: 64, 6: 1, 0: 1 })], "1 of 66 shards is restarting", "calm"],
  [[tally("main", { 3: 64, 0: 2 })], "All is well; 2 shards have not reported yet", "good"],
];

test("one sentence for the whole fleet", () => {
  for (const [fleet, sentence, mood] of CASES) {
    const verdict = judgeFleet(fleet);
    assert.equal(sayVerdict(verdict, fleet.length > 1), sentence);
    assert.equal(verdict.mood, mood, sentence);
  }
});
