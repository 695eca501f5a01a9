/** What the services say on `$SRV`, read by NATS's own client of that protocol, on a broker with the accounts of nats.conf. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Svcm } from "@nats-io/services";

import { Services } from "./services.js";
import { LIMIT } from "./support.js";

const NAMES = ["glance-aggregator", "glance-bridge", "glance-web"];

/** @type {Services} */
let services;
/** @type {import("@nats-io/services").ServiceClient} */
let client;

before(async () => {
  services = await Services.start({ GLANCE_BOTS: "main:6" }, { accounts: true });
  await services.startBridge();
  // Ends as soon as nobody has said anything for a while, and not before the first did.
  client = new Svcm(services.connection).client({ strategy: "stall", maxWait: 2000 });
});

after(() => services?.remove());

/**
 * All answers to a question, sorted by the names of the services, as soon as there are `count`.
 *
 * @template {{ name: string }} Answer
 * @param {() => Promise<AsyncIterable<Answer>>} question
 * @param {number} count
 */
async function answers(question, count) {
  const deadline = Date.now() + LIMIT;
  for (;;) {
    /** @type {Answer[]} */
    const found = [];
    for await (const answer of await question()) found.push(answer);
    if (found.length === count) return found.sort((a, b) => a.name.localeCompare(b.name));
    assert.ok(Date.now() < deadline, `${found.length} answers: ${JSON.stringify(found)}`);
  }
}

test("an operator pings all services", async () => {
  const pings = await answers(() => client.ping(), NAMES.length);
  assert.deepEqual(pings.map(({ name }) => name), NAMES);
  for (const { type, id, version, metadata } of pings) {
    assert.equal(type, "io.nats.micro.v1.ping_response");
    assert.match(version, /^\d+\.\d+\.\d+/);
    assert.ok(id);
    assert.equal(typeof metadata, "object");
  }
  assert.equal(new Set(pings.map(({ id }) => id)).size, NAMES.length);
});

test("a service is asked by its name, and by its number", async () => {
  const [web] = await answers(() => client.ping("glance-web"), 1);
  assert.equal(web.name, "glance-web");
  assert.deepEqual(await answers(() => client.ping("glance-web", web.id), 1), [web]);
});

test("each tells where it can be asked", async () => {
  const infos = await answers(() => client.info(), NAMES.length);
  assert.deepEqual(infos.map(({ name }) => name), NAMES);
  for (const { type, description, endpoints, name } of infos) {
    assert.equal(type, "io.nats.micro.v1.info_response");
    assert.ok(description);
    assert.deepEqual(endpoints.map(({ subject }) => subject), [`glance.status.${name.replace("glance-", "")}`]);
  }
});

test("each counts what it was asked, and tells how it is", async () => {
  const count = async () => (await answers(() => client.stats("glance-bridge"), 1))[0].endpoints[0].num_requests;
  const before = await count();
  const status = await services.connection.request("glance.status.bridge");
  assert.equal(status.json().ready, true);
  assert.equal(await count(), before + 1);
  const stats = await answers(() => client.stats(), NAMES.length);
  assert.deepEqual(stats.map(({ name }) => name), NAMES);
  for (const { type, started, endpoints } of stats) {
    assert.equal(type, "io.nats.micro.v1.stats_response");
    assert.ok(Date.now() - Date.parse(started) < 10 * LIMIT, started);
    const [{ num_errors, processing_time, average_processing_time }] = endpoints;
    assert.equal(num_errors, 0);
    assert.ok(Number.isInteger(processing_time) && Number.isInteger(average_processing_time));
  }
  const [aggregator] = stats;
  assert.deepEqual([aggregator.endpoints[0].data.role, aggregator.endpoints[0].data.shards], ["leader", 6]);
});
