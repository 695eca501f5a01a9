/**
 * What the web service sends, checked at the door: the page believes no shape that it has not looked at.
 * The golden files in shared/protocol/golden pin these formats for both sides.
 *
 * @typedef {[epoch: number, revision: number]} Version of a block of 1,024 shards
 * @typedef {[id: number, state: number, previous: number, since: number | null, cause?: string | null]} ShardChange
 * @typedef {{name: string, total: number, blocks: Version[]}} ClusterVersions
 * @typedef {{now: number, heard: number | null, judging_since: number | null}} Times
 * @typedef {Times & {build: string, clusters: ClusterVersions[]}} Hello
 * @typedef {{cluster: string, block: number, version: Version | null, shards: ShardChange[]}} Changes
 * @typedef {Times & {clusters: Record<string, string>}} Pulse
 * @typedef {{clusters: ClusterVersions[] | null}} Resync what the next snapshot must have, when the service says so
 * @typedef {{op: "hello", payload: Hello}
 *   | {op: "changes", payload: Changes}
 *   | {op: "pulse", payload: Pulse}
 *   | {op: "resync", payload: Resync}
 *   | {op: "clusters", payload: Resync}
 *   | {op: "notices", payload: Notices}} Frame
 *
 * @typedef {object} Notice what operators tell
 * @property {string} text
 * @property {"info" | "warning" | "critical"} severity
 * @property {number | null} until Unix seconds; null: until it is taken back
 * @typedef {Notice & {cluster: string, group: string | null}} Maintenance of a cluster, or of one of its groups
 * @typedef {{announcement: Notice | null, maintenance: Maintenance[]}} Notices
 *
 * @typedef {object} Details what a bot said about a shard beside its state; all optional
 * @property {string} [group] the process that hosts it
 * @property {string} [version]
 * @property {number} [latency_ms]
 * @property {number} [guilds]
 * @property {number} [unavailable_guilds]
 * @property {number} [events_per_s]
 *
 * @typedef {object} ClusterSnapshot
 * @property {string} name
 * @property {number} total 0 until a bot has said how many shards it has
 * @property {number | null} timeout seconds of silence after which a shard is unhealthy
 * @property {string} states one digit a shard
 * @property {string} previous
 * @property {(number | null)[]} since Unix seconds; null: never reported
 * @property {(number | null)[]} last_heard
 * @property {Record<string, Details>} details
 * @property {Version[]} blocks
 *
 * @typedef {Times & Notices & {clusters: ClusterSnapshot[]}} Snapshot
 */

/** As in shared/protocol: no cluster is larger. */
export const SHARDS_MAX = 262_144;
export const BLOCK_SHARDS = 1024;
const NOTICES_MAX = 1000;

/**
 * @param {string} text one frame of the feed
 * @returns {Frame | null} null for what this page does not know or cannot read
 */
export function parseFrame(text) {
  /** @type {any} */
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return null;
  }
  const payload = frame?.payload;
  if (typeof payload !== "object" || payload === null) return null;
  switch (frame.op) {
    case "hello":
      return isTimed(payload) && isVersionList(payload.clusters) ? { op: "hello", payload } : null;
    case "changes":
      return isChanges(payload) ? { op: "changes", payload } : null;
    case "pulse":
      return isTimed(payload) && isObject(payload.clusters) ? { op: "pulse", payload } : null;
    case "resync":
    case "clusters": {
      const clusters = isVersionList(payload.clusters) ? payload.clusters : null;
      return { op: frame.op, payload: { clusters } };
    }
    case "notices":
      return { op: "notices", payload: checkNotices(payload) };
    default:
      return null;
  }
}

/**
 * @param {any} payload
 * @returns {Notices} those of them that can be shown
 */
function checkNotices({ announcement, maintenance }) {
  const list = Array.isArray(maintenance) ? maintenance.slice(0, NOTICES_MAX) : [];
  return {
    announcement: checkNotice(announcement),
    maintenance: list.flatMap((entry) => {
      const notice = checkNotice(entry);
      if (!notice || typeof entry.cluster !== "string") return [];
      return [{ ...notice, cluster: entry.cluster, group: typeof entry.group === "string" ? entry.group : null }];
    }),
  };
}

/**
 * @param {any} notice
 * @returns {Notice | null}
 */
function checkNotice(notice) {
  if (!isObject(notice) || typeof notice.text !== "string") return null;
  const severity = ["info", "warning", "critical"].includes(notice.severity) ? notice.severity : "info";
  return { text: notice.text, severity, until: Number.isFinite(notice.until) ? notice.until : null };
}

/**
 * @param {any} body the parsed body of `/api/snapshot`
 * @returns {Snapshot}
 * @throws {Error} when it is none
 */
export function checkSnapshot(body) {
  if (!isTimed(body) || !Array.isArray(body.clusters)) throw new Error("the answer is no snapshot");
  for (const cluster of body.clusters) {
    if (!isClusterSnapshot(cluster)) throw new Error(`the snapshot of cluster ${JSON.stringify(cluster?.name)} is incomplete`);
  }
  return { ...body, ...checkNotices(body) };
}

/** @param {any} cluster */
function isClusterSnapshot(cluster) {
  return isSized(cluster) && isVersions(cluster.blocks)
    && [cluster.states, cluster.previous].every((states) => typeof states === "string" && states.length === cluster.total)
    && [cluster.since, cluster.last_heard].every((times) => Array.isArray(times) && times.length === cluster.total);
}

/** @param {any} payload */
function isChanges(payload) {
  return typeof payload.cluster === "string" && Number.isInteger(payload.block) && Array.isArray(payload.shards)
    && (payload.version === null || isVersion(payload.version));
}

/** @param {any} payload whether it says the server's time */
function isTimed(payload) {
  return isObject(payload) && Number.isFinite(payload.now);
}

/** @param {any} clusters */
function isVersionList(clusters) {
  return Array.isArray(clusters) && clusters.every((cluster) => isSized(cluster) && isVersions(cluster.blocks));
}

/** @param {any} cluster */
function isSized(cluster) {
  return isObject(cluster) && typeof cluster.name === "string"
    && Number.isInteger(cluster.total) && cluster.total >= 0 && cluster.total <= SHARDS_MAX;
}

/** @param {any} blocks */
function isVersions(blocks) {
  return Array.isArray(blocks) && blocks.every(isVersion);
}

/** @param {any} version */
function isVersion(version) {
  return Array.isArray(version) && version.length === 2 && version.every(Number.isFinite);
}

/** @param {any} value */
function isObject(value) {
  return typeof value === "object" && value !== null;
}
