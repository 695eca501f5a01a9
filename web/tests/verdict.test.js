import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { cutTitle, sayAnnouncement, sayFirst, sayLately } from "../js/sentences.js";
import { Store } from "../js/store.js";
import { findSilence, judgeFleet, tallyFleet } from "../js/verdict.js";
import { sayCluster } from "../js/words.js";
import { cluster, snapshot } from "./fleet.js";

/**
 * @typedef {{count: number, state: number, previous?: number, since?: number | null, heard?: number | null}} Run
 * @typedef {{name: string, shards: Run[], groups_of?: number}} GoldenCluster
 * @typedef {import("../js/frames.js").Notices & {why: string, now: number, blind: boolean, clusters: GoldenCluster[],
 *   sentence: string, mood: string}} GoldenFleet
 */

/** @param {GoldenCluster} golden */
function build({ name, shards, groups_of: size }) {
  const rows = shards.flatMap((run) => Array.from({ length: run.count }, () => run));
  /** @type {Record<string, {group: string}>} */
  const details = {};
  if (size) rows.forEach((_, id) => (details[id] = { group: String(Math.floor(id / size)) }));
  return cluster(rows.map((row) => row.state).join(""), {
    name,
    details,
    previous: rows.map((row) => row.previous ?? 0).join(""),
    since: rows.map((row) => (row.since === undefined ? 1000 : row.since)),
    last_heard: rows.map((row) => (row.heard === undefined ? 1998 : row.heard)),
  });
}

/** The web service reads the same fleets. */
test("the golden fleets", async () => {
  /** @type {GoldenFleet[]} */
  const fleets = JSON.parse(await readFile(new URL("../../shared/protocol/golden/verdicts.json", import.meta.url), "utf8"));
  assert.ok(fleets.length >= 20);
  for (const { why, now, blind, announcement, maintenance, clusters, sentence, mood } of fleets) {
    const store = new Store();
    store.replace({ ...snapshot(...clusters.map(build)), announcement, maintenance });
    store.useNotices(now);
    const verdict = judgeFleet(tallyFleet(store, now));
    const first = sayFirst(verdict, store.announcement, blind ? "deaf" : null);
    assert.equal(first.sentence, sentence, why);
    assert.equal(first.mood, mood, why);
    if (store.announcement) assert.ok([first.sentence, first.second].includes(sayAnnouncement(store.announcement)), why);
  }
});

test("what happened lately is said once it is over", () => {
  const over = { cluster: "main", began: 1000, ended: 1240, shards: 128 };
  const now = 1240 + 12 * 60;
  assert.equal(sayLately([over], now), "12 minutes ago, 128 shards of main were down for 4 minutes.");
  assert.equal(sayLately([{ ...over, ended: null }], now), "");
  assert.equal(sayLately([over], now + 25 * 3600), "", "that is long ago");
  assert.match(sayLately([{ ...over, cluster: "new", ended: 1900 }, over], now), /new/, "the last one that ended");
  assert.equal(sayLately([], now), "");
});

test("an announcement gives way to the news that nothing is heard, but does not go", () => {
  const store = new Store();
  store.replace(snapshot(cluster("33")));
  const announcement = { text: "We know", severity: /** @type {const} */ ("critical"), until: null };
  const first = sayFirst(judgeFleet(tallyFleet(store, 2000)), announcement, "deaf");
  assert.match(first.sentence, /Last known: all 2 shards are online$/);
  assert.deepEqual([first.mood, first.second, first.secondMood], ["none", "We know", "bad"]);
});

test("a title is cut at a word", () => {
  assert.equal(cutTitle("short"), "short");
  const cut = cutTitle("words ".repeat(40));
  assert.ok(cut.endsWith("words…") && cut.length <= 141, cut);
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
  assert.equal(sayCluster(main, 1280, 2000, false), "main has not been heard for 12 minutes; that is all that is known.");
  assert.equal(sayCluster(main, 1280, 2000, true), "main had not been heard for 12 minutes when this picture was new.");
  assert.doesNotMatch(sayCluster(main, NaN, 2000, false), /NaN/);
  assert.equal(sayCluster(main, null, 2000, false), "");
  assert.match(sayCluster(auto, null, 2000, false), /appear here/);
});

test("maintenance is shown until its end, and not longer", () => {
  const store = new Store();
  const notice = { text: "New disk", severity: /** @type {const} */ ("info"), until: 3000 };
  store.replace(snapshot(cluster("3223", { details: { 1: { group: "a" }, 2: { group: "b" } } })));
  const [main] = store.clusters;
  main.takeDirty();
  store.applyNotices({ announcement: notice, maintenance: [{ ...notice, cluster: "main", group: "a" }] });
  store.useNotices(2000);
  assert.deepEqual([0, 1, 2, 3].map((id) => main.isMaintained(id)), [false, true, false, false]);
  assert.equal(main.takeDirty().length, 4, "all are drawn again");
  assert.match(sayCluster(main, null, 2000, false), /^Group a is under maintenance until .*: New disk$/);
  assert.equal(store.announcement?.text, "New disk");
  store.useNotices(2500);
  assert.equal(main.takeDirty().length, 0);
  store.useNotices(3000);
  assert.equal(main.isMaintained(1), false);
  assert.equal(store.announcement, null);
  assert.equal(main.takeDirty().length, 4);
});
