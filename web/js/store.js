/**
 * The picture that the page holds: columns per cluster, and a list of what changed since it was last drawn.
 * It knows nothing of the screen or the network.
 *
 * @import {Changes, ClusterSnapshot, ClusterVersions, Details, Notice, Notices, Pulse, ShardChange, Snapshot, Times, Version} from "./frames.js"
 */

import { decodeBitmap, eachBit } from "./bitmap.js";
import { BLOCK_SHARDS } from "./frames.js";
import { isState, ONLINE, STATES } from "./states.js";

/** Entries that may wait for the version that completes them; a block has 1,024 shards. */
const PARTS_MAX = 4 * BLOCK_SHARDS;
/** A pulse and a snapshot that disagree by less do so because of their ways to the page. */
const STEP_S = 2;

/** One bot: its shards as columns, so that 16,384 of them cost no object each. Times are Unix seconds, NaN for none. */
export class Cluster {
  /**
   * @param {string} name
   * @param {number} total
   */
  constructor(name, total) {
    this.name = name;
    this.total = total;
    /** @type {number | null} seconds of silence after which a shard is unhealthy */
    this.timeout = null;
    this.states = new Uint8Array(total);
    this.previous = new Uint8Array(total);
    this.since = new Float64Array(total).fill(NaN);
    this.lastHeard = new Float64Array(total).fill(NaN);
    /** How many shards are in each state. */
    this.counts = new Uint32Array(STATES.length);
    this.counts[0] = total;
    /** @type {Record<string, Details>} by id */
    this.details = {};
    /** @type {{all: Notice | null, groups: Map<string, Notice>}} what is under maintenance at present */
    this.maintenance = { all: null, groups: new Map() };
    /** @type {Version[]} of each block */
    this.versions = [];
    /** @type {Uint8Array} which shards were heard in the last second */
    this.heard = new Uint8Array(0);
    /** @type {Map<number, ShardChange[]>} by block: parts of a version that is not complete yet */
    this.parts = new Map();
    /** @type {number[]} ids to draw again */
    this.dirty = [];
    this.isDirty = new Uint8Array(total);
  }

  get online() {
    return this.counts[ONLINE];
  }

  /** Whether a bot has said how many shards it has. */
  get isSized() {
    return this.total > 0;
  }

  /**
   * @param {number} id
   * @returns {Notice | null} the maintenance that the shard is under
   */
  maintenanceOf(id) {
    const { all, groups } = this.maintenance;
    if (all || groups.size === 0) return all;
    const group = this.details[id]?.group;
    return group === undefined ? null : (groups.get(group) ?? null);
  }

  /** @param {number} id */
  isMaintained(id) {
    return this.maintenanceOf(id) !== null;
  }

  /** Every cell is to be drawn again. */
  touchAll() {
    for (let id = 0; id < this.total; id += 1) {
      if (this.isDirty[id] === 0) this.dirty.push(id);
    }
    this.isDirty.fill(1);
  }

  /**
   * @param {number} id
   * @param {number} state
   * @param {number} previous
   */
  setState(id, state, previous) {
    const old = this.states[id];
    if (old === state && this.previous[id] === previous) return;
    this.counts[old] -= 1;
    this.counts[state] += 1;
    this.states[id] = state;
    this.previous[id] = previous;
    if (this.isDirty[id] === 0) {
      this.isDirty[id] = 1;
      this.dirty.push(id);
    }
  }

  /** @returns {number[]} the shards to draw again; they count as drawn from now on */
  takeDirty() {
    const ids = this.dirty;
    for (const id of ids) this.isDirty[id] = 0;
    this.dirty = [];
    return ids;
  }
}

export class Store {
  constructor() {
    /** @type {Cluster[]} in the operator's order */
    this.clusters = [];
    /** Grows whenever clusters or totals change: the grid must be built again. */
    this.shape = 0;
    this.hasPicture = false;
    /** When the service last heard the judge of health, and its own time then. Unix seconds. */
    this.heard = NaN;
    this.now = NaN;
    /** The server's time when this page was first told that the judge has not been heard yet; NaN before that. */
    this.unheardAt = NaN;
    /** False while nobody is flagged unhealthy: just after a start, or while the judge cannot hear. */
    this.judging = false;
    /** The server's time when this page saw that nobody is flagged any more; NaN when it did not see that. */
    this.unjudgedAt = NaN;
    /** @type {Notices} what the operators tell; see `useNotices` */
    this.notices = { announcement: null, maintenance: [] };
    /** @type {Notice | null} the announcement, until it ends */
    this.announcement = null;
  }

