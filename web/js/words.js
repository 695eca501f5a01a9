/**
 * Every sentence that scripts put on the page, in one place.
 *
 * @import {Cluster} from "./store.js"
 * @import {Question, Unclear} from "./guild.js"
 * @import {Verdict} from "./verdict.js"
 * @import {Condition} from "./connection.js"
 */

import { describeAge, describeDuration } from "./durations.js";
import { OFFLINE, ONLINE, STATES, UNHEALTHY } from "./states.js";

const number = new Intl.NumberFormat("en");
const timeOfDay = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** A time that is less long ago needs no date. */
const DATE_FROM_S = 12 * 3600;

/** @param {number} count */
export function formatCount(count) {
  return number.format(count);
}

/**
 * @param {number} seconds Unix time
 * @param {number} now the server's time
 */
function formatMoment(seconds, now) {
  return (now - seconds < DATE_FROM_S ? timeOfDay : dateAndTime).format(seconds * 1000);
}

/**
 * @param {number} count
 * @param {string} singular
 * @param {string} plural
 */
function plural(count, singular, plural) {
  return `${formatCount(count)} ${count === 1 ? singular : plural}`;
}

/** @param {string[]} names */
function list(names) {
  if (names.length > 4) return `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

// --- the verdict -----------------------------------------------------------------------------------------------------

/**
 * @param {string} verdict
 * @returns {string} the verdict of a picture that is old
 */
export function sayLastKnown(verdict) {
  return `Last known: ${verdict.charAt(0).toLowerCase()}${verdict.slice(1)}`;
}

/**
 * @param {Verdict} verdict
 * @param {boolean} severalClusters whether names are needed to tell which one is meant
 */
export function sayVerdict({ kind, count, total, clusters }, severalClusters) {
  const where = severalClusters ? ` of ${list(clusters)}` : "";
  const shards = plural(total, "shard", "shards");
  const part = count === total ? `All ${shards}` : `${formatCount(count)} of ${shards}`;
  const are = count === 1 ? "is" : "are";
  switch (kind) {
    case "online": return total === 1 ? "The one shard is online" : `All ${formatCount(total)} shards are online`;
    case "unheard": return `Nothing is heard from ${list(clusters)}`;
    case "down": return `${part}${where} ${are} down`;
    case "moving": return `${part}${where} ${are} restarting`;
    case "partly": return `All is well; ${plural(count, "shard has", "shards have")} not reported yet`;
    case "silent": return "No shard has reported yet";
    case "empty": return "No bots are configured yet";
  }
}

// --- the connection --------------------------------------------------------------------------------------------------

/** @type {Record<Condition, string>} */
export const CONNECTION_LABELS = {
  offline: "Offline",
  loading: "Connecting",
  lost: "Reconnecting",
  stalled: "No answer",
  deaf: "Out of touch",
  unjudged: "Live",
  live: "Live",
};

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
  const picture = age === null || Number.isNaN(age) ? "" : ` This picture is ${describeDuration(age)} old.`;
  const retry = retryIn >= 1 ? ` Trying again in ${describeDuration(retryIn)}.` : " Trying again now.";
  switch (condition) {
    case "offline": return `Your device is offline, so this page hears nothing.${picture} It goes on by itself when the network is back.`;
    case "loading": return hasFailed ? "The dashboard does not answer yet. Trying again." : "";
    case "lost": return `Your browser cannot reach the dashboard.${picture}${retry}`;
    case "stalled": return `Your browser hears nothing from the dashboard any more.${picture} Waiting for it.`;
    case "deaf": return `The dashboard cannot hear the bots. They may well be fine: it cannot say.${picture} It goes on by itself.`;
    case "unjudged": return sayUnjudged(age);
    case "live": return "";
  }
}

/** @param {number | null} age for how long this page has known it, in seconds */
function sayUnjudged(age) {
  const lasting = age === null || !(age >= 2) ? "" : ` It has been so for ${describeDuration(age)}.`;
  return `The dashboard may have missed something, so it gives every shard time to speak before it calls one silent.${lasting}`;
}

/**
 * What a screen reader says when the condition changes: no ages, which would be read again and again.
 *
 * @param {Condition} condition
 */
export function announceConnection(condition) {
  switch (condition) {
    case "live":
    case "unjudged": return "Connected. The page is live.";
    case "loading": return "";
    case "offline": return "Your device is offline. The page shows an old picture.";
    case "deaf": return "The dashboard cannot hear the bots. The page shows an old picture.";
    default: return "Your browser cannot reach the dashboard. The page shows an old picture and tries again.";
  }
}

// --- a cluster -------------------------------------------------------------------------------------------------------

/**
 * The line of a cluster that as a whole is not heard, or has no shards yet.
 *
 * @param {Cluster} cluster
 * @param {number | null} silence as found by findSilence
 * @param {number} now the time up to which the picture is true
 * @param {boolean} isOld whether that was some time ago
 * @returns {string} empty when there is nothing to say
 */
export function sayCluster(cluster, silence, now, isOld) {
  if (!cluster.isSized) return "Its shards appear here when the bot has said how many there are.";
  if (silence === null) return "";
  const name = cluster.name.charAt(0).toUpperCase() + cluster.name.slice(1);
  const lasting = Number.isNaN(silence) ? "for a time that is not known" : `for ${describeDuration(now - silence)}`;
  if (isOld) return `${name} had not been heard ${lasting} when this picture was new.`;
  return `${name} has not been heard ${lasting}; that is all that is known.`;
}

// --- a shard ---------------------------------------------------------------------------------------------------------

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {string} a cell's name for screen readers
 */
export function nameShard(cluster, id) {
  return `Shard ${id}, ${STATES[cluster.states[id]].word}`;
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now the server's time
 * @param {boolean} [isOld] whether the picture is old: then nobody knows for how long the state has lasted
 * @returns {string} such as "online for 3 days, last heard 6 seconds ago"
 */
export function sayShard(cluster, id, now, isOld = false) {
  if (Number.isNaN(cluster.since[id])) return isOld ? "last known: not reported" : "not known yet: it has not reported";
  const { word } = STATES[cluster.states[id]];
  const state = isOld ? `last known: ${word}` : `${word} for ${describeDuration(now - cluster.since[id])}`;
  return [state, sayBefore(cluster, id), sayHeard(cluster, id, now)].filter((part) => part !== "").join(", ");
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {string} only an unhealthy shard's former state matters: it says what it was doing when it fell silent
 */
function sayBefore(cluster, id) {
  return cluster.states[id] === UNHEALTHY ? `was ${STATES[cluster.previous[id]].word} before` : "";
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now
 */
function sayHeard(cluster, id, now) {
  const heard = cluster.lastHeard[id];
  return Number.isNaN(heard) ? "" : `last heard ${describeAge(now - heard)}`;
}

/**
 * The rows of the panel: only what is known.
 *
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now
 * @param {boolean} [isOld] as in sayShard
 * @returns {[term: string, value: string, note?: string][]}
 */
export function listFacts(cluster, id, now, isOld = false) {
  /** @type {[string, string, string?][]} */
  const facts = [];
  const since = cluster.since[id];
  const heard = cluster.lastHeard[id];
  if (!Number.isNaN(since)) {
    const lasting = isOld ? "when last known" : `for ${describeDuration(now - since)}`;
    facts.push(["In this state", lasting, `since ${formatMoment(since, now)}`]);
  }
  if (cluster.states[id] === UNHEALTHY) facts.push(["State before", STATES[cluster.previous[id]].name]);
  facts.push(Number.isNaN(heard)
    ? ["Last health check", "none so far"]
    : ["Last health check", describeAge(now - heard), `at ${formatMoment(heard, now)}`]);
  return facts.concat(listDetails(cluster, id));
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {[term: string, value: string][]}
 */
function listDetails(cluster, id) {
  const details = cluster.details[id] ?? {};
  /** @type {[string, string][]} */
  const facts = [];
  if (details.group !== undefined) facts.push(["Group", details.group]);
  if (details.latency_ms !== undefined) facts.push(["Latency", `${number.format(Math.round(details.latency_ms))} ms`]);
  if (details.guilds !== undefined) facts.push(["Servers", number.format(details.guilds)]);
  if (details.unavailable_guilds) facts.push(["Unavailable servers", number.format(details.unavailable_guilds)]);
  if (details.events_per_s !== undefined) facts.push(["Events", `${number.format(details.events_per_s)} a second`]);
  if (details.version !== undefined) facts.push(["Version", details.version]);
  return facts;
}

/**
 * One plain sentence about what a state means for somebody on one of the shard's servers.
 *
 * @param {Cluster} cluster
 * @param {number} id
 */
export function explainShard(cluster, id) {
  const limit = cluster.timeout === null ? "too long" : `more than ${describeDuration(cluster.timeout)}`;
  switch (cluster.states[id]) {
    case ONLINE: return "The bot answers on the servers of this shard.";
    case UNHEALTHY: return `This shard is silent: nothing was heard from it for ${limit}, so the bot may not answer on its servers.`;
    case OFFLINE: return "The bot does not answer on the servers of this shard.";
    default: return STATES[cluster.states[id]].meaning;
  }
}

// --- the search ------------------------------------------------------------------------------------------------------

/**
 * The answer for one cluster.
 *
 * @param {Question} question one that has an answer
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now
 * @param {boolean} [isOld] as in sayShard
 * @returns {[where: string, how: string]} "Your server is on shard 12 of main (group 3)", "online for 3 days, ..."
 */
export function sayAnswer(question, cluster, id, now, isOld = false) {
  const subject = question.kind === "direct" ? "Direct messages are" : "Your server is";
  const group = cluster.details[id]?.group;
  const where = `${subject} on shard ${id} of ${cluster.name}${group === undefined ? "" : ` (group ${group})`}`;
  return [where, sayShard(cluster, id, now, isOld)];
}

/**
 * The answer for a cluster of which nobody has said how many shards it has.
 * @param {Cluster} cluster
 */
export function sayUnsized(cluster) {
  return `The number of shards of ${cluster.name} is not known yet, so its shard cannot be told.`;
}

/** @type {Record<Unclear, string>} */
const UNCLEAR = {
  invite: "An invite link does not say the server's ID. Paste a link to a channel or a message instead.",
  mention: "That is a mention, not the ID of a server. Paste a link to a channel or a message instead.",
  several: "There is more than one ID in that. Paste only the server's.",
  too_long: "That number is too long for a server ID, which has 17 to 20 digits.",
  too_short: "That number is too short for a server ID, which has 17 to 20 digits.",
  no_number: "There is no server ID in that. Paste a link to a channel or message of your server, or its ID (17 to 20 digits).",
};

/** @param {Unclear} why */
export function explainUnclear(why) {
  return UNCLEAR[why];
}

/** @param {Cluster} cluster */
export function sayOnline(cluster) {
  if (!cluster.isSized) return "size not known yet";
  return `${formatCount(cluster.online)}/${formatCount(cluster.total)} online`;
}
