/** @import {Snapshot} from "./frames.js" */

import { checkSnapshot } from "./frames.js";

/** A large fleet on a slow phone takes its time; for ever is too long. */
const TIMEOUT_MS = 30_000;
/** An answer that waited longer for the scripts is too old. */
const EARLY_MS = 3000;

/**
 * Makes the reader of `/api/snapshot`. It remembers the last ETag, to ask only for news.
 *
 * @param {URL} address
 * @param {(build: string) => void} onBuild which page the service has; an answer of another origin may not tell
 * @param {typeof fetch} fetcher
 * @returns {(onlyNews: boolean) => Promise<Snapshot | null>} null when nothing is new; rejects when there is no good answer
 */
export function createSnapshotReader(address, onBuild, fetcher = (...request) => fetch(...request)) {
  /** @type {string | null} */
  let etag = null;
  return async (onlyNews) => {
    /** @type {Record<string, string>} */
    const headers = onlyNews && etag !== null && isOwnOrigin(address) ? { "If-None-Match": etag } : {};
    // Past the browser's cache: a kept body would carry an old `now`.
    const answer = await (takeEarly() ?? fetcher(address, { headers, cache: "no-store", signal: stopAfter(TIMEOUT_MS) }));
    onBuild(answer.headers.get("Glance-Build") ?? "");
    if (answer.status === 304) return null;
    if (!answer.ok) throw new Error(`the snapshot was answered with status ${answer.status}`);
    const snapshot = checkSnapshot(await answer.json());
    etag = answer.headers.get("ETag");
    return snapshot;
  };
}

/** @returns {Promise<Response> | undefined} what the page's head asked for while the scripts were on their way; once */
function takeEarly() {
  const holder = /** @type {{earlySnapshot?: Promise<Response>, earlyAt?: number}} */ (globalThis);
  const { earlySnapshot: early, earlyAt } = holder;
  delete holder.earlySnapshot;
  // Its time counts as the present one.
  return earlyAt !== undefined && performance.now() - earlyAt > EARLY_MS ? undefined : early;
}

/**
 * `AbortSignal.timeout`, which phones of 2021 do not have.
 * @param {number} timeoutMs
 */
function stopAfter(timeoutMs) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  // In Node, a pending timer would keep a finished test waiting.
  if (typeof timer === "object") timer.unref();
  return controller.signal;
}

/**
 * Elsewhere the header would cost an extra request that asks for permission.
 * @param {URL} address
 */
function isOwnOrigin(address) {
  return globalThis.location === undefined || address.origin === globalThis.location.origin;
}
