/**
 * From what people paste to a shard. IDs are 64 bits wide, so all of this is BigInt: a Number would round them.
 */

/** IDs in use have 17 to 20 digits; a few old ones are shorter. */
const DIGITS_MIN = 15;
const DIGITS_MAX = 20;
const ID_MAX = (1n << 64n) - 1n;
const TEXT_LENGTH_MAX = 4000;

/** Blanks that nobody sees, and that come along when text is copied. */
const INVISIBLE = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]/g;
const LINK = /\b(?:channels|guilds|events)\/(@me|%40me|\d+)/gi;
const INVITE = /\bdiscord\.gg\/|\bdiscord(?:app)?\.com\/invite\//i;
/** "shard 12", "#12", "shard 12 of main"; and "main 12", "main/12", where there is such a cluster. */
const SHARD = /^(?:shard\s*(?:no\.?|nr\.?|number|:)?\s*#?|#)\s*(\d{1,6})(?:(?:\s*[/,]\s*|\s+(?:(?:of|on|in|von|de)\s+)?)([\w-]{1,64}))?$/i;
/** The page's own links, as support sends them. */
const OWN_LINK = /#((?:guild|shard)=[^\s#]+)/;
/** An ID as some programs write large numbers. */
const SPACED = /(?:^|\D)(\d{1,3}(?:[ .,'’_]\d{3}){4,6})(?!\d)/;
const CLUSTER_FIRST = /^([\w-]{1,64})[\s/:#]+(?:shard\s*#?)?(\d{1,6})$/i;
const DIRECT = /^(?:@me|dms?|direct messages?)$/i;
const MENTION = /<(?:#|@[!&]?|a?:\w+:)\d+>/;

/**
 * @typedef {"invite" | "mention" | "several" | "too_long" | "too_short" | "no_number"} Unclear why a text has no answer
 * @typedef {{kind: "empty"}
 *   | {kind: "guild", guild: bigint}
 *   | {kind: "direct"}
 *   | {kind: "shard", shard: number, cluster: string | null}
 *   | {kind: "unclear", why: Unclear}} Question
 *   `direct`: direct messages, which belong to no server · `shard`: of one cluster, or of each
 */

/**
 * The shard that serves a server. Discord's rule: https://discord.com/developers/docs/events/gateway#sharding
 *
 * @param {bigint} guild
 * @param {number} total the bot's number of shards, at least 1
 * @returns {number}
 */
export function shardOfGuild(guild, total) {
  return Number((guild >> 22n) % BigInt(total));
}

/**
 * The shard that a question is about. Direct messages always arrive on shard 0.
 *
 * @param {Question} question
 * @param {number} total 0 while it is not known
 * @param {string} [name] of the cluster
 * @returns {number | null} null when the question names none of this cluster, or the total is not known
 */
export function shardOfQuestion(question, total, name = "") {
  if (total === 0) return null;
  if (question.kind === "shard") {
    const isMeant = question.cluster === null || question.cluster === name;
    return isMeant && question.shard < total ? question.shard : null;
  }
  if (question.kind === "guild") return shardOfGuild(question.guild, total);
  return question.kind === "direct" ? 0 : null;
}

/**
 * Understands a server's ID, a link to a channel or message, with blanks and other text around it, or a shard's number.
 *
 * @param {string} text
 * @param {string[]} [clusters] the names that there are
 * @returns {Question}
 */
export function parseQuestion(text, clusters = []) {
  const clean = text.slice(0, TEXT_LENGTH_MAX).normalize("NFKC").replace(INVISIBLE, "").trim();
  if (clean === "") return { kind: "empty" };
  if (DIRECT.test(clean)) return { kind: "direct" };
  const shard = findShard(clean, clusters);
  if (shard) return shard;
  const own = OWN_LINK.exec(clean);
  // What is in such a link has none in it.
  if (own) return parseQuestion((readFragment(own[1]) ?? "").replaceAll("#", " "), clusters);
  const links = new Set(Array.from(clean.matchAll(LINK), (match) => match[1].replace(/.*me$/i, "@me")));
  if (links.size > 1) return unclear("several");
  for (const linked of links) return linked === "@me" ? { kind: "direct" } : asGuild(linked);
  if (INVITE.test(clean)) return unclear("invite");
  if (MENTION.test(clean)) return unclear("mention");
  return findId(clean);
}

/**
 * @param {string} text
 * @param {string[]} clusters
 * @returns {Question | null}
 */
function findShard(text, clusters) {
  const [, number, after] = SHARD.exec(text) ?? [];
  const [, before, last] = CLUSTER_FIRST.exec(text) ?? [];
  const name = after ?? (number === undefined ? before : undefined);
  const cluster = clusters.find((known) => known === name) ?? clusters.find((known) => known.toLowerCase() === name?.toLowerCase());
  if (number !== undefined && name === undefined) return { kind: "shard", shard: Number(number), cluster: null };
  return cluster === undefined ? null : { kind: "shard", shard: Number(number ?? last), cluster };
}

/**
 * @param {string} text
 * @returns {Question}
 */
function findId(text) {
  const numbers = text.match(/\d+/g) ?? [];
  const ids = new Set(numbers.filter((digits) => digits.length >= DIGITS_MIN && digits.length <= DIGITS_MAX));
  if (ids.size > 1) return unclear("several");
  for (const id of ids) return asGuild(id);
  const spaced = SPACED.exec(text);
  const joined = (spaced ? spaced[1] : text).replace(/[\s.,'’_]/g, "");
  if (/^\d+$/.test(joined)) return asGuild(joined);
  if (numbers.some((digits) => digits.length > DIGITS_MAX)) return unclear("too_long");
  return unclear(numbers.length > 0 ? "too_short" : "no_number");
}

/**
 * @param {string} digits
 * @returns {Question}
 */
function asGuild(digits) {
  if (digits.length < DIGITS_MIN) return unclear("too_short");
  if (digits.length > DIGITS_MAX || BigInt(digits) > ID_MAX) return unclear("too_long");
  return { kind: "guild", guild: BigInt(digits) };
}

/**
 * @param {Unclear} why
 * @returns {Question}
 */
function unclear(why) {
  return { kind: "unclear", why };
}

/**
 * @param {string} fragment of the page's address: `#guild=...`, `#shard=12` or `#shard=main/12`
 * @returns {string | null} what it asks for, as one would type it
 */
export function readFragment(fragment) {
  const asked = new URLSearchParams(fragment.replace(/^#/, ""));
  const shard = asked.get("shard");
  if (shard !== null) return /^\d+$/.test(shard) ? `shard ${shard}` : shard;
  return asked.get("guild");
}

/**
 * @param {Question} question
 * @returns {string} the fragment that leads back to it, empty when there is none
 */
export function writeFragment(question) {
  switch (question.kind) {
    case "guild": return `#guild=${question.guild}`;
    case "direct": return "#guild=@me";
    case "shard": return `#shard=${question.cluster === null ? "" : `${question.cluster}/`}${question.shard}`;
    default: return "";
  }
}
