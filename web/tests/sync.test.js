import assert from "node:assert/strict";
import { test } from "node:test";

import { ServerClock } from "../js/clock.js";
import { Store } from "../js/store.js";
import { Sync } from "../js/sync.js";
import { changes, cluster, snapshot } from "./fleet.js";

/**
 * @import {Snapshot, Version} from "../js/frames.js"
 * @typedef {{resolve: (snapshot: Snapshot | null) => void, reject: () => void, onlyNews: boolean}} Request
 */

/** A page without screen and network: requests and timers wait until the test moves them. */
function makePage() {
  const store = new Store();
  /** @type {Request[]} */
  const requests = [];
  /** @type {{action: () => void, delayMs: number}[]} */
  let timers = [];
  const lost = { count: 0 };
  const sync = new Sync({
    store,
    clock: new ServerClock(() => 0),
    readSnapshot: (onlyNews) => new Promise((resolve, fail) => {
      requests.push({ resolve, reject: () => fail(new Error("unreachable")), onlyNews });
    }),
    schedule: (action, delayMs) => {
      const timer = { action, delayMs };
      timers.push(timer);
      return () => { timers = timers.filter((other) => other !== timer); };
    },
    onChange: () => {},
    onLost: () => { lost.count += 1; },
    random: () => 0.5,
  });
  const runTimers = () => {
    const due = timers;
    timers = [];
    for (const { action } of due) action();
    return due.map(({ delayMs }) => delayMs);
  };
  /** @param {(request: Request) => void} answer */
  const answer = async (answer) => {
    const request = requests.shift();
    assert.ok(request, "nothing was asked for");
    answer(request);
    await new Promise(setImmediate);
  };
  /** @param {Version} version */
  const hello = (version) => sync.accept({
    op: "hello",
    payload: { build: "1", now: 2000, heard: 2000, judging_since: 1, clusters: [{ name: "main", total: 4, blocks: [version] }] },
  });
  return { store, sync, requests, runTimers, answer, hello, lost };
}

/**
 * @param {string} states
 * @param {Version} version
 */
function at(states, version) {
  return snapshot(cluster(states, { blocks: [version] }));
}

test("the first picture does not wait for the feed", async () => {
  const page = makePage();
  page.sync.start();
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  assert.ok(page.store.hasPicture);
  assert.ok(!page.sync.joined);
  // The feed continues exactly this picture: nothing more to ask for.
  page.hello([7, 5]);
  assert.ok(page.sync.joined);
  assert.deepEqual(page.runTimers(), []);
});

test("frames that come before the snapshot are applied to it, if they are newer", async () => {
  const page = makePage();
  page.hello([7, 5]);
  page.runTimers();
  page.sync.accept({ op: "changes", payload: changes([7, 6], [0, 2, 3, 1]) });
  page.sync.accept({ op: "changes", payload: changes([7, 8], [1, 2, 3, 1]) });
  assert.ok(!page.store.hasPicture);
  // Version 7 holds a state of shard 0 that is newer than the first frame.
  await page.answer(({ resolve }) => resolve(at("6333", [7, 7])));
  assert.ok(page.sync.joined);
  assert.deepEqual([...page.store.clusters[0].states], [6, 2, 3, 3]);
});

test("a snapshot from a replica that is behind is asked for again", async () => {
  const page = makePage();
  page.hello([7, 9]);
  page.runTimers();
  for (let round = 0; round < 5; round += 1) {
    await page.answer(({ resolve }) => resolve(at("2222", [7, 8])));
    assert.ok(!page.sync.joined);
    assert.equal(page.store.clusters[0].online, 0, "an early picture is better than none");
    assert.deepEqual(page.runTimers(), [300]);
  }
  await page.answer(({ resolve }) => resolve(at("2222", [7, 8])));
  const [patient] = page.runTimers();
  assert.ok(patient > 300);
  await page.answer(({ resolve }) => resolve(at("3333", [7, 9])));
  assert.ok(page.sync.joined);
  assert.equal(page.store.clusters[0].online, 4);
});

