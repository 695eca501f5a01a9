/**
 * Shards that are online by their own word, but do not work: they handle no events while their neighbours do, or they
 * are very slow. Worked out when details come in, not for each frame.
 *
 * @import {Details} from "./frames.js"
 * @import {Groups} from "./groups.js"
 * @import {Cluster} from "./store.js"
 * @typedef {"idle" | "slow"} Zombie idle: it handles no events · slow: it is slow to answer
 * @typedef {{details: Record<string, Details>, groups: Groups | null, quirks: Uint8Array, ids: number[]}} Findings
 */

import { readGroups } from "./groups.js";
import { ONLINE } from "./states.js";

/** A shard whose latency is above is slow. */
const LATENCY_MS_MAX = 5000;
/** Without groups, so many neighbouring ids are compared. */
const NEIGHBOURS = 16;
const IDLE = 1;
const SLOW = 2;

/** @type {WeakMap<Cluster, Findings>} */
const known = new WeakMap();

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {Zombie | null}
 */
export function findZombie(cluster, id) {
  if (cluster.states[id] !== ONLINE) return null;
  const quirk = examine(cluster).quirks[id];
  return quirk === IDLE ? "idle" : quirk === SLOW ? "slow" : null;
}

/**
 * @param {Cluster} cluster
 * @returns {number} how many there are
 */
export function countZombies(cluster) {
  return examine(cluster).ids.reduce((count, id) => count + Number(cluster.states[id] === ONLINE), 0);
}

/**
 * @param {Cluster} cluster
 * @returns {Findings} the same object as long as the details are the same
 */
export function examine(cluster) {
  const before = known.get(cluster);
  if (before?.details === cluster.details) return before;
  const groups = readGroups(cluster.details, cluster.total, before?.groups);
  const quirks = findQuirks(cluster.details, cluster.total, groups);
  /** @type {number[]} */
  const ids = [];
  quirks.forEach((quirk, id) => {
    if (quirk !== 0) ids.push(id);
  });
  const findings = { details: cluster.details, groups, quirks, ids };
  known.set(cluster, findings);
  return findings;
}

/**
 * @param {Record<string, Details>} details by id
 * @param {number} total
 * @param {Groups | null} groups
 * @returns {Uint8Array} by id: 0 for nothing strange
 */
export function findQuirks(details, total, groups) {
  const quirks = new Uint8Array(total);
  /** @param {number} id */
  const nearby = (id) => Math.floor(id / NEIGHBOURS);
  const near = countRooms(details, total, Math.ceil(total / NEIGHBOURS), nearby);
  /** @param {number} id */
  const groupOf = (id) => groups?.of[id] ?? 0;
  const grouped = groups && countRooms(details, total, groups.names.length + 1, groupOf);
  for (let id = 0; id < total; id += 1) {
    const { events_per_s: events, latency_ms: latency } = details[id] ?? {};
    // Who is alone in its process is compared with its neighbours by number.
    const isInCompany = grouped !== null && grouped.reporting[groupOf(id)] > 1;
    const room = isInCompany ? groupOf(id) : nearby(id);
    const { reporting, busy } = isInCompany ? grouped : near;
    const others = reporting[room] - 1;
    // It is not busy itself, so all that are busy are others.
    if (events === 0 && others > 0 && busy[room] * 2 >= others) quirks[id] = IDLE;
    else if (latency !== undefined && latency > LATENCY_MS_MAX) quirks[id] = SLOW;
  }
  return quirks;
}

/**
 * @param {Record<string, Details>} details by id
 * @param {number} total
 * @param {number} rooms
 * @param {(id: number) => number} roomOf
 * @returns {{reporting: Uint32Array, busy: Uint32Array}} by room: how many say what they handle, and how many handle any
 */
function countRooms(details, total, rooms, roomOf) {
  const reporting = new Uint32Array(rooms);
  const busy = new Uint32Array(rooms);
  for (let id = 0; id < total; id += 1) {
    const events = details[id]?.events_per_s;
    if (events === undefined) continue;
    reporting[roomOf(id)] += 1;
    if (events > 0) busy[roomOf(id)] += 1;
  }
  return { reporting, busy };
}
