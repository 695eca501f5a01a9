/**
 * Joins the snapshot and the feed into one picture with no gap.
 *
 * The feed's `hello` says which version of each block it continues. A snapshot that is at least as new closes the gap;
 * the frames since the `hello` are then applied again, and the store skips those that the snapshot already has.
 * Frames are also applied at once: their values are absolute, so they are true before the gap is closed, too.
 *
 * @import {Changes, ClusterVersions, Frame, Snapshot} from "./frames.js"
 * @import {Store} from "./store.js"
 */

import { delayAfter } from "./backoff.js";
import { isNotOlder, isUpToDate } from "./store.js";

/** The request may reach a replica that is a moment behind. */
const BEHIND_WAIT_MS = 300;
const BEHIND_TRIES_MAX = 5;
const RESYNC_JITTER_MS = 2000;
const HELLO_JITTER_MS = 1000;
const KEPT_FRAMES_MAX = 4096;
/** A younger snapshot need not be asked for again when the feed opens. */
const FRESH_S = 10;

/**
 * @typedef {object} Surroundings what the outside world gives; tests give their own
 * @property {Store} store
 * @property {import("./clock.js").ServerClock} clock
 * @property {(onlyNews: boolean) => Promise<Snapshot | null>} readSnapshot
 * @property {(action: () => void, delayMs: number) => () => void} schedule returns how to cancel it
 * @property {() => void} onChange the store has news
 * @property {() => void} onLost the page cannot follow the feed: connect anew
 * @property {() => number} [random]
 */

export class Sync {
  /** @param {Surroundings} surroundings */
  constructor(surroundings) {
    this.with = surroundings;
    this.random = surroundings.random ?? Math.random;
    /** True while the picture follows the feed with no gap. */
    this.joined = false;
    /**
     * Whether a snapshot closes the gap; null: there is no feed, so any will do.
     * @type {((clusters: ClusterVersions[]) => boolean) | null}
     */
    this.isEnough = null;
    /** @type {Changes[] | null} frames since the gap; null while there is no gap to close */
    this.kept = null;
    /** Failed reads of the snapshot in a row. */
    this.failures = 0;
    this.behind = 0;
    /** How often in a row the feed spoke of something that the picture does not have. */
    this.strangers = 0;
    this.isRefreshDue = false;
    this.reading = false;
    /** Whether that is without a feed. */
    this.isPolling = false;
    this.readAgain = false;
    /** Which connection the read that is under way belongs to. */
    this.generation = 0;
    /** The server's time in the last snapshot. */
    this.readAt = NaN;
    /** The server's time up to which the picture is complete. */
    this.completeAt = NaN;
    /** @type {(() => void) | null} */
    this.cancel = null;
  }

  /** The first picture: asked for while the feed is still connecting. */
  start() {
    this.readSoon(0);
  }

  /** @param {Frame} frame */
  accept(frame) {
    const { store, clock, onChange } = this.with;
    switch (frame.op) {
      case "hello":
        this.setClock(frame.payload.now);
        store.applyTimes(frame.payload);
        this.strangers = 0;
        this.join(frame.payload.clusters);
        break;
      case "changes":
        this.follow(frame.payload);
        break;
      case "pulse":
        this.setClock(frame.payload.now);
        store.applyPulse(frame.payload);
        break;
      case "notices":
        store.applyNotices(frame.payload);
        break;
      case "resync":
      case "clusters":
        this.strangers = 0;
        this.resync(frame.payload.clusters, this.random() * RESYNC_JITTER_MS);
        break;
    }
    if (this.joined) this.completeAt = clock.now();
    onChange();
  }

  /** The feed is gone. What comes later will have a gap before it. */
  disconnect() {
    // With a gap still open, the store's versions promise more than it holds.
    if (!this.joined) this.readAt = NaN;
    this.joined = false;
    this.isEnough = null;
    this.kept = null;
    // Where no feed can be had, each failed try of it would take the answer to a question away.
    if (this.with.store.hasPicture && !this.isPolling) this.forgetRead();
  }

  /** A replica that vanished may never answer. What it still says is not waited for, and not taken. */
  forgetRead() {
    this.cancelRead();
    this.generation += 1;
    this.reading = false;
    this.readAgain = false;
    this.isPolling = false;
  }

  /** @param {number} now the server's time */
  setClock(now) {
    const step = this.with.clock.set(now);
    // Ahead, it may be this device that slept; back, it was the server's clock that was set.
    if (step < 0) {
      this.with.store.shiftTimes(step);
      this.completeAt += step;
      this.readAt += step;
    }
    if (step !== 0 && this.joined) this.refreshSoon();
  }

  /** What was told by another clock is asked for again, not by all viewers at once. */
  refreshSoon() {
    if (this.isRefreshDue) return;
    this.isRefreshDue = true;
    this.with.schedule(() => {
      this.isRefreshDue = false;
      void this.refresh();
    }, this.random() * RESYNC_JITTER_MS);
  }

  /** Renews what the feed does not carry: latency, guilds and the like. A failure does no harm. */
  async refresh() {
    if (!this.joined || this.reading || this.cancel) return;
    this.demandNoOlder();
    await this.read(true);
  }

