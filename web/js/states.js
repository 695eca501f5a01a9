/**
 * The seven states of a shard. Numbers and names are those of the reports.
 *
 * @typedef {object} State
 * @property {string} name for people, as in the legend
 * @property {string} word inside a sentence
 * @property {string} meaning one sentence for the legend
 */

export const UNKNOWN = 0;
export const UNHEALTHY = 1;
export const OFFLINE = 2;
export const ONLINE = 3;
export const STARTING = 4;
export const STOPPING = 5;
export const RESUMING = 6;

/** @type {readonly State[]} by number */
export const STATES = Object.freeze([
  { name: "Unknown", word: "unknown", meaning: "Nothing has been reported yet." },
  { name: "Unhealthy", word: "unhealthy", meaning: "It has been silent for too long." },
  { name: "Offline", word: "offline", meaning: "It is not connected to Discord." },
  { name: "Online", word: "online", meaning: "It is connected and answers." },
  { name: "Starting", word: "starting", meaning: "It is on its way, or waits for its turn." },
  { name: "Stopping", word: "stopping", meaning: "It is being shut down on purpose." },
  { name: "Resuming", word: "resuming", meaning: "It lost its connection and picks up where it was." },
]);

/** The order of the legend: from good news to no news. */
export const LEGEND_ORDER = Object.freeze([ONLINE, STARTING, RESUMING, STOPPING, UNHEALTHY, OFFLINE, UNKNOWN]);

/**
 * @param {unknown} value
 * @returns {value is number} whether it is the number of a state
 */
export function isState(value) {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < STATES.length;
}
