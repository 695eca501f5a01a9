/**
 * The one sentence at the top, as facts. Pure.
 *
 * @typedef {object} Tally
 * @property {string} name of the cluster
 * @property {number} total
 * @property {ArrayLike<number>} counts by state
 * @typedef {"good" | "calm" | "warn" | "bad" | "none"} Mood
 * @typedef {object} Verdict
 * @property {"online" | "down" | "moving" | "partly" | "silent" | "empty"} kind
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
  if (all.total === 0) return { kind: "empty", mood: "none", ...all };
  const unknown = add(tallies, [UNKNOWN]);
  if (unknown.count === all.total) return { kind: "silent", mood: "none", ...unknown };
  const down = add(tallies, [UNHEALTHY, OFFLINE]);
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
  return tallies.some((tally) => countIn(tally, [UNHEALTHY, OFFLINE]) >= tally.total * OUTAGE);
}
