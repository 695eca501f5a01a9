/** How long to wait before the next try: twice as long each time, and never in step with the other viewers. */

const FIRST_MS = 1000;
const MOST_MS = 30_000;

/**
 * @param {number} failures in a row, 1 after the first
 * @param {() => number} random from 0 up to 1
 * @returns {number} milliseconds, between half of and the whole step
 */
export function delayAfter(failures, random = Math.random) {
  const step = Math.min(MOST_MS, FIRST_MS * 2 ** Math.max(0, Math.min(failures, 20) - 1));
  return step / 2 + (step / 2) * random();
}