  /** @param {Notices} notices */
  applyNotices({ announcement, maintenance }) {
    this.notices = { announcement, maintenance };
  }

  /**
   * Notices begin and end: called now and then.
   * @param {number} now the server's time
   */
  useNotices(now) {
    /** @param {Notice | null} notice */
    const lasts = (notice) => notice !== null && (notice.until === null || !(notice.until <= now));
    this.announcement = lasts(this.notices.announcement) ? this.notices.announcement : null;
    const maintenance = this.notices.maintenance.filter(lasts);
    for (const cluster of this.clusters) {
      const own = maintenance.filter((entry) => entry.cluster === cluster.name);
      const all = own.find((entry) => entry.group === null) ?? null;
      const groups = new Map(own.filter((entry) => entry.group !== null).map((entry) => [String(entry.group), entry]));
      const before = cluster.maintenance;
      cluster.maintenance = { all, groups };
      const isSame = (all === null) === (before.all === null)
        && groups.size === before.groups.size && [...groups.keys()].every((group) => before.groups.has(group));
      if (!isSame) cluster.touchAll();
    }
  }

  /**
   * @param {Cluster} cluster
   * @param {number} id
   */
  isMaintained(cluster, id) {
    return cluster.isMaintained(id);
  }

  /**
   * @param {string} name
   * @returns {Cluster | undefined}
   */
  cluster(name) {
    return this.clusters.find((cluster) => cluster.name === name);
  }

  /** @param {Times} times of any frame */
  applyTimes(times) {
    this.now = times.now;
    // A replica that was just started has heard nothing itself; what another one told is still true.
    if (times.heard === null) {
      if (Number.isNaN(this.unheardAt)) this.unheardAt = times.now;
      return;
    }
    this.heard = times.heard;
    const isJudging = times.judging_since !== null;
    if (isJudging) this.unjudgedAt = NaN;
    else if (this.judging) this.unjudgedAt = times.now;
    this.judging = isJudging;
  }

  /**
   * The server's clock was set: moves what was told by the old one, so that ages stay right until a new snapshot is there.
   * @param {number} step in seconds
   */
  shiftTimes(step) {
    this.heard += step;
    this.unheardAt += step;
    this.unjudgedAt += step;
    for (const cluster of this.clusters) {
      for (let id = 0; id < cluster.total; id += 1) {
        cluster.since[id] += step;
        cluster.lastHeard[id] += step;
      }
    }
  }

  /**
   * Replaces the whole picture; shards that look the same are not drawn again.
   * @param {Snapshot} snapshot
   */
  replace(snapshot) {
    const old = this.clusters;
    this.clusters = snapshot.clusters.map((wanted) => {
      const known = old.find((cluster) => cluster.name === wanted.name && cluster.total === wanted.total);
      const cluster = known ?? new Cluster(wanted.name, wanted.total);
      fill(cluster, wanted, snapshot.now);
      return cluster;
    });
    const same = old.length === this.clusters.length && old.every((cluster, index) => cluster === this.clusters[index]);
    if (!same || !this.hasPicture) this.shape += 1;
    this.applyNotices(snapshot);
    this.hasPicture = true;
  }

  /**
   * A frame that is not newer than its block is skipped. The parts of a split version wait for the one that
   * carries the version: applied alone, a part that is older than the snapshot would turn shards back.
   *
   * @param {Changes} changes
   * @returns {"applied" | "strange" | "too_much"} strange: it speaks of a cluster, a block or a shard that is not in the
   *   picture, so that a new one is needed · too_much: the page cannot follow any more
   */
  applyChanges(changes) {
    const cluster = this.cluster(changes.cluster);
    if (!cluster || !hasBlock(cluster, changes.block)) return "strange";
    const waiting = cluster.parts.get(changes.block) ?? [];
    const shards = waiting.concat(changes.shards);
    if (changes.version === null) {
      cluster.parts.set(changes.block, shards);
      return shards.length <= PARTS_MAX ? "applied" : "too_much";
    }
    cluster.parts.delete(changes.block);
    const held = cluster.versions[changes.block];
    if (held && compareVersions(changes.version, held) <= 0) return "applied";
    if (shards.some(([id]) => id >= cluster.total)) return "strange";
    cluster.versions[changes.block] = changes.version;
    for (const shard of shards) applyShard(cluster, shard);
    return "applied";
  }

