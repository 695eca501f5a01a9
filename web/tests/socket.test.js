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
    /** @type {(() => void) | null} */
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
  const feed = new Feed(new URL("ws://127.0.0.1/api/feed"), (frame) => heard.push(frame.op), () => {});
  feed.connect();
  return { feed, heard, last: () => FakeSocket.all[FakeSocket.all.length - 1] };
}

test("a feed that cannot be reached is tried again, ever less often", (context) => {
  const { feed, last } = makeFeed(context);
  for (let failures = 1; failures <= 4; failures += 1) {
    last().onclose?.();
    assert.equal(feed.phase, "waiting");
    assert.equal(FakeSocket.all.length, failures);
    mock.timers.tick(500 * 2 ** (failures - 1) - 1);
    assert.equal(FakeSocket.all.length, failures, "never earlier than half of the step");
    mock.timers.tick(500 * 2 ** (failures - 1) + 1);
    assert.equal(FakeSocket.all.length, failures + 1);
  }
});

test("nobody waits when the network is back", (context) => {
  const { feed, last } = makeFeed(context);
  feed.hurry();
  assert.equal(FakeSocket.all.length, 1, "it is connecting already");
  last().onclose?.();
  feed.hurry();
  assert.equal(FakeSocket.all.length, 2);
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 2, "the old timer is gone");
});

test("a line that dies without a word is dropped", (context) => {
  const { feed, last } = makeFeed(context);
  const socket = last();
  socket.onopen?.();
  feed.watch();
  assert.equal(feed.phase, "open");
  feed.frameAt -= 11_000;
  feed.watch();
  assert.equal(feed.phase, "waiting");
  assert.ok(socket.closed);
  assert.equal(socket.onclose, null, "what it says later is not heard");
});

test("a server that accepts and hangs up is not hammered", (context) => {
  const { feed, last } = makeFeed(context);
  for (let round = 0; round < 6; round += 1) {
    last().onopen?.();
    last().onclose?.();
    mock.timers.tick(30_000);
  }
  assert.equal(feed.failures, 6);
  last().onopen?.();
  feed.phaseAt -= 60_000;
  last().onclose?.();
  assert.equal(feed.failures, 1, "a long life makes up for it");
});

test("frames get through, nonsense does not", (context) => {
  const { heard, last } = makeFeed(context);
  for (const data of ['{"op":"resync","payload":{}}', "nonsense", new ArrayBuffer(8), `{"op":"resync","payload":{"x":"${"x".repeat(2 << 20)}"}}`]) {
    last().onmessage?.({ data });
  }
  assert.deepEqual(heard, ["resync"]);
});
