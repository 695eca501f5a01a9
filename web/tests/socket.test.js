import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Feed } from "../js/feed.js";

/** A socket that does what the test says. */
class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];

  constructor() {
    this.closed = false;
    /** @type {(() => void) | null} */
    this.onopen = null;
    /** @type {((message: {data: unknown}) => void) | null} */
    this.onmessage = null;
    /** @type {((event: {code: number}) => void) | null} */
    this.onclose = null;
    FakeSocket.all.push(this);
  }

  close() {
    this.closed = true;
  }
}

/** @param {import("node:test").TestContext} context */
function makeFeed(context) {
  mock.timers.enable({ apis: ["setTimeout"] });
  context.after(() => mock.timers.reset());
  FakeSocket.all = [];
  Object.assign(globalThis, { WebSocket: FakeSocket });
  /** @type {string[]} */
  const heard = [];
  const time = { ms: 0 };
  const surroundings = { stopwatch: () => time.ms, random: () => 0.5 };
  const feed = new Feed(new URL("ws://127.0.0.1/api/feed"), (frame) => heard.push(frame.op), () => {}, surroundings);
  feed.connect();
  return { feed, heard, time, last: () => FakeSocket.all[FakeSocket.all.length - 1] };
}

test("a feed that cannot be reached is tried again, ever less often", (context) => {
  const { feed, last } = makeFeed(context);
  for (let failures = 1; failures <= 4; failures += 1) {
    last().onclose?.({ code: 1006 });
    assert.equal(feed.phase, "waiting");
    assert.equal(FakeSocket.all.length, failures);
    mock.timers.tick(750 * 2 ** (failures - 1) - 1);
    assert.equal(FakeSocket.all.length, failures, "in the middle between half of the step and the step");
    mock.timers.tick(1);
    assert.equal(FakeSocket.all.length, failures + 1);
  }
});

test("a line that opens but says nothing is a failure each time", (context) => {
  const { feed, time, last } = makeFeed(context);
  for (let failures = 1; failures <= 3; failures += 1) {
    last().onopen?.();
    time.ms += 11_000;
    feed.watch();
    assert.equal(feed.failures, failures);
    mock.timers.tick(15_000);
  }
});

test("nobody waits when the network is back", (context) => {
  const { feed, last } = makeFeed(context);
  feed.hurry();
  assert.equal(FakeSocket.all.length, 1, "it is connecting already");
  last().onclose?.({ code: 1006 });
  feed.hurry();
  assert.equal(FakeSocket.all.length, 2);
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 2, "the old timer is gone");
});

test("after a goodbye the page comes back within 1.5 s, spread over them", (context) => {
  const { feed, time, last } = makeFeed(context);
  for (const [code, random, delay] of [[1001, 0, 0], [1001, 0.99, 1485], [1012, 0.5, 750]]) {
    feed.random = () => random;
    last().onopen?.();
    last().onmessage?.({ data: "{}" });
    time.ms += 60_000;
    const tries = FakeSocket.all.length;
    last().onclose?.({ code });
    assert.equal(feed.phase, "waiting");
    if (delay > 0) mock.timers.tick(delay - 1);
    if (delay > 0) assert.equal(FakeSocket.all.length, tries);
    mock.timers.tick(1);
    assert.equal(FakeSocket.all.length, tries + 1);
  }
  // Nobody has taken over yet.
  feed.random = () => 1;
  for (const delay of [1000, 1000, 2000]) {
    last().onclose?.({ code: 1006 });
    assert.equal(feed.retryAt - time.ms, delay);
    mock.timers.tick(delay);
  }
});

test("goodbyes without end are failures", (context) => {
  const { feed, time, last } = makeFeed(context);
  /** @type {number[]} */
  const delays = [];
  for (let round = 0; round < 7; round += 1) {
    last().onopen?.();
    last().onclose?.({ code: 1001 });
    delays.push(feed.retryAt - time.ms);
    mock.timers.tick(15_000);
  }
  assert.deepEqual(delays, [750, 1500, 3000, 6000, 11_250, 11_250, 11_250]);
});

test("who is in a hurry does not wait for a line that is silent", (context) => {
  const { feed, time, last } = makeFeed(context);
  const stuck = last();
  time.ms += 4000;
  feed.hurry();
  assert.ok(stuck.closed);
  assert.equal(FakeSocket.all.length, 2);
  last().onopen?.();
  time.ms += 1000;
  feed.hurry();
  assert.equal(FakeSocket.all.length, 2, "a second of silence is nothing");
  time.ms += 3000;
  feed.hurry();
  assert.equal(FakeSocket.all.length, 3);
  assert.equal(feed.phase, "connecting");
});

test("a line that dies without a word is dropped", (context) => {
  const { feed, time, last } = makeFeed(context);
  const socket = last();
  socket.onopen?.();
  feed.watch();
  assert.equal(feed.phase, "open");
  time.ms += 11_000;
  feed.watch();
  assert.equal(feed.phase, "waiting");
  assert.ok(socket.closed);
  assert.equal(socket.onclose, null, "what it says later is not heard");
});

test("a server that accepts and hangs up is not hammered", (context) => {
  const { feed, time, last } = makeFeed(context);
  for (let round = 0; round < 6; round += 1) {
    last().onopen?.();
    last().onclose?.({ code: 1006 });
    mock.timers.tick(30_000);
  }
  assert.equal(feed.failures, 6);
  last().onopen?.();
  last().onmessage?.({ data: "{}" });
  time.ms += 60_000;
  last().onclose?.({ code: 1006 });
  assert.equal(feed.failures, 1, "a long life makes up for it");
});

test("frames get through, nonsense does not", (context) => {
  const { heard, last } = makeFeed(context);
  for (const data of ['{"op":"resync","payload":{}}', "nonsense", new ArrayBuffer(8), `{"op":"resync","payload":{"x":"${"x".repeat(2 << 20)}"}}`]) {
    last().onmessage?.({ data });
  }
  assert.deepEqual(heard, ["resync"]);
});
