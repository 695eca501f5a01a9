/** Durations in words: one unit, rounded down, as people say them. */

import { fill, getWords } from "./language.js";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * Units, and from how many seconds on they are used: "89 seconds" and "36 hours" say more than "1 minute" and "1 day".
 * @type {readonly [from: number, seconds: number, unit: "years" | "months" | "days" | "hours" | "minutes"][]}
 */
const UNITS = [
  [730 * DAY, 365.25 * DAY, "years"],
  [60 * DAY, 30.4375 * DAY, "months"],
  [2 * DAY, DAY, "days"],
  [2 * HOUR, HOUR, "hours"],
  [2 * MINUTE, MINUTE, "minutes"],
];

/**
 * @param {number} seconds a negative one counts as 0
 * @returns {string} such as "3 days"
 */
export function describeDuration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [from, size, unit] of UNITS) {
    if (whole >= from) return fill(getWords()[unit], { n: Math.floor(whole / size) });
  }
  return fill(getWords().seconds, { n: whole });
}

/**
 * @param {number} seconds
 * @returns {string} such as "3 days ago"; "just now" below two seconds
 */
export function describeAge(seconds) {
  return seconds < 2 ? getWords().justNow : fill(getWords().ago, { duration: describeDuration(seconds) });
}
