/**
 * Tells apart what may be wrong between a bot and this screen: the device, the way to the dashboard, or the
 * dashboard's ears. Pure: facts in, verdict out.
 *
 * @typedef {"offline" | "loading" | "lost" | "stalled" | "deaf" | "unjudged" | "live"} Condition
 *   offline: the device has no network · loading: no picture yet · lost: no connection to the dashboard, trying again ·
 *   stalled: connected, but nothing arrives · deaf: the dashboard does not hear the bots · unjudged: fine, but nobody
 *   is flagged as unhealthy at present · live: all is well
 * @typedef {object} Facts
 * @property {boolean} deviceOnline what the browser believes
 * @property {import("./feed.js").Phase} phase of the feed
 * @property {number} silence seconds since the last frame; Infinity when not connected
 * @property {boolean} hasPicture
 * @property {boolean} joined whether the picture follows the feed
 * @property {number} clock the server's time now, Unix seconds
 * @property {number} completeAt the server's time up to which the picture is complete
 * @property {number} now the server's time in the last frame
 * @property {number} heard when the dashboard last heard the judge of health, as of the last frame
 * @property {boolean} judging
 */

/** The judge speaks once a second; five missed words are no accident. */
export const DEAF_S = 5;
const STALLED_S = 5;

/**
 * @param {Facts} facts
 * @returns {Condition}
 */
export function judgeConnection(facts) {
  const isOpen = facts.phase === "open";
  if (!facts.deviceOnline && facts.silence > STALLED_S) return "offline";
  if (!facts.hasPicture) return "loading";
  if (!isOpen) return facts.phase === "connecting" && isYoung(facts) ? "loading" : "lost";
  if (facts.silence > STALLED_S) return "stalled";
  if (!facts.joined) return isYoung(facts) ? "loading" : "lost";
  // As of the frame itself: a frame that is late says nothing about the dashboard's ears.
  if (!(facts.now - facts.heard <= DEAF_S)) return "deaf";
  return facts.judging ? "live" : "unjudged";
}

/**
 * @param {Facts} facts
 * @returns {boolean} whether the picture is so young that its first seconds need no alarm
 */
function isYoung(facts) {
  return facts.clock - facts.completeAt < DEAF_S;
}

/**
 * @param {Condition} condition
 * @param {Facts} facts
 * @returns {number | null} how old the picture is, in seconds; null while it is not old
 */
export function agePicture(condition, facts) {
  if (!facts.hasPicture) return null;
  switch (condition) {
    case "deaf": return facts.clock - facts.heard;
    case "offline":
    case "lost":
    case "stalled": return facts.clock - facts.completeAt;
    default: return null;
  }
}