  /**
   * Asks once while there is no feed.
   * @returns {Promise<boolean>} whether there was an answer
   */
  async poll() {
    if (this.joined || this.isEnough !== null || this.reading || this.cancel) return false;
    this.reading = true;
    this.isPolling = true;
    const { generation } = this;
    /** @type {Snapshot | null} */
    let snapshot = null;
    let isAnswered = true;
    try {
      snapshot = await this.with.readSnapshot(true);
    } catch {
      isAnswered = false;
    }
    if (generation !== this.generation) return false;
    this.reading = false;
    this.isPolling = false;
    if (snapshot) this.take(snapshot);
    // The feed came meanwhile, and waits for a snapshot.
    else if (this.isEnough !== null) this.readSoon(0);
    else if (isAnswered) this.completeAt = this.with.clock.now();
    this.with.onChange();
    return isAnswered;
  }

  /** @param {ClusterVersions[]} versions */
  join(versions) {
    const { store, clock } = this.with;
    if (this.isPolling) this.forgetRead();
    this.demand(versions);
    const isFresh = clock.now() - this.readAt < FRESH_S && !this.reading;
    const held = store.versions();
    // Newer than the feed is not enough: revisions start anew when the broker lost its store.
    const isSame = isUpToDate(held, versions) && isUpToDate(versions, held);
    if (store.hasPicture && isFresh && isSame) this.settle();
    // All viewers of a replica that was stopped come at the same moment. Who has a picture can wait a little.
    else this.readSoon(store.hasPicture ? this.random() * HELLO_JITTER_MS : 0);
  }

  /** @param {ClusterVersions[]} versions that the next snapshot must have */
  demand(versions) {
    this.isEnough = (clusters) => isUpToDate(clusters, versions);
    this.kept = [];
    this.behind = 0;
  }

  /** The next snapshot may have other clusters, but nothing older than the page has now. */
  demandNoOlder() {
    const held = this.with.store.versions();
    this.isEnough = (clusters) => isNotOlder(clusters, held);
    this.kept = [];
    this.behind = 0;
  }

  /** @param {Changes} changes */
  follow(changes) {
    const { store, onLost } = this.with;
    this.kept?.push(changes);
    const tooMany = this.kept !== null && this.kept.length > KEPT_FRAMES_MAX;
    const fate = store.hasPicture ? store.applyChanges(changes) : "applied";
    if (tooMany || fate === "too_much") onLost();
    // While a gap is open, the snapshot that closes it is on its way.
    else if (fate === "strange" && this.joined) this.meetStranger();
  }

  /** The picture lacks what the feed speaks of: a new one is needed. If that does not help, ever less often. */
  meetStranger() {
    this.strangers += 1;
    const isFirst = this.strangers === 1;
    this.resync(null, isFirst ? this.random() * RESYNC_JITTER_MS : delayAfter(this.strangers, this.random));
  }

  /**
   * @param {ClusterVersions[] | null} versions
   * @param {number} delayMs
   */
  resync(versions, delayMs) {
    if (versions) this.demand(versions);
    else this.demandNoOlder();
    this.joined = false;
    // A snapshot that is already on its way may have been written before what was missed.
    this.readAgain = this.reading;
    if (!this.reading) this.readSoon(delayMs);
  }

  /** @param {number} delayMs */
  readSoon(delayMs) {
    if (this.reading) return;
    this.cancelRead();
    this.cancel = this.with.schedule(() => {
      this.cancel = null;
      void this.read(false);
    }, delayMs);
  }

  cancelRead() {
    this.cancel?.();
    this.cancel = null;
  }

  /** @param {boolean} onlyNews */
  async read(onlyNews) {
    this.reading = true;
    const { generation } = this;
    /** @type {Snapshot | null | undefined} */
    let snapshot;
    let failures = this.failures + 1;
    try {
      snapshot = await this.with.readSnapshot(onlyNews);
      failures = 0;
    } catch {
      // It is counted below.
    }
    if (generation !== this.generation) return;
    this.failures = failures;
    this.reading = false;
    if (this.readAgain) {
      this.readAgain = false;
      this.readSoon(this.random() * RESYNC_JITTER_MS);
    } else if (this.joined) {
      this.finishRefresh(snapshot ?? null);
    } else if (snapshot) {
      this.take(snapshot);
    } else {
      this.readSoon(delayAfter(this.failures, this.random));
    }
    this.with.onChange();
  }

  /** @param {Snapshot | null} snapshot null when there is none, or nothing new in it */
  finishRefresh(snapshot) {
    if (snapshot && this.isEnough?.(snapshot.clusters)) this.show(snapshot);
    else this.settle();
  }

  /** @param {Snapshot} snapshot */
  take(snapshot) {
    const { store } = this.with;
    if (this.isEnough === null) {
      // No feed yet: better an early picture than none.
      this.setClock(snapshot.now);
      store.applyTimes(snapshot);
      store.replace(snapshot);
      this.readAt = snapshot.now;
      this.completeAt = snapshot.now;
    } else if (this.isEnough(snapshot.clusters)) {
      this.show(snapshot);
    } else {
      if (!store.hasPicture) store.replace(snapshot);
      this.behind += 1;
      const patient = this.behind > BEHIND_TRIES_MAX;
      this.readSoon(patient ? delayAfter(this.behind - BEHIND_TRIES_MAX, this.random) : BEHIND_WAIT_MS);
    }
  }

  /** @param {Snapshot} snapshot */
  show(snapshot) {
    const { store } = this.with;
    store.replace(snapshot);
    const fates = (this.kept ?? []).map((changes) => store.applyChanges(changes));
    this.readAt = snapshot.now;
    this.settle();
    if (fates.includes("strange")) this.meetStranger();
  }

  settle() {
    this.isEnough = null;
    this.kept = null;
    this.behind = 0;
    this.joined = true;
    this.completeAt = this.with.clock.now();
  }
}
