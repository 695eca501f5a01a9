/**
 * The one sentence at the top, and the one about a silent cluster, as facts. Pure.
 *
 * @import {Cluster} from "./store.js"
 * @typedef {object} Tally
 * @property {string} name of the cluster
 * @property {number} total
 * @property {ArrayLike<number>} counts by state
 * @property {boolean} isSilent whether none of its shards is heard any more
 * @typedef {"good" | "calm" | "warn" | "bad" | "none"} Mood
 * @typedef {object} Verdict
 * @property {"online" | "unheard" | "down" | "moving" | "partly" | "silent" | "empty"} kind
 *   unheard: all that are down are in clusters of which nothing is heard, so it may be anything ·
 *   partly: all that reported are online · silent: nobody has reported yet · empty: no cluster is configured
 * @property {Mood} mood
 * @property {number} count of the shards that the sentence is about
 * @property {number} total of the clusters that it is about
 * @property {string[]} clusters their names
 */

import { OFFLINE, ONLINE, RESUMING, STARTING, STOPPING, UNHEALTHY, UNKNOWN } from "./states.js";

/** From this part of a cluster on, shards that are down are an outage. */
const OUTAGE = 0.1;

/**
 * @param {Tally[]} tallies
 * @returns {Verdict}
 */
export function judgeFleet(tallies) {
  const all = add(tallies, [UNKNOWN, UNHEALTHY, OFFLINE, ONLINE, STARTING, STOPPING, RESUMING]);
  if (tallies.length === 0) return { kind: "empty", mood: "none", ...all };
  const unknown = add(tallies, [UNKNOWN]);
  if (unknown.count === all.total) return { kind: "silent", mood: "none", ...unknown };
  const down = add(tallies, [UNHEALTHY, OFFLINE]);
  if (down.count > 0 && tallies.every((tally) => tally.isSilent || countIn(tally, [UNHEALTHY, OFFLINE]) === 0)) {
    return { kind: "unheard", mood: "bad", ...down };
  }
  if (down.count > 0) return { kind: "down", mood: isOutage(tallies) ? "bad" : "warn", ...down };
  const moving = add(tallies, [STARTING, STOPPING, RESUMING]);
  if (moving.count > 0) return { kind: "moving", mood: "calm", ...moving };
  if (unknown.count > 0) return { kind: "partly", mood: "good", ...unknown };
  return { kind: "online", mood: "good", ...all };
}

/**
 * @param {Tally[]} tallies
 * @param {number[]} states
 */
function add(tallies, states) {
  const affected = tallies.filter((tally) => countIn(tally, states) > 0);
  return {
    count: affected.reduce((sum, tally) => sum + countIn(tally, states), 0),
    total: affected.reduce((sum, tally) => sum + tally.total, 0),
    clusters: affected.map((tally) => tally.name),
  };
}

/**
 * @param {Tally} tally
 * @param {number[]} states
 */
function countIn(tally, states) {
  return states.reduce((sum, state) => sum + tally.counts[state], 0);
}

/** @param {Tally[]} tallies */
function isOutage(tallies) {
  return tallies.some((tally) => tally.total > 0 && countIn(tally, [UNHEALTHY, OFFLINE]) >= tally.total * OUTAGE);
}

/**
 * When a cluster as a whole fell silent. Shards that are called unhealthy by the bot itself are heard.
 *
 * @param {Cluster} cluster
 * @param {number} now the server's time
 * @returns {number | null} the last sign of life of any shard, NaN when it is not known; null while the cluster is heard
 */
export function findSilence(cluster, now) {
  const unhealthy = cluster.counts[UNHEALTHY];
  if (unhealthy === 0 || unhealthy + cluster.counts[UNKNOWN] !== cluster.total) return null;
  let newest = NaN;
  for (let id = 0; id < cluster.total; id += 1) {
    // Unknown, but it has reported: it is among those that would be flagged.
    if (cluster.states[id] === UNKNOWN && !Number.isNaN(cluster.since[id])) return null;
    const heard = cluster.lastHeard[id];
    if (!Number.isNaN(heard) && !(heard <= newest)) newest = heard;
  }
  return now - newest <= (cluster.timeout ?? 0) ? null : newest;
}
