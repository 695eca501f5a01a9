import assert from "node:assert/strict";
import { test } from "node:test";

import { compareVersions, isUpToDate, Store } from "../js/store.js";
import { changes, cluster, snapshot } from "./fleet.js";

/** @param {string} states */
function storeOf(states) {
  const store = new Store();
  store.applyTimes(snapshot());
  store.replace(snapshot(cluster(states)));
  for (const each of store.clusters) each.takeDirty();
  return store;
}

test("a snapshot gives states, times and counts", () => {
  const store = new Store();
  store.replace(snapshot(cluster("3310", { previous: "4430", details: { 1: { latency_ms: 41 } } }), cluster("3", { name: "demo" })));
  const [main, demo] = store.clusters;
  assert.deepEqual([...main.states], [3, 3, 1, 0]);
  assert.deepEqual([...main.previous], [4, 4, 3, 0]);
  assert.deepEqual([...main.counts], [1, 1, 0, 2, 0, 0, 0]);
  assert.equal(main.online, 2);
  assert.equal(demo.online, 1);
  assert.equal(main.since[0], 1000);
  assert.ok(Number.isNaN(main.since[3]));
  assert.equal(main.details[1].latency_ms, 41);
  assert.ok(store.hasPicture);
});

test("a change moves one shard, and only that one is drawn again", () => {
  const store = storeOf("3333");
  assert.equal(store.applyChanges(changes([7, 51], [2, 1, 3, 1795.5, "timeout"])), "applied");
  const [main] = store.clusters;
  assert.deepEqual([...main.states], [3, 3, 1, 3]);
  assert.equal(main.previous[2], 3);
  assert.equal(main.since[2], 1795.5);
  assert.equal(main.online, 3);
  assert.deepEqual(main.takeDirty(), [2]);
  assert.deepEqual(main.takeDirty(), []);
});

test("a frame that is not newer than its block is skipped", () => {
  const store = storeOf("3333");
  store.applyChanges(changes([7, 50], [0, 2, 3, 1]));
  store.applyChanges(changes([6, 99], [0, 2, 3, 1]));
  assert.equal(store.clusters[0].online, 4);
  store.applyChanges(changes([8, 1], [0, 2, 3, 1]));
  assert.equal(store.clusters[0].online, 3);
});

test("the parts of a version count together, or not at all", () => {
  const store = storeOf("3333");
  store.applyChanges(changes(null, [0, 2, 3, 1]));
  assert.equal(store.clusters[0].online, 4, "a part waits for its version");
  store.applyChanges(changes([7, 51], [1, 2, 3, 1]));
  assert.equal(store.clusters[0].online, 2);

  // The snapshot was newer: the old part must not turn the shard back.
  store.applyChanges(changes(null, [2, 2, 3, 1]));
  store.applyChanges(changes([7, 51], [3, 2, 3, 1]));
  assert.equal(store.clusters[0].online, 2);
});

test("parts that never end are given up", () => {
  const store = storeOf("3333");
  let fate = "applied";
  for (let frame = 0; frame < 10_000 && fate === "applied"; frame += 1) fate = store.applyChanges(changes(null, [0, 2, 3, 1]));
  assert.equal(fate, "too_much");
});

test("nonsense in a frame touches nothing", () => {
  const store = storeOf("33");
  store.applyChanges(changes([7, 51], [5, 2, 3, 1], [-1, 2, 3, 1], [0.5, 2, 3, 1], [0, 9, 3, 1]));
  store.applyChanges({ ...changes([7, 52], [0, 2, 3, 1]), cluster: "elsewhere" });
  assert.equal(store.clusters[0].online, 2);
});

test("a pulse says who was heard and how the dashboard is", () => {
  const store = storeOf("3333");
  const heard = Buffer.from([0b0101]).toString("base64");
  store.applyPulse({ now: 2001, heard: 2000.9, judging_since: null, clusters: { main: heard } });
  const [main] = store.clusters;
  assert.deepEqual([...main.lastHeard], [2001, 1000, 2001, 1000]);
  assert.equal(store.now, 2001);
  assert.equal(store.heard, 2000.9);
  assert.equal(store.judging, false);
  store.applyPulse({ now: 2002, heard: 2002, judging_since: 2001, clusters: {} });
  assert.equal(main.heard.length, 0);
  assert.equal(store.judging, true);
});

test("a snapshot that was written before a pulse does not make shards look silent", () => {
  const store = storeOf("33");
  store.applyPulse({ now: 2001, heard: 2001, judging_since: 1, clusters: { main: "AQ==" } });
  store.replace(snapshot(cluster("33")));
  assert.deepEqual([...store.clusters[0].lastHeard], [2001, 1000]);
});

test("the same clusters keep their cells; others are built anew", () => {
  const store = storeOf("3333");
  const { shape } = store;
  store.replace(snapshot(cluster("3313")));
  assert.equal(store.shape, shape);
  assert.deepEqual(store.clusters[0].takeDirty(), [2]);
  store.replace(snapshot(cluster("33133")));
  assert.equal(store.shape, shape + 1);
  store.replace(snapshot(cluster("3", { name: "demo" }), cluster("33133")));
  assert.equal(store.shape, shape + 2);
  store.replace(snapshot());
  assert.equal(store.shape, shape + 3);
});

