import assert from "node:assert/strict";
import { test } from "node:test";

import { Store } from "../js/store.js";
import { explainUnclear, listFacts, nameCell, sayAnswer, sayShard } from "../js/words.js";
import { cluster, snapshot } from "./fleet.js";

function makeCluster() {
  const store = new Store();
  store.replace(snapshot(cluster("310", {
    previous: "450",
    since: [1000, 1960, null],
    last_heard: [1994, 1900, null],
    details: { 0: { group: "3", version: "2.4.1", latency_ms: 41.4, guilds: 1234, unavailable_guilds: 0, events_per_s: 0 } },
  })));
  return store.clusters[0];
}

test("a shard in one line", () => {
  const main = makeCluster();
  assert.equal(nameCell(main, 0), "Shard 0, online, group 3");
  assert.equal(sayShard(main, 0, 2000), "online for 16 minutes, last heard 6 seconds ago");
  assert.equal(sayShard(main, 1, 2000), "unhealthy for 40 seconds, was stopping before, last heard 100 seconds ago");
  assert.equal(sayShard(main, 2, 2000), "not known yet: it has not reported");
  const guild = /** @type {const} */ ({ kind: "guild", guild: 1n });
  assert.equal(sayAnswer(guild, main, 0, 2000)[0], "Your server is on shard 0 of main (group 3)");
  assert.equal(sayAnswer(guild, main, 1, 2000)[0], "Your server is on shard 1 of main");
  assert.equal(sayAnswer({ kind: "direct" }, main, 0, 2000).join(": "),
    "Direct messages are on shard 0 of main (group 3): online for 16 minutes, last heard 6 seconds ago");
});

test("the panel lists what is known, and nothing else", () => {
  const main = makeCluster();
  const terms = listFacts(main, 0, 2000).map(([term, value]) => `${term}: ${value}`);
  assert.deepEqual(terms, [
    "In this state: for 16 minutes",
    "State before: Starting",
    "Last health check: 6 seconds ago",
    "Group: 3",
    "Latency: 41 ms",
    "Servers: 1,234",
    "Events: 0 a second",
    "Version: 2.4.1",
  ]);
  assert.deepEqual(listFacts(main, 1, 2000)[1], ["State before", "Stopping"]);
  assert.deepEqual(listFacts(main, 2, 2000), [["Last health check", "none so far"]]);
});

test("every unclear question has a helpful answer", () => {
  for (const why of /** @type {const} */ (["invite", "mention", "several", "too_long", "too_short", "no_number"])) {
    assert.ok(explainUnclear(why).length > 20);
  }
});