test("a snapshot that cannot be had is asked for again, ever less often", async () => {
  const page = makePage();
  page.sync.start();
  page.runTimers();
  await page.answer(({ reject }) => reject());
  const [first] = page.runTimers();
  await page.answer(({ reject }) => reject());
  const [second] = page.runTimers();
  assert.ok(first >= 500 && second > first);
  assert.equal(page.sync.failures, 2);
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  assert.equal(page.sync.failures, 0);
  assert.ok(page.store.hasPicture);
});

/** A page that follows the feed at version 7, 5. */
async function makeJoined() {
  const page = makePage();
  page.hello([7, 5]);
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  assert.ok(page.sync.joined);
  return page;
}

test("after an interruption the old picture stays until the new one is there", async () => {
  const page = await makeJoined();
  page.sync.disconnect();
  assert.ok(!page.sync.joined);
  assert.equal(page.store.clusters[0].online, 4);
  page.hello([7, 20]);
  page.runTimers();
  // A live frame is true even while the gap before it is open.
  page.sync.accept({ op: "changes", payload: changes([7, 21], [3, 2, 3, 1]) });
  assert.deepEqual([...page.store.clusters[0].states], [3, 3, 3, 2]);
  await page.answer(({ resolve }) => resolve(at("2333", [7, 20])));
  assert.ok(page.sync.joined);
  assert.deepEqual([...page.store.clusters[0].states], [2, 3, 3, 2]);
});

test("an interruption with the gap still open does not hide the gap", async () => {
  const page = await makeJoined();
  page.sync.disconnect();
  page.hello([7, 20]);
  page.sync.accept({ op: "changes", payload: changes([7, 21], [3, 2, 3, 1]) });
  page.sync.disconnect();
  page.hello([7, 21]);
  assert.ok(!page.sync.joined, "versions 6 to 20 were never seen");
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("2332", [7, 21])));
  assert.ok(page.sync.joined);
  assert.deepEqual([...page.store.clusters[0].states], [2, 3, 3, 2]);
});

test("a resync reads anew after a jitter, and distrusts an answer that was already on its way", async () => {
  const page = await makeJoined();
  page.sync.accept({ op: "resync", payload: { clusters: null } });
  assert.ok(!page.sync.joined);
  assert.deepEqual(page.runTimers(), [1000]);
  page.sync.accept({ op: "resync", payload: { clusters: null } });
  page.sync.accept({ op: "changes", payload: changes([7, 9], [0, 2, 3, 1]) });
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  assert.ok(!page.sync.joined, "written before what was missed");
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("3323", [7, 8])));
  assert.ok(page.sync.joined);
  assert.deepEqual([...page.store.clusters[0].states], [2, 3, 2, 3]);
});

test("a changed list of clusters is taken over", async () => {
  for (const clusters of [null, [{ name: "main", total: 2, blocks: /** @type {Version[]} */ ([[8, 1]]) }]]) {
    const page = await makeJoined();
    page.sync.accept({ op: "clusters", payload: { clusters } });
    page.runTimers();
    await page.answer(({ resolve }) => resolve(snapshot(cluster("33", { blocks: [[8, 1]] }))));
    assert.ok(page.sync.joined);
    assert.equal(page.store.clusters[0].total, 2);
  }
});

test("details are renewed without touching newer states", async () => {
  const page = await makeJoined();
  const done = page.sync.refresh();
  page.sync.accept({ op: "changes", payload: changes([7, 6], [0, 2, 3, 1]) });
  assert.ok(page.requests[0].onlyNews);
  await page.answer(({ resolve }) => resolve(snapshot(cluster("3333", { blocks: [[7, 5]], details: { 0: { guilds: 7 } } }))));
  await done;
  assert.ok(page.sync.joined);
  assert.deepEqual([...page.store.clusters[0].states], [2, 3, 3, 3]);
  assert.equal(page.store.clusters[0].details[0].guilds, 7);
});

test("details that cannot be renewed, are not new, or are old, change nothing", async () => {
  const page = await makeJoined();
  for (const reply of [
    (/** @type {Request} */ request) => request.reject(),
    (/** @type {Request} */ request) => request.resolve(null),
    (/** @type {Request} */ request) => request.resolve(at("0000", [7, 4])),
  ]) {
    const done = page.sync.refresh();
    await page.answer(reply);
    await done;
    assert.ok(page.sync.joined);
    assert.equal(page.store.clusters[0].online, 4);
    assert.deepEqual(page.runTimers(), []);
  }
});

