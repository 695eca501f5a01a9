/**
 * The server's clock, carried forward by this device's stopwatch. Ages never come from a viewer's own clock: it may be
 * wrong.
 */

/** A reading that is this much behind is a stepped clock or another replica, not a late frame. In seconds. */
const STEP_S = 2;

export class ServerClock {
  /** @param {() => number} stopwatch milliseconds that only ever grow */
  constructor(stopwatch = () => performance.now()) {
    this.stopwatch = stopwatch;
    /** @type {number | null} server time minus the stopwatch, in seconds */
    this.offset = null;
  }

  /**
   * @param {number} now the server's time in a frame that just arrived, Unix seconds
   * @returns {number} seconds by which the clock jumped; 0 when it just went on
   */
  set(now) {
    const offset = now - this.stopwatch() / 1000;
    const step = this.offset === null ? 0 : offset - this.offset;
    // A frame that was under way for longer reads earlier: of two close readings the later one is right.
    if (this.offset === null || step > 0 || step < -STEP_S) this.offset = offset;
    return Math.abs(step) > STEP_S ? step : 0;
  }

  /** @returns {number} Unix seconds; NaN before the first reading */
  now() {
    return this.offset === null ? NaN : this.offset + this.stopwatch() / 1000;
  }
}
