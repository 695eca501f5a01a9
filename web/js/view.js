/**
 * Which shards are shown, and in which order. Pure.
 *
 * @import {Groups} from "./groups.js"
 * @typedef {object} View what the viewer chose
 * @property {ReadonlySet<number>} kinds the only ones shown; empty: all
 * @property {boolean} problemsFirst
 *
 * @typedef {object} Block the cells of a group
 * @property {number} group its index; as many as there are groups: for the shards without one
 * @property {number} part a very large group has several blocks
 * @property {number} start its first position
 * @property {number} end after its last
 *
 * @typedef {object} Arrangement
 * @property {number} count of the cells
 * @property {Int32Array | null} order which shard is at a position; null: the one with the same number
 * @property {Int32Array | null} positions where a shard is, -1 for nowhere; null as above
 * @property {Block[]} blocks none when there are no groups
 */

import { OFFLINE, ONLINE, RESUMING, STARTING, STATES, STOPPING, UNHEALTHY, UNKNOWN } from "./states.js";

/** A kind of shard beside the states: online, but see zombie.js. */
export const ZOMBIE = STATES.length;

/** From what needs help to what is well. */
const SEVERITY = [OFFLINE, UNHEALTHY, ZOMBIE, STOPPING, STARTING, RESUMING, UNKNOWN, ONLINE];
/** By kind: 0 is the worst. */
const RANKS = Uint8Array.from(SEVERITY, (_, kind) => SEVERITY.indexOf(kind));

/** Larger groups are cut, so that no part of the page is without bound. */
export const BLOCK_CELLS_MAX = 256;

/** @type {View} */
export const PLAIN_VIEW = Object.freeze({ kinds: new Set(), problemsFirst: false });

/**
 * @param {View} view
 * @returns {boolean} whether changes of states change what is where
 */
export function isMoving({ kinds, problemsFirst }) {
  return kinds.size > 0 || problemsFirst;
}

/**
 * @param {View} view
 * @param {number} kind
 * @returns {View} with this kind shown or not
 */
export function toggleKind(view, kind) {
  const kinds = new Set(view.kinds);
  if (!kinds.delete(kind)) kinds.add(kind);
  return { ...view, kinds };
}

/**
 * @param {Uint8Array} states by id
 * @param {Uint8Array} quirks by id, as in zombie.js
 * @param {Groups | null} groups
 * @param {View} view
 * @returns {Arrangement}
 */
export function arrange(states, quirks, groups, view) {
  const total = states.length;
  if (!groups && !isMoving(view)) return { count: total, order: null, positions: null, blocks: [] };
  const ranks = new Uint8Array(total);
  const shown = new Uint8Array(total);
  for (let id = 0; id < total; id += 1) {
    const isZombie = states[id] === ONLINE && quirks[id] !== 0;
    ranks[id] = view.problemsFirst ? RANKS[isZombie ? ZOMBIE : states[id]] : 0;
    const isWanted = view.kinds.has(states[id]) || (isZombie && view.kinds.has(ZOMBIE));
    shown[id] = Number(view.kinds.size === 0 || isWanted);
  }
  if (!groups) return { ...index(sortBy(ranks, RANKS.length, shown), total), blocks: [] };
  const { starts, order } = sortByGroup(groups, ranks, shown);
  return { ...index(order, total), blocks: cut(starts) };
}

/**
 * @param {Groups} groups
 * @param {Uint8Array} ranks
 * @param {Uint8Array} shown
 * @returns {{starts: [group: number, count: number][], order: Int32Array}}
 */
function sortByGroup(groups, ranks, shown) {
  const size = groups.names.length + 1;
  const worst = new Uint8Array(size).fill(RANKS.length);
  const counts = new Uint32Array(size);
  groups.of.forEach((group, id) => {
    if (shown[id] === 0) return;
    counts[group] += 1;
    worst[group] = Math.min(worst[group], ranks[id]);
  });
  // Those without a group come last, whatever their state.
  worst[size - 1] = RANKS.length;
  const sequence = sortBy(worst, RANKS.length + 1);
  const places = new Int32Array(size);
  sequence.forEach((group, place) => {
    places[group] = place;
  });
  const order = sortBy(groups.of.map((group) => places[group]), size, shown);
  return { starts: Array.from(sequence, (group) => [group, counts[group]]), order };
}

/**
 * @param {[group: number, count: number][]} sizes
 * @returns {Block[]}
 */
function cut(sizes) {
  /** @type {Block[]} */
  const blocks = [];
  let start = 0;
  for (const [group, count] of sizes) {
    const last = start + count;
    for (let part = 0; start < last; part += 1) {
      const end = Math.min(start + BLOCK_CELLS_MAX, last);
      blocks.push({ group, part, start, end });
      start = end;
    }
  }
  return blocks;
}

/**
 * @param {ArrayLike<number>} keys below `size`
 * @param {number} size
 * @param {Uint8Array | null} [shown] which take part; null: all
 * @returns {Int32Array} indexes by key; equal ones keep their order
 */
function sortBy(keys, size, shown = null) {
  const next = new Uint32Array(size + 1);
  for (let index = 0; index < keys.length; index += 1) {
    if (!shown || shown[index]) next[keys[index] + 1] += 1;
  }
  for (let key = 1; key <= size; key += 1) next[key] += next[key - 1];
  const sorted = new Int32Array(next[size]);
  for (let index = 0; index < keys.length; index += 1) {
    if (shown && !shown[index]) continue;
    sorted[next[keys[index]]] = index;
    next[keys[index]] += 1;
  }
  return sorted;
}

/**
 * @param {Int32Array} order
 * @param {number} total
 * @returns {{count: number, order: Int32Array | null, positions: Int32Array | null}}
 */
function index(order, total) {
  if (order.length === total && order.every((id, position) => id === position)) return { count: total, order: null, positions: null };
  const positions = new Int32Array(total).fill(-1);
  order.forEach((id, position) => {
    positions[id] = position;
  });
  return { count: order.length, order, positions };
}
