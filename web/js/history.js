/**
 * What happened lately, as the web service remembers it. It is nice to know: a failure does no harm.
 *
 * @typedef {object} Outage
 * @property {string} cluster
 * @property {number} began Unix seconds
 * @property {number | null} ended
 * @property {number} shards the most at one time
 * @typedef {object} Transition
 * @property {number} at Unix seconds
 * @property {number} state
 * @property {number} previous
 * @property {"report" | "timeout" | "health" | null} cause
 */

import { isState } from "./states.js";

const OUTAGES_MAX = 32;
const TRANSITIONS_MAX = 8;
const TIMEOUT_MS = 10_000;
const CAUSES = ["report", "timeout", "health"];

/**
 * @param {URL} address of `/api/history`
 * @param {typeof fetch} fetcher
 */
export function createHistoryReader(address, fetcher = (...request) => fetch(...request)) {
  /** @param {URL} url */
  const read = async (url) => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), TIMEOUT_MS);
    try {
      const answer = await fetcher(url, { cache: "no-store", signal: controller.signal });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    /** @returns {Promise<Outage[] | null>} the newest first; null when it cannot be told */
    async readOutages() {
      const body = await read(address);
      return Array.isArray(body?.outages) ? body.outages.filter(isOutage).slice(0, OUTAGES_MAX) : null;
    },
    /**
     * @param {string} cluster
     * @param {number} shard
     * @returns {Promise<Transition[] | null>} the newest first
     */
    async readTransitions(cluster, shard) {
      const url = new URL(address);
      url.pathname += `/${encodeURIComponent(cluster)}/${shard}`;
      const body = await read(url);
      return Array.isArray(body?.transitions) ? body.transitions.filter(isTransition).slice(0, TRANSITIONS_MAX) : null;
    },
  };
}

/** @param {any} outage */
function isOutage(outage) {
  return typeof outage?.cluster === "string" && Number.isFinite(outage.began) && Number.isInteger(outage.shards)
    && (outage.ended === null || Number.isFinite(outage.ended));
}

/** @param {any} transition */
function isTransition(transition) {
  return Number.isFinite(transition?.at) && isState(transition.state) && isState(transition.previous)
    && (transition.cause === null || CAUSES.includes(transition.cause));
}
