/**
 * The WebSocket of the feed: connects, watches, and comes back after a failure.
 *
 * @import {Frame} from "./frames.js"
 * @typedef {"connecting" | "open" | "waiting"} Phase
 */

import { delayAfter } from "./backoff.js";
import { parseFrame } from "./frames.js";

/** The service says something every second. A line that is silent for so long is dead. */
const SILENCE_MS_MAX = 10_000;
const CONNECT_MS_MAX = 15_000;
/** A connection that lived for so long was a good one: the next failure is a first failure. */
const STABLE_MS = 10_000;
const FRAME_LENGTH_MAX = 1 << 20;

export class Feed {
  /**
   * @param {URL} address
   * @param {(frame: Frame) => void} onFrame
   * @param {() => void} onPhase the phase changed
   */
  constructor(address, onFrame, onPhase) {
    this.address = address;
    this.onFrame = onFrame;
    this.onPhase = onPhase;
    /** @type {Phase} */
    this.phase = "connecting";
    /** @type {WebSocket | null} */
    this.socket = null;
    this.failures = 0;
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
    socket.onclose = () => this.fail();
  }

  /** Gives this connection up and tries again after the usual wait. */
  fail() {
    const lived = this.phase === "open" ? performance.now() - this.phaseAt : 0;
    this.drop();
    this.failures = lived > STABLE_MS ? 1 : this.failures + 1;
    const delay = delayAfter(this.failures);
    this.retryAt = performance.now() + delay;
    this.timer = setTimeout(() => this.connect(), delay);
    this.enter("waiting");
  }

  /** The network is back or somebody looks at the page again: no more waiting. */
  hurry() {
    if (this.phase === "waiting") this.connect();
  }

  /** Called now and then: notices a line that died without a word. */
  watch() {
    const now = performance.now();
    const isMute = this.phase === "open" && now - this.frameAt > SILENCE_MS_MAX;
    const isStuck = this.phase === "connecting" && now - this.phaseAt > CONNECT_MS_MAX;
    if (isMute || isStuck) this.fail();
  }

  /** @returns {number} seconds since something was heard on this line; Infinity when it is not open */
  silence() {
    return this.phase === "open" ? (performance.now() - this.frameAt) / 1000 : Infinity;
  }

  /** @param {unknown} data */
  receive(data) {
    this.frameAt = performance.now();
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
    this.phaseAt = performance.now();
    this.frameAt = this.phaseAt;
    this.onPhase();
  }
}
