/**
 * The sentences at the top of the page: the verdict, what happened lately, and the connection.
 *
 * @import {Notice} from "./frames.js"
 * @import {Condition} from "./connection.js"
 * @import {Outage} from "./history.js"
 * @import {Mood, Tally, Verdict} from "./verdict.js"
 */

import { describeAge, describeDuration } from "./durations.js";
import { fill, getFormats, getWords } from "./language.js";
import { RESUMING, UNKNOWN } from "./states.js";
import { LOUDNESS, countDown, countMoving, isLarge, joinMoods, sum } from "./verdict.js";

/** Of more clusters than this, one sum is said. */
const CLAUSES_MAX = 3;
/** Longer lists are cut after three names. */
const NAMES_MAX = 4;
const TITLE_LENGTH_MAX = 140;
/** An outage that ended longer ago is no news. */
const LATELY_S = 24 * 3600;

/** @typedef {{text: string, isNamed: boolean}} Clause isNamed: it begins with a cluster's name, whose case is not ours to change */

/** @param {string[]} names */
function listNames(names) {
  const { list } = getFormats();
  if (names.length <= NAMES_MAX) return list.format(names);
  return fill(getWords().andMore, { names: names.slice(0, NAMES_MAX - 1).join(", "), n: names.length - NAMES_MAX + 1 });
}

/**
 * @param {"online" | "down" | "restarting" | "reconnecting"} what
 * @param {number} some
 * @param {number} total
 */
function sayPart(what, some, total) {
  const words = getWords();
  if (some === total) return total === 1 ? words[`${what}Only`] : fill(words[`${what}All`], { n: total });
  return fill(words[`${what}Some`], { n: some, total });
}

/**
 * @param {string} text
 * @returns {Clause}
 */
function say(text) {
  return { text, isNamed: false };
}

/**
 * @param {Tally} tally
 * @param {string} text
 * @param {boolean} isAlone whether it is the only cluster
 * @returns {Clause}
 */
function sayOf(tally, text, isAlone) {
  return isAlone ? say(text) : { text: fill(getWords().ofCluster, { cluster: tally.name, sentence: text }), isNamed: true };
}

/**
 * @param {Verdict} verdict
 * @returns {Clause[]}
 */
function listClauses({ kind, tallies }) {
  const words = getWords();
  const total = sum(tallies, (tally) => tally.total);
  const unknown = sum(tallies, (tally) => tally.counts[UNKNOWN]);
  switch (kind) {
    case "empty": return [say(words.noBots)];
    case "silent": return [say(words.noReports)];
    case "broken": return listBroken(tallies);
    case "maintained": return listMaintained(tallies);
    case "moving": return listMoving(tallies);
    case "partly": return [say(sayPart("online", total - unknown, total)), say(fill(words.nothingKnown, { n: unknown }))];
    case "online": return [say(sayPart("online", total, total))];
  }
}

/** @param {Tally[]} tallies */
function listBroken(tallies) {
  const words = getWords();
  const down = tallies.filter((tally) => countDown(tally) > 0);
  const values = { n: sum(down, countDown), total: sum(down, (tally) => tally.total), clusters: down.length };
  const clauses = down.length > CLAUSES_MAX
    ? [say(fill(words.downMany, values))]
    : down.map((tally) => sayOf(tally, sayPart("down", countDown(tally), tally.total), tallies.length === 1));
  const silent = tallies.filter((tally) => tally.isSilent).map((tally) => tally.name);
  if (silent.length > 0) clauses.push(say(fill(words.unheard, { clusters: listNames(silent) })));
  return clauses;
}

/** @param {Tally[]} tallies */
function listMaintained(tallies) {
  const words = getWords();
  const affected = tallies.filter((tally) => tally.maintained !== null);
  const online = sum(affected, (tally) => tally.maintained?.online ?? 0);
  const total = sum(affected, (tally) => tally.maintained?.total ?? 0);
  /** @param {number} some @param {number} all */
  const count = (some, all) => (all === 0 ? "" : `: ${sayPart("online", some, all)}`);
  if (affected.length > CLAUSES_MAX) return [say(fill(words.clustersMaintained, { n: affected.length }) + count(online, total))];
  return affected.map(({ name: cluster, maintained }) => {
    const groups = maintained?.groups ?? [];
    const shards = count(maintained?.online ?? 0, maintained?.total ?? 0);
    if (groups.length === 0) return { text: fill(words.clusterMaintained, { cluster }) + shards, isNamed: true };
    const text = groups.length === 1
      ? fill(words.groupMaintained, { group: groups[0], cluster })
      : fill(words.groupsMaintained, { groups: listNames(groups), cluster });
    return say(text + shards);
  });
}

/** @param {Tally[]} tallies */
function listMoving(tallies) {
  const words = getWords();
  const moving = tallies.filter((tally) => countMoving(tally) > 0);
  if (moving.length > CLAUSES_MAX) {
    const values = { n: sum(moving, countMoving), total: sum(moving, (tally) => tally.total), clusters: moving.length };
    return [say(fill(words.restartingMany, values))];
  }
  return moving.map((tally) => {
    const isReconnecting = tally.counts[RESUMING] === countMoving(tally);
    const what = isReconnecting ? "reconnecting" : "restarting";
    if (tally.total === 1 || !isLarge(countMoving(tally), tally.total)) {
      return sayOf(tally, sayPart(what, countMoving(tally), tally.total), tallies.length === 1);
    }
    const groups = tally.countGroups();
    const done = groups
      ? fill(words.groupsDone, { n: groups.done, total: groups.total })
      : fill(words.shardsDone, { n: tally.online, total: tally.total });
    return { text: fill(isReconnecting ? words.clusterReconnecting : words.clusterRestarting, { cluster: tally.name, done }), isNamed: true };
  });
}

