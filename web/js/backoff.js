/** How long to wait before the next try: twice as long each time, and never in step with the other viewers. */

const FIRST_MS = 1000;
const MOST_MS = 15_000;
/** A replica that is stopped for an upgrade leaves its viewers to the others: soon, but not all at once. */
const HANDOVER_MS = 1500;

/**
 * @param {number} failures in a row, 1 after the first
 * @param {() => number} random from 0 up to 1
 * @returns {number} milliseconds, between half of and the whole step
 */
export function delayAfter(failures, random = Math.random) {
  const step = Math.min(MOST_MS, FIRST_MS * 2 ** Math.max(0, Math.min(failures, 20) - 1));
  return step / 2 + (step / 2) * random();
}

/**
 * @param {() => number} random from 0 up to 1
 * @returns {number} milliseconds to wait after a goodbye
 */
export function delayAfterGoodbye(random = Math.random) {
  return HANDOVER_MS * random();
}
