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
 * @property {number} unheardAt since when this page knows that it has heard nothing at all; NaN otherwise
 * @property {boolean} isPolling whether the picture is kept up to date without the feed
 * @property {boolean} judging whether silence is judged at present
 */

/** The judge speaks once a second; five missed words are no accident. */
export const DEAF_S = 5;
const STALLED_S = 5;
/**
 * So long after the last complete picture, an interruption is no alarm: the page comes back from an upgrade within 2 s.
 * The last word may have come a second before the line was closed.
 */
const YOUNG_S = 4;

/**
 * @param {Facts} facts
 * @returns {Condition}
 */
export function judgeConnection(facts) {
  const isOpen = facts.phase === "open";
  if (!facts.deviceOnline && facts.silence > STALLED_S) return "offline";
  if (!facts.hasPicture) return "loading";
  if (!facts.isPolling) {
    if (!isOpen) return isYoung(facts) ? "loading" : "lost";
    if (facts.silence > STALLED_S) return "stalled";
    if (!facts.joined) return isYoung(facts) ? "loading" : "lost";
  }
  // As of the frame itself: a frame that is late says nothing about the dashboard's ears.
  if (Number.isNaN(facts.heard)) return facts.now - facts.unheardAt <= DEAF_S ? "loading" : "deaf";
  if (facts.now - facts.heard > DEAF_S) return "deaf";
  return facts.judging ? "live" : "unjudged";
}

/**
 * @param {Facts} facts
 * @returns {boolean} whether the picture is so young that its first seconds need no alarm
 */
function isYoung(facts) {
  return facts.clock - facts.completeAt < YOUNG_S;
}

/**
 * @param {Condition} condition
 * @param {Facts} facts
 * @returns {number | null} how old the picture is, in seconds; null while it is not old, NaN when nobody knows
 */
export function agePicture(condition, facts) {
  if (!facts.hasPicture) return null;
  // The server's clock may be set back while the page looks on.
  switch (condition) {
    case "deaf": return Math.max(0, facts.clock - facts.heard);
    case "offline":
    case "lost":
    case "stalled": return Math.max(0, facts.clock - facts.completeAt);
    default: return null;
  }
}