/**
 * @param {Verdict} verdict
 * @returns {string} a sentence of its own, without a full stop
 */
export function sayVerdict(verdict) {
  const clauses = listClauses(verdict);
  const text = clauses.map((clause) => clause.text).join("; ");
  return clauses[0].isNamed ? text : text.charAt(0).toLocaleUpperCase(getFormats().tag) + text.slice(1);
}

/**
 * @param {Verdict} verdict
 * @param {Condition} condition what is wrong
 * @returns {string} the verdict of a picture that is old
 */
export function sayLastKnown(verdict, condition) {
  const words = getWords();
  const sentence = listClauses(verdict).map((clause) => clause.text).join("; ");
  switch (condition) {
    case "deaf": return fill(words.blindDeaf, { sentence });
    case "offline": return fill(words.blindOffline, { sentence });
    default: return fill(words.blindLost, { sentence });
  }
}

/**
 * What is said first, in the order of precedence.
 *
 * @param {Verdict} verdict of the fleet
 * @param {Notice | null} announcement
 * @param {Condition | null} blindness what is wrong when the picture is old; null: it is not
 * @returns {{sentence: string, mood: Mood, second: string, secondMood: Mood}} second: what it stands in front of; empty:
 *   nothing
 */
export function sayFirst(verdict, announcement, blindness) {
  const announced = announcement && sayAnnouncement(announcement);
  if (blindness) {
    const secondMood = announcement ? LOUDNESS[announcement.severity] : "none";
    return { sentence: sayLastKnown(verdict, blindness), mood: "none", second: announced ?? "", secondMood };
  }
  const facts = sayVerdict(verdict);
  if (!announcement) return { sentence: facts, mood: verdict.mood, second: "", secondMood: "none" };
  return { sentence: String(announced), mood: joinMoods(verdict.mood, announcement), second: facts, secondMood: verdict.mood };
}

/**
 * @param {Notice} announcement
 * @returns {string} in one line
 */
export function sayAnnouncement({ text }) {
  return text.split(/\s+/).filter((word) => word !== "").join(" ");
}

/**
 * @param {string} sentence
 * @returns {string} cut at a word, for titles
 */
export function cutTitle(sentence) {
  const letters = Array.from(sentence);
  if (letters.length <= TITLE_LENGTH_MAX) return sentence;
  const short = letters.slice(0, TITLE_LENGTH_MAX).join("");
  const end = short.lastIndexOf(" ");
  return `${end > 0 ? short.slice(0, end) : short}…`;
}

/**
 * @param {Outage[]} outages the newest first
 * @param {number} now the server's time
 * @returns {string} what happened lately; empty when nothing did
 */
export function sayLately(outages, now) {
  const over = outages.filter((outage) => outage.ended !== null && now - outage.ended < LATELY_S);
  const [last] = over.sort((one, other) => Number(other.ended) - Number(one.ended) || other.shards - one.shards);
  if (!last) return "";
  const ended = Number(last.ended);
  const text = fill(getWords().lately, {
    ago: describeAge(now - ended), n: last.shards, cluster: last.cluster, duration: describeDuration(ended - last.began),
  });
  return text.charAt(0).toLocaleUpperCase(getFormats().tag) + text.slice(1);
}

// --- the connection --------------------------------------------------------------------------------------------------

/**
 * @param {Condition} condition
 * @param {boolean} isPolling
 */
export function labelConnection(condition, isPolling) {
  const words = getWords();
  return isPolling && (condition === "live" || condition === "unjudged") ? words.polling : words.connection[condition];
}

/**
 * The line below the header when something is wrong with the connection.
 *
 * @param {Condition} condition
 * @param {number | null} age of the picture in seconds; for `unjudged`, for how long silence was not judged
 * @param {number} retryIn seconds
 * @param {boolean} hasFailed whether asking for the picture has failed
 * @returns {string} empty when there is nothing to say
 */
export function sayConnection(condition, age, retryIn, hasFailed) {
  const words = getWords();
  const picture = age === null || Number.isNaN(age) ? "" : fill(words.pictureAge, { duration: describeDuration(age) });
  const retry = retryIn >= 1 ? fill(words.retryIn, { duration: describeDuration(retryIn) }) : words.retryNow;
  switch (condition) {
    case "offline": return fill(words.sayOffline, { picture });
    case "loading": return hasFailed ? words.sayLoading : "";
    case "lost": return fill(words.sayLost, { picture, retry });
    case "stalled": return fill(words.sayStalled, { picture });
    case "deaf": return fill(words.sayDeaf, { picture });
    case "unjudged": return sayUnjudged(age);
    case "live": return "";
  }
}

/** @param {number | null} age for how long this page has known it, in seconds */
function sayUnjudged(age) {
  const words = getWords();
  const lasting = age === null || !(age >= 2) ? "" : fill(words.unjudgedFor, { duration: describeDuration(age) });
  return fill(words.sayUnjudged, { lasting });
}

/**
 * What a screen reader says when the condition changes: no ages, which would be read again and again.
 *
 * @param {Condition} condition
 */
export function announceConnection(condition) {
  const words = getWords();
  switch (condition) {
    case "live":
    case "unjudged": return words.announceLive;
    case "loading": return "";
    case "offline": return words.announceOffline;
    case "deaf": return words.announceDeaf;
    default: return words.announceLost;
  }
}
