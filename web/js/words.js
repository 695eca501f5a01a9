/**
 * The sentences about the fleet, its clusters and shards: what is said, and in which order. The words themselves are in
 * language/.
 *
 * @import {Notice} from "./frames.js"
 * @import {Cluster} from "./store.js"
 * @import {Question, Unclear} from "./guild.js"
 * @import {Zombie} from "./zombie.js"
 * @import {Transition} from "./history.js"
 */

import { describeAge, describeDuration } from "./durations.js";
import { fill, formatNumber, getFormats, getWords } from "./language.js";
import { OFFLINE, ONLINE, UNHEALTHY } from "./states.js";
import { findZombie } from "./zombie.js";

/** A time that is less long ago needs no date. */
const DATE_FROM_S = 12 * 3600;

/** @param {number} count */
export function formatCount(count) {
  return formatNumber(count);
}

/**
 * @param {number} seconds Unix time
 * @param {number} now the server's time
 */
export function formatMoment(seconds, now) {
  const { time, dateAndTime } = getFormats();
  return (Math.abs(now - seconds) < DATE_FROM_S ? time : dateAndTime).format(seconds * 1000);
}

/**
 * @param {number} until Unix seconds
 * @param {number} now the server's time
 * @returns {string} such as "until 14:30"
 */
export function sayUntil(until, now) {
  const { shortTime, dateAndTime } = getFormats();
  const time = (until - now < DATE_FROM_S ? shortTime : dateAndTime).format(until * 1000);
  return fill(getWords().until, { time });
}

/** @param {number} state */
export function nameState(state) {
  return getWords().states[state];
}

/** @param {number} state */
export function explainState(state) {
  return getWords().stateMeanings[state];
}

// --- a cluster -------------------------------------------------------------------------------------------------------

/** @param {Cluster} cluster */
export function nameCluster(cluster) {
  return fill(getWords().cluster, { cluster: cluster.name });
}

/** @param {Cluster} cluster */
export function nameShards(cluster) {
  return fill(getWords().shardsOf, { cluster: cluster.name });
}

/**
 * The line of a cluster that is under maintenance, as a whole is not heard, or has no shards yet.
 *
 * @param {Cluster} cluster
 * @param {number | null} silence as found by findSilence
 * @param {number} now the time up to which the picture is true
 * @param {boolean} isOld whether that was some time ago
 * @returns {string} empty when there is nothing to say
 */
export function sayCluster(cluster, silence, now, isOld) {
  const words = getWords();
  const maintenance = sayMaintenanceOf(cluster, now);
  if (!cluster.isSized) return [...maintenance, words.unsized].join(" ");
  if (cluster.maintenance.all || silence === null) return maintenance.join(" ");
  const lasting = Number.isNaN(silence) ? words.unknownTime : fill(words.forDuration, { duration: describeDuration(now - silence) });
  const silent = fill(isOld ? words.silentThen : words.silentNow, { cluster: cluster.name, lasting });
  return [silent, ...maintenance].join(" ");
}

/**
 * @param {Cluster} cluster
 * @param {number} now
 * @returns {string[]}
 */
function sayMaintenanceOf({ maintenance }, now) {
  const all = maintenance.all ? [sayMaintenance(maintenance.all, now)] : [];
  const groups = Array.from(maintenance.groups, ([group, notice]) => sayMaintenance(notice, now, group));
  return [...all, ...groups];
}

/**
 * @param {Notice} notice
 * @param {number} now
 * @param {string} [group]
 */
export function sayMaintenance({ text, until }, now, group) {
  const words = getWords();
  const values = { text, group: group ?? "", until: until === null ? "" : sayUntil(until, now) };
  if (group === undefined) return fill(until === null ? words.maintenanceOpen : words.maintenance, values);
  return fill(until === null ? words.groupMaintenanceOpen : words.groupMaintenance, values);
}

/** @param {Cluster} cluster */
export function sayOnline(cluster) {
  if (!cluster.isSized) return getWords().sizeUnknown;
  return fill(getWords().countOnline, { online: cluster.online, total: cluster.total });
}

/** @param {Cluster} cluster none of whose shards is in a state that is shown */
export function sayNothingShown(cluster) {
  return fill(getWords().nothingShown, { cluster: cluster.name });
}

