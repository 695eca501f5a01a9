/** The seven states of a shard. Their numbers are those of the reports; their names are in language/. */

export const UNKNOWN = 0;
export const UNHEALTHY = 1;
export const OFFLINE = 2;
export const ONLINE = 3;
export const STARTING = 4;
export const STOPPING = 5;
export const RESUMING = 6;

/** All of them. */
export const STATES = Object.freeze([UNKNOWN, UNHEALTHY, OFFLINE, ONLINE, STARTING, STOPPING, RESUMING]);

/** The order of the legend: from good news to no news. */
export const LEGEND_ORDER = Object.freeze([ONLINE, STARTING, RESUMING, STOPPING, UNHEALTHY, OFFLINE, UNKNOWN]);

/**
 * @param {unknown} value
 * @returns {value is number} whether it is the number of a state
 */
export function isState(value) {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < STATES.length;
}
