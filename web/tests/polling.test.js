import assert from "node:assert/strict";
import { test } from "node:test";

import { Polling } from "../js/polling.js";
import { Upgrade } from "../js/upgrade.js";

/** A network whose feed fails, and a clock that a test moves. */
function makePolling() {
  const world = { now: 0, failures: 3, isHidden: false, asked: 0, answers: true, tookMs: 0 };
  const polling = new Polling({
    poll: async () => {
      world.asked += 1;
      world.now += world.tookMs;
      return world.answers;
    },
    countFailures: () => world.failures,
    isHidden: () => world.isHidden,
    stopwatch: () => world.now,
    random: () => 0.5,
  });
  return { world, polling };
}

test("asks while the feed fails, and stops when it is back", async () => {
  const { world, polling } = makePolling();
  world.failures = 2;
  await polling.watch();
  assert.deepEqual([world.asked, polling.isAlive()], [0, false]);
  world.failures = 3;
  await polling.watch();
  await polling.watch();
  assert.deepEqual([world.asked, polling.isAlive()], [1, true], "not again at once");
  world.now += 5000;
  await polling.watch();
  assert.equal(world.asked, 2);
  world.failures = 0;
  await polling.watch();
  assert.equal(polling.isAlive(), false, "the feed tells");
});

test("what is not answered is asked less often, and is not alive", async () => {
  const { world, polling } = makePolling();
  world.answers = false;
  for (let second = 0; second < 60; second += 1) {
    await polling.watch();
    world.now += 1000;
  }
  assert.ok(world.asked > 3 && world.asked < 15, String(world.asked));
  assert.equal(polling.isAlive(), false);
});

test("a large answer is asked for less often, and nobody who does not look asks", async () => {
  const { world, polling } = makePolling();
  world.tookMs = 2000;
  await polling.watch();
  world.now += 19_000;
  await polling.watch();
  assert.deepEqual([world.asked, polling.isAlive()], [1, true]);
  world.now += 2000;
  world.isHidden = true;
  await polling.watch();
  assert.equal(world.asked, 1);
  world.isHidden = false;
  await polling.watch();
  assert.equal(world.asked, 2);
});

/** @param {string} build */
function makeUpgrade(build) {
  /** @type {Map<string, string>} */
  const kept = new Map();
  /** @type {{now: number, isBusy: boolean, reloads: number, due: (() => void)[], delays: number[]}} */
  const world = { now: 1_000_000_000, isBusy: false, reloads: 0, due: [], delays: [] };
  const make = () => new Upgrade(build, {
    reload: () => { world.reloads += 1; },
    isBusy: () => world.isBusy,
    isHidden: () => false,
    schedule: (action, delayMs) => {
      world.due.push(action);
      world.delays.push(delayMs);
    },
    storage: { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => void kept.set(name, value) },
    clock: () => world.now,
    random: () => 0.5,
  });
  return { world, make };
}

test("another page is loaded once, and not by all at the same moment", () => {
  const { world, make } = makeUpgrade("old");
  const page = make();
  page.note("old");
  page.note("");
  assert.equal(world.due.length, 0);
  page.note("new");
  page.note("new");
  assert.deepEqual(world.delays, [15_000]);
  world.due.shift()?.();
  assert.equal(world.reloads, 1);
  // A replica of the old version answered, and the next hello is of the new one again.
  world.now += 60_000;
  const again = make();
  world.delays = [];
  again.note("new");
  assert.deepEqual(world.delays, [9 * 60_000 + 15_000], "not back and forth");
  again.note("old");
  world.due.shift()?.();
  assert.equal(world.reloads, 1, "it is the newest after all");
  world.now += 3_600_000;
  world.delays = [];
  again.note("new");
  assert.deepEqual(world.delays, [15_000]);
  world.due.shift()?.();
  assert.equal(world.reloads, 2);
});

test("who is busy is left alone, but not for ever", () => {
  const { world, make } = makeUpgrade("old");
  world.isBusy = true;
  make().note("new");
  let rounds = 0;
  while (world.reloads === 0 && rounds < 1000) {
    world.due.shift()?.();
    rounds += 1;
  }
  assert.ok(rounds > 10 && rounds < 100, String(rounds));
});

test("a page that does not know what it is stays", () => {
  const { world, make } = makeUpgrade("");
  make().note("new");
  assert.equal(world.due.length, 0);
});
