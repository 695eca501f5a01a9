import assert from "node:assert/strict";
import { test } from "node:test";

import { Store } from "../js/store.js";
import { findSilence, judgeFleet } from "../js/verdict.js";
import { sayCluster, sayVerdict } from "../js/words.js";
import { cluster, snapshot } from "./fleet.js";

/**
 * @param {string} name
 * @param {Record<number, number>} counts by state
 */
function tally(name, counts, isSilent = false) {
  const all = Array.from({ length: 7 }, (_, state) => counts[state] ?? 0);
  return { name, total: all.reduce((sum, count) => sum + count, 0), counts: all, isSilent };
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
  [[tally("main", { 1: 6 }, true)], "Nothing is heard from main", "bad"],
  [[tally("main", { 1: 5, 0: 1 }, true), tally("demo", { 3: 1 })], "Nothing is heard from main", "bad"],
  [[tally("main", { 1: 6 }, true), tally("demo", { 2: 1, 3: 1 })], "7 of 8 shards of main and demo are down", "bad"],
  [[tally("main", {})], "No shard has reported yet", "none"],
  [[tally("auto", {}), tally("main", { 3: 99, 2: 1 })], "1 of 100 shards of main is down", "warn"],
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

test("a cluster of which nothing is heard says since when, once", () => {
  /** @type {[states: string, lastHeard: (number | null)[], now: number, since: number | null][]} */
  const cases = [
    ["110", [1000, 1280, null], 2000, 1280],
    ["113", [1000, 1280, 1200], 2000, null],
    ["112", [1000, 1280, 1200], 2000, null],
    ["000", [null, null, null], 2000, null],
    // The bot itself says that it is unhealthy: it is heard.
    ["111", [1000, 1280, 1999], 2000, null],
    ["11", [null, null], 2000, NaN],
  ];
  for (const [states, lastHeard, now, since] of cases) {
    const store = new Store();
    store.replace(snapshot(cluster(states, { last_heard: lastHeard })));
    assert.equal(findSilence(store.clusters[0], now), since, states);
  }
  const reportedUnknown = new Store();
  reportedUnknown.replace(snapshot(cluster("10", { since: [1000, 1000] })));
  assert.equal(findSilence(reportedUnknown.clusters[0], 2000), null, "one that reported 0 is not flagged yet");
});

test("the sentence about a cluster", () => {
  const store = new Store();
  store.replace(snapshot(cluster("11", { last_heard: [1000, 1280] }), cluster("", { name: "auto" })));
  const [main, auto] = store.clusters;
  assert.equal(sayCluster(main, 1280, 2000, false), "Main has not been heard for 12 minutes; that is all that is known.");
  assert.equal(sayCluster(main, 1280, 2000, true), "Main had not been heard for 12 minutes when this picture was new.");
  assert.doesNotMatch(sayCluster(main, NaN, 2000, false), /NaN/);
  assert.equal(sayCluster(main, null, 2000, false), "");
  assert.match(sayCluster(auto, null, 2000, false), /appear here/);
});
