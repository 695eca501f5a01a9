import assert from "node:assert/strict";
import { test } from "node:test";

import { agePicture, judgeConnection } from "../js/connection.js";
import { announceConnection, sayConnection } from "../js/sentences.js";

/** @type {import("../js/connection.js").Facts} */
const FINE = {
  deviceOnline: true,
  phase: "open",
  silence: 0.4,
  hasPicture: true,
  joined: true,
  clock: 2000.4,
  completeAt: 2000,
  now: 2000,
  heard: 1999.5,
  unheardAt: NaN,
  isPolling: false,
  judging: true,
};

/** @type {[name: string, facts: Partial<typeof FINE>, condition: string, age: number | null][]} */
const CASES = [
  ["all is well", {}, "live", null],
  ["nobody is judged yet", { judging: false }, "unjudged", null],
  ["the dashboard heard nothing for 5 seconds", { heard: 1995 }, "live", null],
  ["and for longer", { heard: 1990, clock: 2000 }, "deaf", 10],
  ["and never", { heard: NaN, unheardAt: 1990 }, "deaf", NaN],
  ["without the feed, but asking", { isPolling: true, phase: "waiting", silence: Infinity, joined: false }, "live", null],
  ["asking a dashboard that hears nothing", { isPolling: true, phase: "waiting", silence: Infinity, joined: false, heard: 1990, clock: 2000 }, "deaf", 10],
  ["the dashboard was just started", { heard: NaN, unheardAt: 1998 }, "loading", null],
  ["a late frame is not the dashboard's deafness", { clock: 2004.9, silence: 4.9 }, "live", null],
  ["nothing arrives any more", { clock: 2007, silence: 7 }, "stalled", 7],
  ["the browser says offline, but frames arrive", { deviceOnline: false }, "live", null],
  ["the device is offline", { deviceOnline: false, phase: "waiting", silence: Infinity, clock: 2060 }, "offline", 60],
  ["the connection is gone", { phase: "waiting", silence: Infinity, joined: false, clock: 2060 }, "lost", 60],
  ["and is tried again", { phase: "connecting", silence: Infinity, joined: false, clock: 2060 }, "lost", 60],
  ["and is back, but the picture is not", { joined: false, clock: 2060 }, "lost", 60],
  ["the feed speaks, but the picture cannot be had", { joined: false, completeAt: 1940 }, "lost", 60.4],
  ["a replica was stopped a moment ago", { phase: "waiting", silence: Infinity, joined: false, clock: 2003.5 }, "loading", null],
  ["and none has taken over", { phase: "waiting", silence: Infinity, joined: false, clock: 2004.5 }, "lost", 4.5],
  ["the server's clock was set back", { phase: "waiting", silence: 8, clock: 1000, deviceOnline: false }, "offline", 0],
  ["the first connection", { phase: "connecting", silence: Infinity, joined: false, hasPicture: false, now: NaN, completeAt: NaN, clock: NaN }, "loading", null],
  ["a picture, and the feed is on its way", { phase: "connecting", silence: Infinity, joined: false }, "loading", null],
];

test("device, connection and dashboard are told apart", () => {
  for (const [name, facts, condition, age] of CASES) {
    const all = { ...FINE, ...facts };
    assert.equal(judgeConnection(all), condition, name);
    const found = agePicture(judgeConnection(all), all);
    assert.equal(found === null ? null : Math.round(found * 10) / 10, age, name);
  }
});

test("an old picture says how old it is", () => {
  assert.match(sayConnection("lost", 130, 4.2, false), /cannot reach the dashboard\. This picture is 2 minutes old\. Trying again in 4 seconds\./);
  assert.match(sayConnection("deaf", 12, 0, false), /cannot hear the bots.*12 seconds old/);
  assert.match(sayConnection("offline", 12, 0, false), /Your device is offline.*12 seconds old/);
  assert.doesNotMatch(sayConnection("deaf", NaN, 0, false), /NaN/);
  assert.match(sayConnection("unjudged", 42, 0, false), /no shard counts as silent yet\. It has been so for 42 seconds\.$/);
  assert.doesNotMatch(sayConnection("unjudged", NaN, 0, false), /NaN/);
  assert.equal(sayConnection("live", null, 0, false), "");
  assert.equal(sayConnection("loading", null, 0, false), "");
  assert.match(sayConnection("loading", null, 0, true), /does not answer/);
});

test("screen readers hear no ages", () => {
  for (const [, , condition] of CASES) {
    assert.doesNotMatch(announceConnection(/** @type {import("../js/connection.js").Condition} */ (condition)), /\d/);
  }
});
