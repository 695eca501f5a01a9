/**
 * What the operator chose, as the served page tells it. Name, link and logo are in the page already.
 *
 * @typedef {object} Config
 * @property {string} title
 * @property {string} api the address of the web service when the page is served from elsewhere; empty: where it came from
 * @property {string} language empty: the viewer's own
 * @property {string} assets where the page's parts are
 * @property {string} build which page this is; empty: it is not known
 */

/** @type {Config} */
const PLAIN = { title: "Glance", api: "", language: "", assets: "assets", build: "" };

/** @returns {Config} a page that says something strange must not be taken down by it */
export function loadConfig() {
  try {
    return { ...PLAIN, ...JSON.parse(document.querySelector("#config")?.textContent ?? "{}") };
  } catch (error) {
    console.error("the page's settings cannot be read, so it goes on without them:", error);
    return PLAIN;
  }
}

/**
 * @param {Config} config
 * @returns {{snapshot: URL, feed: URL, history: URL, plain: URL}}
 */
export function findAddresses(config, page = document.baseURI) {
  const base = new URL(config.api === "" ? "./" : config.api.replace(/\/*$/, "/"), page);
  const feed = new URL("api/feed?dialect=page", base);
  feed.protocol = base.protocol === "https:" ? "wss:" : "ws:";
  return { snapshot: new URL("api/snapshot", base), feed, history: new URL("api/history", base), plain: new URL("plain", base) };
}