/**
 * @param {string | null} name null: the shards without a group
 * @param {number} part of a group that is cut
 */
export function nameGroup(name, part = 0) {
  const words = getWords();
  // A number alone could be taken for a shard's.
  const label = name === null ? words.noGroup : /^\d+$/.test(name) ? fill(words.group, { group: name }) : name;
  return part > 0 ? `${label} (${formatCount(part + 1)})` : label;
}

// --- a shard ---------------------------------------------------------------------------------------------------------

/**
 * @param {Cluster} cluster
 * @param {number} id
 */
export function nameShard(cluster, id) {
  return fill(getWords().shardOf, { id: String(id), cluster: cluster.name });
}

/** Stands for a shard's number in a name that many cells share. */
const ID = "\u0000";
/** @type {Map<string, string>} names without the number; thousands of cells are named at once */
const cellNames = new Map();
const CELL_NAMES_MAX = 4096;

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @param {Zombie | null} [zombie]
 * @param {boolean} [isMaintained]
 * @returns {string} a cell's name for screen readers
 */
export function nameCell(cluster, id, zombie = null, isMaintained = false) {
  const group = cluster.details[id]?.group;
  const key = `${cluster.states[id]} ${zombie ?? ""} ${isMaintained} ${group === undefined ? "" : `in ${group}`} ${getFormats().tag}`;
  let name = cellNames.get(key);
  if (name === undefined) {
    const words = getWords();
    const state = zombie ? sayZombie(zombie) : words.stateWords[cluster.states[id]];
    const shard = fill(words.shardNamed, { id: ID, state });
    const named = group === undefined ? shard : fill(words.inGroup, { shard, group });
    name = isMaintained ? `${named}, ${words.maintained}` : named;
    if (cellNames.size >= CELL_NAMES_MAX) cellNames.clear();
    cellNames.set(key, name);
  }
  return name.replace(ID, () => String(id));
}

