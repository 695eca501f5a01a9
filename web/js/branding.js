/**
 * Reads config.js and puts the operator's name on the page.
 *
 * @typedef {object} Config see config.js, which explains each field
 * @property {string} title
 * @property {string} link
 * @property {string} logo
 * @property {string} api
 */

import { findPart } from "./elements.js";

/** @type {Config} */
const PLAIN = { title: "Shard status", link: "", logo: "", api: "" };

/** @returns {Promise<Config>} a config.js with a mistake in it must not take the whole page down */
export async function loadConfig() {
  try {
    const chosen = (await import("../config.js")).default;
    return { ...PLAIN, ...chosen };
  } catch (error) {
    console.error("config.js cannot be used, so the page goes on without it:", error);
    return PLAIN;
  }
}

/** @param {Config} config */
export function applyBranding(config) {
  const brand = /** @type {HTMLAnchorElement} */ (findPart(document, "#brand"));
  const title = config.title || PLAIN.title;
  document.title = title;
  findPart(document, "#brand-title").textContent = title;
  if (config.link) brand.href = config.link;
  if (config.logo) {
    const logo = /** @type {HTMLImageElement} */ (findPart(document, "#brand-logo"));
    logo.src = config.logo;
  }
}

/**
 * @param {Config} config
 * @returns {{snapshot: URL, feed: URL, plain: URL}}
 */
export function findAddresses(config, page = document.baseURI) {
  const base = new URL(config.api === "" ? "./" : config.api.replace(/\/*$/, "/"), page);
  const feed = new URL("api/feed?dialect=page", base);
  feed.protocol = base.protocol === "https:" ? "wss:" : "ws:";
  return { snapshot: new URL("api/snapshot", base), feed, plain: new URL("plain", base) };
}
