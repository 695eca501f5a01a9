/**
 * The way around a network that lets no WebSocket through: asks for the snapshot every few seconds, until the feed is
 * back.
 */

import { delayAfter } from "./backoff.js";

/** The feed is given up for now after so many failures in a row. */
const FAILURES_MIN = 3;
const PERIOD_MS = 5000;
const PERIOD_MS_MAX = 30_000;
/** A snapshot that takes long to come is asked for less often: this many times what it took. */
const PATIENCE = 10;
/** An answer that is late by less is no interruption. */
const LATE_MS = 10_000;

/**
 * @typedef {object} Surroundings what the outside world gives; tests give their own
 * @property {() => Promise<boolean>} poll asks once; whether there was an answer
 * @property {() => number} countFailures of the feed, in a row
 * @property {() => boolean} isHidden whether nobody looks
 * @property {() => number} [stopwatch] milliseconds
 * @property {() => number} [random]
 */

export class Polling {
  /** @param {Surroundings} surroundings */
  constructor(surroundings) {
    this.with = surroundings;
    this.stopwatch = surroundings.stopwatch ?? (() => performance.now());
    this.random = surroundings.random ?? Math.random;
    this.isAsking = false;
    this.failures = 0;
    this.periodMs = PERIOD_MS;
    /** When the next question is due, and when the last answer came; on the stopwatch. */
    this.dueAt = 0;
    this.answeredAt = -Infinity;
  }

  /** Called about once a second, and when somebody looks at the page again. */
  async watch() {
    if (this.with.countFailures() < FAILURES_MIN) {
      this.answeredAt = -Infinity;
      return;
    }
    if (this.isAsking || this.with.isHidden() || this.stopwatch() < this.dueAt) return;
    this.isAsking = true;
    const start = this.stopwatch();
    const isAnswered = await this.with.poll();
    this.isAsking = false;
    const now = this.stopwatch();
    this.failures = isAnswered ? 0 : this.failures + 1;
    if (isAnswered) this.answeredAt = now;
    this.periodMs = Math.min(PERIOD_MS_MAX, Math.max(PERIOD_MS, PATIENCE * (now - start)));
    this.dueAt = now + (isAnswered ? this.periodMs * (0.8 + 0.4 * this.random()) : delayAfter(this.failures, this.random));
  }

  /** @returns {boolean} whether the picture is kept up to date in this way */
  isAlive() {
    return this.stopwatch() - this.answeredAt < this.periodMs * 1.2 + LATE_MS;
  }
}