/** @param {Zombie} zombie */
export function sayZombie(zombie) {
  return zombie === "idle" ? getWords().zombieIdle : getWords().zombieSlow;
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now the server's time
 * @param {boolean} [isOld] whether the picture is old: then nobody knows for how long the state has lasted
 * @returns {string} such as "online for 3 days, last heard 6 seconds ago"
 */
export function sayShard(cluster, id, now, isOld = false) {
  const words = getWords();
  if (Number.isNaN(cluster.since[id])) return isOld ? words.neverReportedThen : words.neverReported;
  const state = words.stateWords[cluster.states[id]];
  const zombie = findZombie(cluster, id);
  const but = zombie === "idle" ? words.butIdle : zombie === "slow" ? words.butSlow : "";
  const lasting = isOld
    ? fill(words.lastKnownState, { state })
    : fill(words.stateFor, { state, duration: describeDuration(now - cluster.since[id]) });
  const maintained = cluster.isMaintained(id) ? words.maintained : "";
  return [lasting, maintained, sayBefore(cluster, id), sayHeard(cluster, id, now), but].filter((part) => part !== "").join(", ");
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {string} only an unhealthy shard's former state matters: it says what it was doing when it fell silent
 */
function sayBefore(cluster, id) {
  if (cluster.states[id] !== UNHEALTHY) return "";
  return fill(getWords().wasBefore, { state: getWords().stateWords[cluster.previous[id]] });
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now
 */
function sayHeard(cluster, id, now) {
  const heard = cluster.lastHeard[id];
  return Number.isNaN(heard) ? "" : fill(getWords().lastHeard, { ago: describeAge(now - heard) });
}

/**
 * The rows of the panel: only what is known.
 *
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} now
 * @param {boolean} [isOld] as in sayShard
 * @param {Zombie | null} [zombie]
 * @returns {[term: string, value: string, note?: string][]}
 */
export function listFacts(cluster, id, now, isOld = false, zombie = null) {
  const words = getWords();
  /** @type {[string, string, string?][]} */
  const facts = [];
  const since = cluster.since[id];
  const heard = cluster.lastHeard[id];
  if (zombie) facts.push([words.suspicion, sayZombie(zombie)]);
  const maintenance = cluster.maintenanceOf(id);
  if (maintenance) facts.push([words.maintenanceFact, maintenance.text, maintenance.until === null ? "" : sayUntil(maintenance.until, now)]);
  if (!Number.isNaN(since)) {
    const lasting = isOld ? words.whenLastKnown : fill(words.forDuration, { duration: describeDuration(now - since) });
    facts.push([words.inThisState, lasting, fill(words.since, { time: formatMoment(since, now) })]);
    facts.push([words.stateBefore, words.states[cluster.previous[id]]]);
  }
  facts.push(Number.isNaN(heard)
    ? [words.lastCheck, words.noneSoFar]
    : [words.lastCheck, describeAge(now - heard), fill(words.at, { time: formatMoment(heard, now) })]);
  return facts.concat(listDetails(cluster, id));
}

/**
 * @param {Cluster} cluster
 * @param {number} id
 * @returns {[term: string, value: string][]}
 */
function listDetails(cluster, id) {
  const words = getWords();
  const details = cluster.details[id] ?? {};
  /** @type {[string, string][]} */
  const facts = [];
  if (details.group !== undefined) facts.push([words.groupFact, details.group]);
  if (details.latency_ms !== undefined) facts.push([words.latency, fill(words.latencyValue, { n: Math.round(details.latency_ms) })]);
  if (details.guilds !== undefined) facts.push([words.servers, formatCount(details.guilds)]);
  if (details.unavailable_guilds) facts.push([words.unavailable, formatCount(details.unavailable_guilds)]);
  if (details.events_per_s !== undefined) facts.push([words.events, fill(words.eventsValue, { n: details.events_per_s })]);
  if (details.version !== undefined) facts.push([words.version, details.version]);
  return facts;
}

/**
 * One plain sentence about what a state means for somebody on one of the shard's servers.
 *
 * @param {Cluster} cluster
 * @param {number} id
 * @param {number} asOf the server's time up to which the picture is true
 * @param {Zombie | null} [zombie]
 */
export function explainShard(cluster, id, asOf, zombie = null) {
  const words = getWords();
  if (zombie) return words.zombieMeaning;
  // A bot may call its own shard unhealthy: that one is heard.
  const isSilent = !(asOf - cluster.lastHeard[id] <= (cluster.timeout ?? 0));
  const limit = cluster.timeout === null ? words.tooLong : fill(words.moreThan, { duration: describeDuration(cluster.timeout) });
  switch (cluster.states[id]) {
    case ONLINE: return words.explainOnline;
    case UNHEALTHY: return isSilent ? fill(words.explainUnhealthy, { limit }) : words.explainUnwell;
    case OFFLINE: return words.explainOffline;
    default: return words.stateMeanings[cluster.states[id]];
  }
}

/**
 * One of the last changes.
 *
 * @param {Transition} transition
 * @param {number} now
 * @returns {[what: string, when: string]} "online → unhealthy", "12:30:01, silent for too long"
 */
export function sayTransition({ at, state, previous, cause }, now) {
  const words = getWords();
  const why = cause === null ? "" : `, ${words.causes[cause]}`;
  return [`${words.states[previous]} → ${words.states[state]}`, `${formatMoment(at, now)}${why}`];
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
  const words = getWords();
  const text = { guild: words.yourServer, direct: words.directMessages }[question.kind === "guild" ? "guild" : "direct"];
  const where = fill(question.kind === "shard" ? words.theShard : text, { id: String(id), cluster: cluster.name });
  const group = cluster.details[id]?.group;
  return [group === undefined ? where : fill(words.withGroup, { where, group }), sayShard(cluster, id, now, isOld)];
}

/**
 * The answer for a cluster of which nobody has said how many shards it has.
 * @param {Cluster} cluster
 */
export function sayUnsized(cluster) {
  return fill(getWords().sizeUnknownOf, { cluster: cluster.name });
}

/**
 * @param {Cluster} cluster
 * @param {number} id of a shard that it does not have
 */
export function sayOutOfRange(cluster, id) {
  return fill(getWords().outOfRange, { cluster: cluster.name, id: String(id), last: String(cluster.total - 1) });
}

/** @param {Unclear} why */
export function explainUnclear(why) {
  return getWords().unclear[why];
}
