/** Durations in words: one unit, rounded down, as people say them. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * Units, and from how many seconds on they are used: "89 seconds" and "36 hours" say more than "1 minute" and "1 day".
 * @type {readonly [from: number, seconds: number, singular: string, plural: string][]}
 */
const UNITS = [
  [730 * DAY, 365.25 * DAY, "year", "years"],
  [60 * DAY, 30.4375 * DAY, "month", "months"],
  [2 * DAY, DAY, "day", "days"],
  [2 * HOUR, HOUR, "hour", "hours"],
  [2 * MINUTE, MINUTE, "minute", "minutes"],
];

/**
 * @param {number} seconds a negative one counts as 0
 * @returns {string} such as "3 days"
 */
export function describeDuration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [from, unit, singular, plural] of UNITS) {
    if (whole < from) continue;
    const count = Math.floor(whole / unit);
    return `${count} ${count === 1 ? singular : plural}`;
  }
  return whole === 1 ? "1 second" : `${whole} seconds`;
}

/**
 * @param {number} seconds
 * @returns {string} such as "3 days ago"; "just now" below two seconds
 */
export function describeAge(seconds) {
  return seconds < 2 ? "just now" : `${describeDuration(seconds)} ago`;
}