test("a frame of a cluster or block that is not in the picture asks for a new one, ever less often", async () => {
  const page = await makeJoined();
  const strange = () => page.sync.accept({ op: "changes", payload: { ...changes([7, 6], [0, 2, 3, 1]), cluster: "patron_1" } });
  /** @type {number[]} */
  const delays = [];
  for (let round = 0; round < 3; round += 1) {
    strange();
    assert.ok(!page.sync.joined);
    strange();
    delays.push(...page.runTimers());
    await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
    assert.ok(!page.sync.joined, "the frame that came meanwhile is strange, too");
    delays.push(...page.runTimers());
    await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
    assert.ok(page.sync.joined);
  }
  assert.deepEqual(delays, [1000, 1500, 3000, 6000, 11_250, 11_250]);
  assert.equal(page.lost.count, 0);
  const block = { ...changes([7, 6], [1500, 2, 3, 1]), block: 1 };
  page.sync.accept({ op: "changes", payload: block });
  page.runTimers();
  await page.answer(({ resolve }) => resolve(snapshot(cluster("3".repeat(2000), { blocks: [[7, 5], [7, 6]] }))));
  assert.ok(page.sync.joined);
  assert.equal(page.store.clusters[0].total, 2000);
});

test("revisions that start anew are followed", async () => {
  const page = await makeJoined();
  page.sync.disconnect();
  page.hello([7, 1]);
  assert.ok(!page.sync.joined);
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("3333", [7, 1])));
  page.sync.accept({ op: "changes", payload: changes([7, 2], [0, 2, 3, 1]) });
  assert.equal(page.store.clusters[0].online, 3);
});

test("a step of the server's clock: ages stay, and times are asked for again", async () => {
  for (const now of [1000, 9000]) {
    const page = await makeJoined();
    const age = 2000 - page.store.clusters[0].since[0];
    page.sync.accept({ op: "pulse", payload: { now, heard: now, judging_since: 1, clusters: {} } });
    assert.ok(page.sync.joined);
    if (now < 2000) assert.equal(now - page.store.clusters[0].since[0], age);
    assert.equal(page.sync.completeAt, now);
    assert.deepEqual(page.runTimers(), [1000]);
    await page.answer(({ resolve }) => resolve({ ...snapshot(cluster("3333", { blocks: [[7, 5]], since: [1, 2, 3, 4] })), now }));
    assert.deepEqual([...page.store.clusters[0].since], [1, 2, 3, 4]);
  }
});

test("a page that cannot keep up connects anew instead of filling its memory", async () => {
  const page = await makeJoined();
  page.hello([7, 99_999]);
  for (let revision = 6; revision < 5000; revision += 1) page.sync.accept({ op: "changes", payload: changes([7, revision], [0, 2, 3, 1]) });
  assert.ok(page.lost.count > 0);
});

test("after a reconnect the snapshot is asked for after a jitter, since many come at once", async () => {
  const page = makePage();
  page.hello([7, 5]);
  assert.deepEqual(page.runTimers(), [0], "without a picture there is no time to lose");
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  page.sync.disconnect();
  page.hello([7, 6]);
  assert.deepEqual(page.runTimers(), [500]);
});

test("a snapshot that is never answered does not hold up the next connection", async () => {
  const page = makePage();
  page.hello([7, 5]);
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("3333", [7, 5])));
  page.sync.disconnect();
  page.hello([7, 6]);
  page.runTimers();
  const vanished = page.requests.shift();
  page.sync.disconnect();
  page.hello([7, 7]);
  page.runTimers();
  await page.answer(({ resolve }) => resolve(at("2333", [7, 7])));
  assert.ok(page.sync.joined);
  // It answers after all: that is too late to count.
  vanished?.resolve(at("6666", [7, 6]));
  await new Promise(setImmediate);
  assert.equal(page.store.clusters[0].online, 3);
});
