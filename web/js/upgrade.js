/**
 * A page that is left open learns from the feed that the web service has another page by now, and loads it.
 *
 * @typedef {object} Surroundings what the outside world gives; tests give their own
 * @property {() => void} reload
 * @property {() => boolean} isBusy whether somebody is in the middle of something
 * @property {() => boolean} isHidden
 * @property {(action: () => void, delayMs: number) => void} schedule
 * @property {Pick<Storage, "getItem" | "setItem">} storage of this tab
 * @property {() => number} [clock] Unix milliseconds by this device
 * @property {() => number} [random]
 */

/** Not all viewers at once. */
const SPREAD_MS = 30_000;
const HIDDEN_SPREAD_MS = 5000;
/** Who is busy is left alone for so long. */
const BUSY_MS = 5000;
const BUSY_TRIES_MAX = 60;
/** While replicas of two versions are running, a page could be sent back and forth. */
const AGAIN_MS = 10 * 60_000;
const KEPT = "glance.upgraded";

export class Upgrade {
  /**
   * @param {string} build of this page; empty: it is not known
   * @param {Surroundings} surroundings
   */
  constructor(build, surroundings) {
    this.build = build;
    this.with = surroundings;
    /** The service's page, as last heard. */
    this.newest = build;
    this.isDue = false;
  }

  /** @param {string} build the service's page */
  note(build) {
    if (this.build === "" || build === "") return;
    this.newest = build;
    if (build === this.build || this.isDue) return;
    const { clock = Date.now, random = Math.random, isHidden, schedule } = this.with;
    const last = this.recall();
    const now = clock();
    const pause = now >= last ? Math.max(0, last + AGAIN_MS - now) : 0;
    this.isDue = true;
    schedule(() => this.reload(0), pause + random() * (isHidden() ? HIDDEN_SPREAD_MS : SPREAD_MS));
  }

  /** @param {number} tries */
  reload(tries) {
    const { clock = Date.now, isBusy, schedule, storage, reload } = this.with;
    if (this.newest === this.build) {
      // The page came from a new replica, and one of the old ones answered for a while.
      this.isDue = false;
      return;
    }
    if (isBusy() && tries < BUSY_TRIES_MAX) return schedule(() => this.reload(tries + 1), BUSY_MS);
    try {
      storage.setItem(KEPT, String(clock()));
    } catch {
      // Without a memory there is no way to know that it does not happen again and again.
      return;
    }
    reload();
  }

  /** @returns {number} when this tab last did so */
  recall() {
    try {
      return Number(this.with.storage.getItem(KEPT) ?? -Infinity);
    } catch {
      return -Infinity;
    }
  }
}
