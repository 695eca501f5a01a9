/**
 * Small fleets for the tests.
 *
 * @import {Changes, ClusterSnapshot, ShardChange, Snapshot, Version} from "../js/frames.js"
 */

/**
 * @param {string} states one digit a shard
 * @param {Partial<ClusterSnapshot>} [rest]
 * @returns {ClusterSnapshot}
 */
export function cluster(states, rest = {}) {
  const times = Array.from(states, (state) => (state === "0" ? null : 1000));
  return {
    name: "main",
    total: states.length,
    timeout: 30,
    states,
    previous: "0".repeat(states.length),
    since: times,
    last_heard: times.slice(),
    details: {},
    blocks: Array.from({ length: Math.ceil(states.length / 1024) }, () => [7, 50]),
    ...rest,
  };
}

/**
 * @param {ClusterSnapshot[]} clusters
 * @returns {Snapshot}
 */
export function snapshot(...clusters) {
  return { now: 2000, heard: 1999.5, judging_since: 1500, clusters, announcement: null, maintenance: [] };
}

/**
 * @param {Version | null} version
 * @param {ShardChange[]} shards
 * @returns {Changes}
 */
export function changes(version, ...shards) {
  return { cluster: "main", block: 0, version, shards };
}
