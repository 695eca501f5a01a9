/**
 * The WebSocket of the feed: connects, watches, and comes back after a failure.
 *
 * @import {Frame} from "./frames.js"
 * @typedef {"connecting" | "open" | "waiting"} Phase
 */

import { delayAfter, delayAfterGoodbye } from "./backoff.js";
import { parseFrame } from "./frames.js";

/** The service says something every second. A line that is silent for so long is dead. */
const SILENCE_MS_MAX = 10_000;
const CONNECT_MS_MAX = 15_000;
/** A connection that lived for so long was a good one: the next failure is a first failure. */
const STABLE_MS = 10_000;
const FRAME_LENGTH_MAX = 1 << 20;
/** Somebody who is in a hurry gives a line up after so long without a word. */
const PATIENCE_MS = 3000;
/** The service says goodbye: going away, and restarting. Others of its kind may be there already. */
const GOODBYES = [1001, 1012];

export class Feed {
  /**
   * @param {URL} address
   * @param {(frame: Frame) => void} onFrame
   * @param {() => void} onPhase the phase changed
   * @param {{stopwatch?: () => number, random?: () => number}} [surroundings] for tests; the stopwatch in milliseconds
   */
  constructor(address, onFrame, onPhase, { stopwatch = () => performance.now(), random = Math.random } = {}) {
    this.address = address;
    this.onFrame = onFrame;
    this.onPhase = onPhase;
    this.stopwatch = stopwatch;
    this.random = random;
    /** @type {Phase} */
    this.phase = "connecting";
    /** @type {WebSocket | null} */
    this.socket = null;
    this.failures = 0;
    /** Frames on this line. */
    this.frames = 0;
    /** When the phase began, the last sign of life came and the next try is due: on the stopwatch, in milliseconds. */
    this.phaseAt = 0;
    this.frameAt = 0;
    this.retryAt = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  connect() {
    clearTimeout(this.timer);
    this.enter("connecting");
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.onopen = () => this.enter("open");
    socket.onmessage = (message) => this.receive(message.data);
    socket.onclose = ({ code }) => this.end(code);
  }

  /** @param {number} code with which the line was closed */
  end(code) {
    // The first goodbye is believed. A server that accepts and says it again and again is a failing one.
    const isGoodbye = GOODBYES.includes(code) && this.phase === "open" && (this.failures <= 0 || this.wasStable());
    if (!isGoodbye) return this.fail();
    // Who says it may be back in a second: the first failure after it does not count.
    this.failures = this.wasStable() ? -1 : 1;
    this.waitFor(delayAfterGoodbye(this.random));
  }

  /** Gives this connection up and tries again after the usual wait. */
  fail() {
    this.failures = this.wasStable() ? 1 : this.failures + 1;
    this.waitFor(delayAfter(this.failures, this.random));
  }

  /** A line that is open but says nothing is no good one: some networks let no more than the handshake through. */
  wasStable() {
    return this.phase === "open" && this.frames > 0 && this.stopwatch() - this.phaseAt > STABLE_MS;
  }

  /** @param {number} delayMs */
  waitFor(delayMs) {
    clearTimeout(this.timer);
    this.drop();
    this.retryAt = this.stopwatch() + delayMs;
    this.timer = setTimeout(() => this.connect(), delayMs);
    this.enter("waiting");
  }

  /** The network is back or somebody looks at the page again: no more waiting, not for a dead line either. */
  hurry() {
    if (this.phase !== "waiting") {
      if (this.stopwatch() - this.frameAt <= PATIENCE_MS) return;
      this.drop();
      this.enter("waiting");
    }
    this.connect();
  }

  /** Called now and then: notices a line that died without a word. */
  watch() {
    const now = this.stopwatch();
    const isMute = this.phase === "open" && now - this.frameAt > SILENCE_MS_MAX;
    const isStuck = this.phase === "connecting" && now - this.phaseAt > CONNECT_MS_MAX;
    if (isMute || isStuck) this.fail();
  }

  /** @returns {number} seconds since something was heard on this line; Infinity when it is not open */
  silence() {
    return this.phase === "open" ? (this.stopwatch() - this.frameAt) / 1000 : Infinity;
  }

  /** @param {unknown} data */
  receive(data) {
    this.frameAt = this.stopwatch();
    this.frames += 1;
    if (typeof data !== "string" || data.length > FRAME_LENGTH_MAX) return;
    const frame = parseFrame(data);
    if (frame) this.onFrame(frame);
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    // A dead line may take minutes to say that it is closed; nobody waits for it.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** @param {Phase} phase */
  enter(phase) {
    this.phase = phase;
    this.phaseAt = this.stopwatch();
    this.frames = 0;
    this.frameAt = this.phaseAt;
    this.onPhase();
  }
}
