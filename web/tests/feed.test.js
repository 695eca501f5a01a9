import assert from "node:assert/strict";
import { test } from "node:test";

import { findAddresses } from "../js/branding.js";
import { checkSnapshot, parseFrame } from "../js/frames.js";
import { createSnapshotReader } from "../js/snapshot.js";
import { cluster, snapshot } from "./fleet.js";

test("addresses are relative to the page, so that a path prefix works", () => {
  const config = { title: "", api: "", language: "", assets: "assets", build: "" };
  const here = findAddresses(config, "https://bots.example.org/status/#guild=1");
  assert.equal(here.snapshot.href, "https://bots.example.org/status/api/snapshot");
  assert.equal(here.feed.href, "wss://bots.example.org/status/api/feed?dialect=page");
  assert.equal(here.plain.href, "https://bots.example.org/status/plain");
  const local = findAddresses(config, "http://127.0.0.1:3000/");
  assert.equal(local.feed.href, "ws://127.0.0.1:3000/api/feed?dialect=page");
  const elsewhere = findAddresses({ ...config, api: "https://api.example.org/glance" }, "https://cdn.example.org/page/");
  assert.equal(elsewhere.snapshot.href, "https://api.example.org/glance/api/snapshot");
});

test("frames that this page does not know are left alone", () => {
  for (const text of [
    "", "null", "3", "[]", "{", '{"op":"changes"}', '{"op":"changes","payload":null}', '{"op":"dance","payload":{}}',
    '{"op":"changes","payload":{"cluster":"main","block":0,"version":[7],"shards":[]}}',
    '{"op":"hello","payload":{"now":1,"clusters":[{"name":"main","total":-1,"blocks":[]}]}}',
    '{"op":"pulse","payload":{"now":"soon","clusters":{}}}',
  ]) {
    assert.equal(parseFrame(text), null, text);
  }
  assert.equal(parseFrame('{"op":"resync","payload":{}}')?.op, "resync");
});

test("a snapshot with columns that do not fit is refused", () => {
  const good = snapshot(cluster("3310"));
  assert.deepEqual(checkSnapshot(good), good);
  assert.throws(() => checkSnapshot(null));
  assert.throws(() => checkSnapshot({ ...good, now: null }));
  assert.throws(() => checkSnapshot(snapshot(cluster("3310", { previous: "0" }))));
  assert.throws(() => checkSnapshot(snapshot(cluster("3310", { since: [1] }))));
  assert.throws(() => checkSnapshot(snapshot(cluster("3310", { total: 1e9 }))));
});

test("only news are asked for by ETag", async () => {
  /** @type {(string | undefined)[]} */
  const asked = [];
  const answers = [
    new Response(JSON.stringify(snapshot(cluster("3"))), { headers: { ETag: '"1"' } }),
    new Response(null, { status: 304, headers: { "Glance-Build": "new" } }),
    new Response("busy", { status: 503 }),
  ];
  /** @type {string[]} */
  const builds = [];
  const read = createSnapshotReader(new URL("http://127.0.0.1/api/snapshot"), (build) => builds.push(build), async (_address, options) => {
    asked.push(/** @type {Record<string, string>} */ (options?.headers)["If-None-Match"]);
    return /** @type {Response} */ (answers.shift());
  });
  assert.equal((await read(true))?.clusters[0].total, 1);
  assert.equal(await read(true), null);
  await assert.rejects(read(false));
  assert.deepEqual(asked, [undefined, '"1"', undefined]);
  assert.deepEqual(builds, ["", "new", ""]);
});
