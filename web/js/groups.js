/**
 * Which shards are hosted together, by what they say of themselves. Pure.
 *
 * @import {Details} from "./frames.js"
 * @typedef {object} Groups
 * @property {string[]} names in the order of their first shards
 * @property {Int32Array} of by id: the index of its group, `names.length` for none
 * @property {number} largest how many shards the largest has, those without a group included
 */

/**
 * @param {Record<string, Details>} details by id
 * @param {number} total
 * @param {Groups | null} before a shard that names no group any more stays where it was: it may just be restarting
 * @returns {Groups | null} null when nobody names a group; `before` itself when nothing changed
 */
export function readGroups(details, total, before = null) {
  /** @type {Map<string, number>} */
  const indexes = new Map();
  const of = new Int32Array(total).fill(-1);
  let isNamed = false;
  for (let id = 0; id < total; id += 1) {
    const said = nameOf(details[id]);
    isNamed ||= said !== undefined;
    const name = said ?? before?.names[before.of[id]];
    if (name === undefined) continue;
    const index = indexes.get(name) ?? indexes.size;
    indexes.set(name, index);
    of[id] = index;
  }
  if (!isNamed) return null;
  const names = [...indexes.keys()];
  const groups = finish(names, of);
  return before && isSame(before, groups) ? before : groups;
}

/** @param {Details | undefined} details */
function nameOf(details) {
  return details?.group === "" ? undefined : details?.group;
}

/**
 * @param {string[]} names
 * @param {Int32Array} of with -1 for none
 * @returns {Groups}
 */
function finish(names, of) {
  const sizes = new Uint32Array(names.length + 1);
  for (let id = 0; id < of.length; id += 1) {
    if (of[id] < 0) of[id] = names.length;
    sizes[of[id]] += 1;
  }
  return { names, of, largest: sizes.reduce((most, size) => Math.max(most, size), 0) };
}

/**
 * @param {Groups} one
 * @param {Groups} other
 */
function isSame(one, other) {
  return one.names.length === other.names.length
    && one.of.length === other.of.length
    && one.names.every((name, index) => name === other.names[index])
    && one.of.every((group, id) => group === other.of[id]);
}