  /** @param {Pulse} pulse */
  applyPulse(pulse) {
    this.applyTimes(pulse);
    for (const cluster of this.clusters) {
      const bitmap = pulse.clusters[cluster.name];
      cluster.heard = typeof bitmap === "string" ? decodeBitmap(bitmap) : new Uint8Array(0);
      eachBit(cluster.heard, cluster.total, (id) => {
        cluster.lastHeard[id] = pulse.now;
      });
    }
  }

  /** @returns {ClusterVersions[]} what this page holds */
  versions() {
    return this.clusters.map(({ name, total, versions }) => ({ name, total, blocks: versions.slice() }));
  }
}

/**
 * @param {Cluster} cluster
 * @param {ClusterSnapshot} wanted
 * @param {number} now of the snapshot
 */
function fill(cluster, wanted, now) {
  cluster.timeout = typeof wanted.timeout === "number" ? wanted.timeout : null;
  cluster.details = wanted.details ?? {};
  cluster.versions = wanted.blocks.slice();
  cluster.parts.clear();
  for (let id = 0; id < cluster.total; id += 1) {
    cluster.setState(id, digit(wanted.states, id), digit(wanted.previous, id));
    cluster.since[id] = wanted.since[id] ?? NaN;
    // A pulse may have told more than a snapshot that was written before it. What is later than the snapshot itself was
    // told before the server's clock was set back.
    const heard = wanted.last_heard[id];
    const known = cluster.lastHeard[id];
    cluster.lastHeard[id] = heard === null ? NaN : known > heard && known < now + STEP_S ? known : heard;
  }
}

/**
 * @param {Cluster} cluster
 * @param {number} block
 */
function hasBlock(cluster, block) {
  return block >= 0 && block * BLOCK_SHARDS < cluster.total;
}

/**
 * @param {string} digits
 * @param {number} index
 */
function digit(digits, index) {
  const state = digits.charCodeAt(index) - 48;
  return isState(state) ? state : 0;
}

/**
 * @param {Cluster} cluster
 * @param {ShardChange} shard
 */
function applyShard(cluster, [id, state, previous, since]) {
  if (!Number.isInteger(id) || id < 0 || id >= cluster.total || !isState(state)) return;
  cluster.setState(id, state, isState(previous) ? previous : 0);
  cluster.since[id] = since ?? NaN;
}

/**
 * @param {Version} left
 * @param {Version} right
 * @returns {number} above 0 when left is newer
 */
export function compareVersions(left, right) {
  return left[0] - right[0] || left[1] - right[1];
}

/**
 * @param {ClusterVersions[]} held
 * @param {ClusterVersions[]} required
 * @returns {boolean} whether what is held has the same clusters, and no block of it is older
 */
export function isUpToDate(held, required) {
  return held.length === required.length
    && required.every((wanted) => findSame(held, wanted) !== undefined)
    && isNotOlder(held, required);
}

/**
 * @param {ClusterVersions[]} left
 * @param {ClusterVersions[]} right
 * @returns {boolean} whether no block of left is older than right's; clusters that are not in both do not count
 */
export function isNotOlder(left, right) {
  return right.every((wanted) => {
    const cluster = findSame(left, wanted);
    return cluster === undefined || wanted.blocks.every((version, block) => {
      const mine = cluster.blocks[block];
      return mine !== undefined && compareVersions(mine, version) >= 0;
    });
  });
}

/**
 * @param {ClusterVersions[]} clusters
 * @param {ClusterVersions} wanted
 */
function findSame(clusters, wanted) {
  return clusters.find(({ name, total }) => name === wanted.name && total === wanted.total);
}