test("versions are compared by epoch, then by revision", () => {
  assert.ok(compareVersions([8, 1], [7, 99]) > 0);
  assert.ok(compareVersions([7, 2], [7, 10]) < 0);
  assert.equal(compareVersions([7, 2], [7, 2]), 0);
  const held = [{ name: "main", total: 2000, blocks: /** @type {[number, number][]} */ ([[7, 5], [7, 6]]) }];
  assert.ok(isUpToDate(held, [{ name: "main", total: 2000, blocks: [[7, 5], [6, 9]] }]));
  assert.ok(!isUpToDate(held, [{ name: "main", total: 2000, blocks: [[7, 5], [7, 7]] }]));
  assert.ok(!isUpToDate(held, [{ name: "main", total: 2001, blocks: [[7, 5], [7, 6]] }]));
  assert.ok(!isUpToDate(held, []));
});

test("what the picture does not have is told, unless it is old news", () => {
  const store = storeOf("3333");
  assert.equal(store.applyChanges({ ...changes([7, 51], [0, 2, 3, 1]), cluster: "elsewhere" }), "strange");
  for (const block of [1, -1, 2 ** 40]) assert.equal(store.applyChanges({ ...changes([7, 51], [0, 2, 3, 1]), block }), "strange");
  assert.equal(store.applyChanges(changes([7, 51], [4, 3, 0, 1])), "strange", "the cluster has grown");
  assert.equal(store.applyChanges(changes([7, 50], [4, 3, 0, 1])), "applied", "and has shrunk since");
  assert.equal(store.clusters[0].online, 4);
});

test("a cluster whose size is not known yet has no shards", () => {
  const store = new Store();
  store.replace(snapshot(cluster("", { name: "auto" }), cluster("3")));
  assert.equal(store.clusters[0].isSized, false);
  assert.equal(store.applyChanges({ ...changes([7, 51], [0, 3, 0, 1]), cluster: "auto" }), "strange");
  const { shape } = store;
  store.replace(snapshot(cluster("33", { name: "auto" }), cluster("3")));
  assert.ok(store.clusters[0].isSized);
  assert.equal(store.shape, shape + 1);
});

test("a clock that is set back leaves ages as they are", () => {
  const store = storeOf("31");
  store.applyPulse({ now: 2001, heard: 2001, judging_since: null, clusters: { main: "AQ==" } });
  assert.equal(store.unjudgedAt, 2001);
  store.shiftTimes(-500);
  const [main] = store.clusters;
  assert.deepEqual([main.since[0], main.lastHeard[0], main.lastHeard[1], store.unjudgedAt], [500, 1501, 500, 1501]);
});

test("a sign of life that is later than the snapshot was told by another clock", () => {
  const store = storeOf("33");
  store.applyPulse({ now: 5600, heard: 5600, judging_since: 1, clusters: { main: "AQ==" } });
  store.replace({ ...snapshot(cluster("33", { last_heard: [1990, 1991] })), now: 2000 });
  assert.deepEqual([...store.clusters[0].lastHeard], [1990, 1991]);
  store.applyPulse({ now: 2001, heard: 2001, judging_since: 1, clusters: { main: "AQ==" } });
  store.replace({ ...snapshot(cluster("33", { last_heard: [1990, 1991] })), now: 2000 });
  assert.deepEqual([...store.clusters[0].lastHeard], [2001, 1991], "a pulse knows a little more");
});

test("since when nobody is flagged is known to those who saw it begin", () => {
  const store = storeOf("3");
  const tell = (/** @type {number} */ now, /** @type {number | null} */ since) => store.applyTimes({ now, heard: now, judging_since: since });
  const late = new Store();
  late.applyTimes({ now: 2000, heard: 2000, judging_since: null });
  assert.ok(Number.isNaN(late.unjudgedAt));
  tell(2000, 1);
  tell(2001, null);
  tell(2002, null);
  assert.equal(store.unjudgedAt, 2001);
  tell(2003, 2003);
  assert.ok(Number.isNaN(store.unjudgedAt));
});

test("a replica that was just started does not make the dashboard deaf, nor unsure", () => {
  const store = storeOf("3");
  store.applyTimes({ now: 2000, heard: 1999.5, judging_since: 1 });
  store.applyTimes({ now: 2001, heard: null, judging_since: null });
  assert.equal(store.heard, 1999.5);
  assert.equal(store.judging, true);
  const fresh = new Store();
  fresh.applyTimes({ now: 2000, heard: null, judging_since: 1 });
  fresh.applyTimes({ now: 2001, heard: null, judging_since: 1 });
  assert.ok(Number.isNaN(fresh.heard));
  assert.equal(fresh.unheardAt, 2000);
});
