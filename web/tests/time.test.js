import assert from "node:assert/strict";
import { test } from "node:test";

import { delayAfter, delayAfterGoodbye } from "../js/backoff.js";
import { ServerClock } from "../js/clock.js";
import { describeAge, describeDuration } from "../js/durations.js";

const HOUR = 3600;
const DAY = 24 * HOUR;

test("durations read as people say them", () => {
  /** @type {[number, string][]} */
  const cases = [
    [-5, "0 seconds"], [0, "0 seconds"], [1, "1 second"], [1.9, "1 second"], [59, "59 seconds"], [119, "119 seconds"],
    [120, "2 minutes"], [3599, "59 minutes"], [119 * 60, "119 minutes"], [2 * HOUR, "2 hours"], [47.9 * HOUR, "47 hours"],
    [2 * DAY, "2 days"], [59 * DAY, "59 days"], [61 * DAY, "2 months"], [729 * DAY, "23 months"], [731 * DAY, "2 years"],
  ];
  for (const [seconds, words] of cases) assert.equal(describeDuration(seconds), words, String(seconds));
});

test("ages end with ago", () => {
  assert.equal(describeAge(0.4), "just now");
  assert.equal(describeAge(-3), "just now");
  assert.equal(describeAge(6), "6 seconds ago");
  assert.equal(describeAge(3 * DAY), "3 days ago");
});

test("the server's clock goes on by the stopwatch", () => {
  let stopwatch = 5000;
  const clock = new ServerClock(() => stopwatch);
  assert.ok(Number.isNaN(clock.now()));
  assert.equal(clock.set(1000), 0);
  stopwatch += 2500;
  assert.equal(clock.now(), 1002.5);
  // A frame that was held up on its way says an earlier time: it is not believed.
  clock.set(1001.5);
  assert.equal(clock.now(), 1002.5);
  // One that came faster is.
  clock.set(1002.75);
  assert.equal(clock.now(), 1002.75);
  // The stopwatch stood still while the device slept, or the server's clock was set back.
  assert.equal(clock.set(9000), 9000 - 1002.75);
  assert.equal(clock.now(), 9000);
  assert.equal(clock.set(8000), -1000, "a step is told");
  assert.equal(clock.now(), 8000);
});

test("the wait doubles up to a limit, with jitter", () => {
  assert.equal(delayAfter(1, () => 0), 500);
  assert.equal(delayAfter(1, () => 1), 1000);
  assert.equal(delayAfter(3, () => 1), 4000);
  assert.equal(delayAfter(6, () => 1), 15_000);
  assert.equal(delayAfter(100_000, () => 0), 7500);
  assert.equal(delayAfter(0, () => 0), 500);
  assert.equal(delayAfterGoodbye(() => 0), 0);
  assert.equal(delayAfterGoodbye(() => 0.5), 750);
});
