/**
 * The one sentence at the top, and the one about a silent cluster, as facts. Pure. The web service judges in the same
 * way: shared/protocol/golden/verdicts.json is the specification.
 *
 * Order of precedence: the dashboard is blind, an announcement, down, silent, under maintenance, restarting, unknown,
 * online.
 *
 * @import {Notice} from "./frames.js"
 * @import {Cluster, Store} from "./store.js"
 * @typedef {object} Maintained what is under maintenance in a cluster
 * @property {string[]} groups which groups; none when it is all of the cluster
 * @property {number} total how many shards that are
 * @property {number} online how many of them are online
 *
 * @typedef {object} Tally
 * @property {string} name of the cluster
 * @property {number} total
 * @property {number} online
 * @property {ArrayLike<number>} counts by state, without those under maintenance
 * @property {boolean} isSilent whether none of its shards is heard any more
 * @property {Maintained | null} maintained
 * @property {() => {total: number, done: number} | null} countGroups those of which all shards are online; null when not
 *   every shard has a group
 *
 * @typedef {"good" | "calm" | "warn" | "bad" | "none"} Mood
 * @typedef {object} Verdict
 * @property {"online" | "broken" | "maintained" | "moving" | "partly" | "silent" | "empty"} kind
 *   broken: down, or not heard at all · partly: all that reported are online · silent: nobody has reported yet ·
 *   empty: no cluster is configured
 * @property {Mood} mood
 * @property {Tally[]} tallies
 */

import { OFFLINE, ONLINE, RESUMING, STARTING, STOPPING, UNHEALTHY, UNKNOWN } from "./states.js";

/** From this part of a cluster on, shards that are down are an outage, and shards that restart are a restart of it. */
const PART = 0.1;
/** From the best to the worst. */
const MOODS = /** @type {const} */ (["none", "good", "calm", "warn", "bad"]);
/** @type {Record<Notice["severity"], Mood>} */
export const LOUDNESS = { info: "calm", warning: "warn", critical: "bad" };

/**
 * @param {Tally[]} tallies
 * @returns {Verdict}
 */
export function judgeFleet(tallies) {
  const total = sum(tallies, (tally) => tally.total);
  const unknown = sum(tallies, (tally) => tally.counts[UNKNOWN]);
  if (tallies.length === 0) return { kind: "empty", mood: "none", tallies };
  if (tallies.some((tally) => tally.isSilent || countDown(tally) > 0)) {
    return { kind: "broken", mood: tallies.some(isOutage) ? "bad" : "warn", tallies };
  }
  if (tallies.some((tally) => tally.maintained)) return { kind: "maintained", mood: "calm", tallies };
  if (unknown === total) return { kind: "silent", mood: "none", tallies };
  if (tallies.some((tally) => countMoving(tally) > 0)) return { kind: "moving", mood: "calm", tallies };
  if (unknown === 0) return { kind: "online", mood: "good", tallies };
  // A few that answer say nothing of the rest.
  return { kind: "partly", mood: isLarge(unknown, total) ? "none" : "good", tallies };
}

/**
 * @param {Mood} mood of the fleet
 * @param {Notice} announcement
 * @returns {Mood} the worse of the two
 */
export function joinMoods(mood, announcement) {
  const own = LOUDNESS[announcement.severity];
  return MOODS.indexOf(own) > MOODS.indexOf(mood) ? own : mood;
}

/**
 * @param {Store} store
 * @param {number} asOf the server's time up to which the picture is true
 * @returns {Tally[]}
 */
export function tallyFleet(store, asOf) {
  return store.clusters.map((cluster) => {
    const { name, total, online, maintenance } = cluster;
    const isAll = maintenance.all !== null;
    const groups = isAll ? [] : [...maintenance.groups.keys()];
    const isSilent = !isAll && findSilence(cluster, asOf) !== null;
    const countGroups = () => tallyGroups(cluster);
    if (!isAll && groups.length === 0) return { name, total, online, counts: cluster.counts, isSilent, maintained: null, countGroups };
    const { counts, maintained } = splitMaintained(cluster, groups);
    return { name, total, online, counts, isSilent, maintained, countGroups };
  });
}

/**
 * @param {Cluster} cluster
 * @param {string[]} groups
 */
function splitMaintained(cluster, groups) {
  const counts = new Uint32Array(cluster.counts.length);
  const maintained = { groups, total: 0, online: 0 };
  for (let id = 0; id < cluster.total; id += 1) {
    if (cluster.isMaintained(id)) {
      maintained.total += 1;
      maintained.online += Number(cluster.states[id] === ONLINE);
    } else {
      counts[cluster.states[id]] += 1;
    }
  }
  return { counts, maintained };
}

/** @param {Cluster} cluster */
function tallyGroups(cluster) {
  /** @type {Map<string, boolean>} whether all are online */
  const done = new Map();
  for (let id = 0; id < cluster.total; id += 1) {
    const group = cluster.details[id]?.group;
    if (group === undefined) return null;
    done.set(group, (done.get(group) ?? true) && cluster.states[id] === ONLINE);
  }
  return { total: done.size, done: [...done.values()].filter(Boolean).length };
}

/**
 * @param {Tally} tally
 * @returns {number} how many are down, while the cluster is heard at all
 */
export function countDown(tally) {
  return tally.isSilent ? 0 : tally.counts[UNHEALTHY] + tally.counts[OFFLINE];
}

/** @param {Tally} tally */
export function countMoving(tally) {
  return tally.counts[STARTING] + tally.counts[STOPPING] + tally.counts[RESUMING];
}

/**
 * @param {number} part
 * @param {number} total
 * @returns {boolean} whether this part of a cluster is too large to be an exception
 */
export function isLarge(part, total) {
  return part > 0 && part >= total * PART;
}

/** @param {Tally} tally */
function isOutage(tally) {
  return tally.isSilent || isLarge(countDown(tally), tally.total);
}

/**
 * @param {Tally[]} tallies
 * @param {(tally: Tally) => number} count
 */
export function sum(tallies, count) {
  return tallies.reduce((total, tally) => total + count(tally), 0);
}

/**
 * When a cluster as a whole fell silent. Shards that are called unhealthy by the bot itself are heard; shards under
 * maintenance do not count.
 *
 * @param {Cluster} cluster
 * @param {number} now the server's time
 * @returns {number | null} the last sign of life of any shard, NaN when it is not known; null while the cluster is heard
 */
export function findSilence(cluster, now) {
  const { counts, maintenance } = cluster;
  const isPartMaintained = maintenance.groups.size > 0;
  if (counts[UNHEALTHY] === 0) return null;
  if (!isPartMaintained && counts[UNHEALTHY] + counts[UNKNOWN] !== cluster.total) return null;
  let newest = NaN;
  let unhealthy = 0;
  for (let id = 0; id < cluster.total; id += 1) {
    if (isPartMaintained && cluster.isMaintained(id)) continue;
    const isUnhealthy = cluster.states[id] === UNHEALTHY;
    // Unknown, but it has reported: it is among those that would be flagged.
    if (!isUnhealthy && !Number.isNaN(cluster.since[id])) return null;
    unhealthy += Number(isUnhealthy);
    const heard = cluster.lastHeard[id];
    if (!Number.isNaN(heard) && !(heard <= newest)) newest = heard;
  }
  return unhealthy === 0 || now - newest <= (cluster.timeout ?? 0) ? null : newest;
}
