/** The golden files are written by the Rust side; both sides read them, so that neither can drift alone. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { decodeBitmap, eachBit } from "../js/bitmap.js";
import { checkSnapshot, parseFrame } from "../js/frames.js";
import { shardOfGuild } from "../js/guild.js";
import { Store } from "../js/store.js";

/** @param {string} name */
function readGolden(name) {
  return readFile(new URL(`../../shared/protocol/golden/${name}`, import.meta.url), "utf8");
}

/**
 * @template {import("../js/frames.js").Frame["op"]} Op
 * @param {string} name
 * @param {Op} op
 * @returns {Promise<Extract<import("../js/frames.js").Frame, {op: Op}>["payload"]>}
 */
async function readFrame(name, op) {
  const frame = parseFrame(await readGolden(name));
  assert.equal(frame?.op, op, `${name} is not understood`);
  return /** @type {any} */ (frame).payload;
}

test("page_hello.json", async () => {
  const hello = await readFrame("page_hello.json", "hello");
  assert.equal(typeof hello.build, "string");
  assert.ok(hello.clusters.length > 0);
  for (const { total, blocks } of hello.clusters) assert.equal(blocks.length, Math.ceil(total / 1024));
});

test("snapshot.json, and page_changes.json on top of it", async () => {
  const snapshot = checkSnapshot(JSON.parse(await readGolden("snapshot.json")));
  const store = new Store();
  store.replace(snapshot);
  snapshot.clusters.forEach((wanted, index) => {
    const cluster = store.clusters[index];
    assert.equal([...cluster.states].join(""), wanted.states);
    assert.equal([...cluster.previous].join(""), wanted.previous);
    wanted.since.forEach((since, id) => assert.equal(cluster.since[id], since ?? NaN));
  });

  const changes = await readFrame("page_changes.json", "changes");
  assert.ok(changes.shards.length > 0);
  for (const [id, state, previous, since] of changes.shards) {
    assert.ok([id, state, previous].every(Number.isInteger));
    assert.ok(since === null || Number.isFinite(since));
  }
});

test("page_pulse.json", async () => {
  const pulse = await readFrame("page_pulse.json", "pulse");
  for (const bitmap of Object.values(pulse.clusters)) {
    let heard = 0;
    eachBit(decodeBitmap(bitmap), Infinity, () => { heard += 1; });
    assert.ok(heard > 0, "a cluster of which nobody was heard is left out");
  }
});

test("guild_to_shard.json", async () => {
  /** @type {{guild: string, total: number, shard: number}[]} */
  const cases = JSON.parse(await readGolden("guild_to_shard.json"));
  assert.ok(cases.length > 0);
  for (const { guild, total, shard } of cases) assert.equal(shardOfGuild(BigInt(guild), total), shard, `${guild} of ${total}`);
});
