/**
 * The entry. Read it from the end: the last function is the table of contents.
 *
 * @import {Config} from "./branding.js"
 * @import {Frame} from "./frames.js"
 * @import {Place} from "./grid.js"
 */

import { findAddresses, loadConfig } from "./branding.js";
import { ServerClock } from "./clock.js";
import { attachControls, mayBlink } from "./controls.js";
import { afterPaint, findPart, writeText } from "./elements.js";
import { Feed } from "./feed.js";
import { Grid } from "./grid.js";
import { createHistoryReader } from "./history.js";
import { chooseLanguage, loadLanguage, translatePage } from "./language.js";
import { Legend } from "./legend.js";
import { Panel } from "./panel.js";
import { attachPointing } from "./pointing.js";
import { Polling } from "./polling.js";
import { Search } from "./search.js";
import { readLanguage } from "./settings.js";
import { createSnapshotReader } from "./snapshot.js";
import { Status } from "./status.js";
import { Store } from "./store.js";
import { Sync } from "./sync.js";
import { Tooltip } from "./tooltip.js";
import { Upgrade } from "./upgrade.js";

const REFRESH_MS = 60_000;
const OUTAGES_MS = 10 * 60_000;
/** The service needs a moment to see that an outage is over; and not all viewers ask at the same one. */
const OUTAGES_WAIT_MS = 1000;
const OUTAGES_SPREAD_MS = 5000;

/** The page: what it knows, and what shows it. */
class Page {
  /** @param {Config} config */
  constructor(config) {
    const addresses = findAddresses(config);
    this.clock = new ServerClock();
    this.store = new Store();
    this.grid = new Grid(findPart(document, "#clusters"));
    this.legend = new Legend(findPart(document, "#legend"), (view) => this.show(view));
    this.tooltip = new Tooltip(findPart(document, "#tooltip"));
    this.history = createHistoryReader(addresses.history);
    this.status = new Status(config, {
      onConnection: (text) => writeText(findPart(document, "#spoken-connection"), text),
      onVerdict: (text) => writeText(findPart(document, "#spoken-verdict"), text),
      onWell: () => this.readOutagesSoon(),
    });
    this.panel = new Panel(findPart(document, "#panel"), {
      onStep: (place) => this.select(place, false),
      onClose: (place) => this.deselect(place),
      readTransitions: ({ cluster, id }) => this.history.readTransitions(cluster.name, id),
    });
    this.search = new Search(this.store, {
      onPlaces: (places) => this.grid.mark("is-found", places),
      // The answer first: going there may be a long way.
      onReveal: () => afterPaint(() => this.reveal(this.search.places())),
      announce: (text) => writeText(findPart(document, "#spoken-answer"), text),
    });
    this.feed = new Feed(addresses.feed, (frame) => this.accept(frame), () => this.followFeed());
    this.sync = new Sync({
      store: this.store,
      clock: this.clock,
      readSnapshot: createSnapshotReader(addresses.snapshot, (build) => this.upgrade.note(build)),
      schedule: (action, delayMs) => {
        const timer = setTimeout(action, delayMs);
        return () => clearTimeout(timer);
      },
      onChange: () => this.drawSoon(),
      onLost: () => this.feed.fail(),
    });
    this.polling = new Polling({
      poll: () => this.sync.poll(),
      // A socket that opened but says nothing is none.
      countFailures: () => (this.feed.phase === "open" && this.feed.frames > 0 ? 0 : this.feed.failures),
      isHidden: () => document.hidden,
    });
    this.upgrade = new Upgrade(config.build, {
      reload: () => void reloadWhenThere(),
      isBusy: () => !document.hidden && (this.panel.place !== null || document.activeElement === this.search.input),
      isHidden: () => document.hidden,
      schedule: (action, delayMs) => void setTimeout(action, delayMs),
      storage: keepForTab(),
    });
    this.grid.view = this.legend.view;
    this.isDrawing = false;
    this.shape = -1;
    /** The first cell of an answer that came before there were cells. */
    this.isRevealing = false;
    /** @type {HTMLAnchorElement} */ (findPart(document, "#plain")).href = addresses.plain.href;
  }

  /** @param {import("./view.js").View} view */
  show(view) {
    this.tooltip.hide();
    this.grid.show(view);
  }

  /** @param {Frame} frame */
  accept(frame) {
    this.sync.accept(frame);
    if (frame.op === "hello") this.upgrade.note(frame.payload.build);
    if (frame.op !== "pulse") return;
    // A page that nobody looks at draws no frames and has its timers slowed down, but its tab can be seen.
    if (document.hidden) this.drawStatus();
    else if (mayBlink()) this.grid.beat();
  }

  followFeed() {
    if (this.feed.phase === "waiting") this.sync.disconnect();
    this.drawSoon();
  }

  /** Draws once before the next frame of the screen, however much happens until then; the first picture at once. */
  drawSoon() {
    if (this.shape === -1 && this.store.hasPicture) return this.draw();
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.draw();
    });
  }

  draw() {
    const { store } = this;
    // Which cells look otherwise because a notice began or ended.
    store.useNotices(this.clock.now());
    if (store.hasPicture) {
      document.body.classList.add("has-picture");
      this.grid.draw(store);
      if (this.shape !== store.shape) this.followShape();
    }
    this.legend.draw(store);
    this.tick();
  }

  /** The clusters are others than before: what points at cells points at new ones. */
  followShape() {
    this.shape = this.store.shape;
    this.tooltip.hide();
    this.followPlace();
    this.search.update();
    if (this.isRevealing) this.reveal(this.search.places());
  }

  /** A shard whose cluster got another size stays in the panel, as long as there is such a shard. */
  followPlace() {
    const { place } = this.panel;
    if (!place) return;
    const cluster = this.store.cluster(place.cluster.name);
    const again = cluster && place.id < cluster.total ? { cluster, id: place.id } : null;
    if (!again) return this.panel.close();
    this.panel.place = again;
    this.grid.mark("is-selected", [again]);
  }

  /** What changes because time goes by. */
  tick() {
    this.drawStatus();
    // Other clusters have come, and are about to be drawn.
    if (this.store.hasPicture && this.shape !== this.store.shape) return;
    const now = this.clock.now();
    const { isOld, asOf } = this.status;
    this.grid.tick(asOf, isOld);
    this.search.tick(now, isOld);
    this.search.speak(now, isOld);
    this.panel.update(now, isOld, asOf);
    this.tooltip.update(now, isOld);
  }

  /** The connection and the verdict, on the page and in its tab. */
  drawStatus() {
    const now = this.clock.now();
    const { store, feed, sync } = this;
    store.useNotices(now);
    this.status.drawConnection({
      deviceOnline: navigator.onLine,
      phase: feed.phase,
      silence: feed.silence(),
      hasPicture: store.hasPicture,
      joined: sync.joined,
      isPolling: this.polling.isAlive() && !sync.joined,
      clock: now,
      completeAt: sync.completeAt,
      now: store.now,
      heard: store.heard,
      unheardAt: store.unheardAt,
      judging: store.judging,
    }, store.unjudgedAt, (feed.retryAt - performance.now()) / 1000, sync.failures > 0);
    this.status.drawVerdict(store, sync.failures > 1);
  }

  /** Asks what happened lately: only shown when all is well, and never in a hurry. */
  readOutagesSoon() {
    setTimeout(async () => {
      this.status.outages = (await this.history.readOutages()) ?? this.status.outages;
    }, OUTAGES_WAIT_MS + Math.random() * OUTAGES_SPREAD_MS);
  }

  /**
   * Shows a shard in the panel.
   * @param {Place} place
   * @param {boolean} byKey
   */
  select(place, byKey) {
    this.tooltip.hide();
    this.grid.mark("is-selected", [place]);
    this.panel.open(place, this.clock.now(), this.status.isOld, this.status.asOf, byKey);
    const cell = this.grid.cell(place);
    if (!cell) return;
    cell.scrollIntoView({ block: "nearest" });
    this.panel.makeRoomFor(cell.getBoundingClientRect());
  }

  /** @param {Place} place */
  deselect(place) {
    this.grid.mark("is-selected", []);
    if (this.grid.cell(place)) this.grid.focus(place);
  }

  /**
   * Brings the answer's first cell into view.
   * @param {Place[]} places
   */
  reveal(places) {
    // Who asks for a shard wants to see it, whatever was chosen before.
    if (places.length > 0 && this.store.hasPicture && this.grid.isLeftOut(places[0])) this.legend.showAll();
    const cell = places.length > 0 ? this.grid.cell(places[0]) : null;
    this.isRevealing = cell === null;
    if (cell && !isInView(cell)) cell.scrollIntoView({ block: "center" });
  }
}

/**
 * @param {HTMLElement} cell
 * @returns {boolean} whether it is on the screen, and not below the header
 */
function isInView(cell) {
  const { top, bottom } = cell.getBoundingClientRect();
  return top > findPart(document, ".top").getBoundingClientRect().bottom && bottom < window.innerHeight;
}

/** Loads the page anew; but not into an error that nobody would be there to leave. */
async function reloadWhenThere() {
  try {
    const { ok } = await fetch(location.href, { cache: "no-store" });
    if (ok) return location.reload();
  } catch {
    // The network is away.
  }
  setTimeout(reloadWhenThere, REFRESH_MS);
}

/** @param {Page} page */
function attachCells(page) {
  attachPointing(page.grid, {
    onOpen: (place, byKey) => page.select(place, byKey),
    onPoint: (place) => {
      const cell = page.grid.cell(place);
      if (cell) page.tooltip.show(place, cell, page.clock.now(), page.status.isOld);
    },
    onLeave: () => page.tooltip.hide(),
    onEscape: () => {
      page.tooltip.hide();
      page.panel.close();
    },
    onScroll: () => page.tooltip.follow(),
  });
}

/** @param {Page} page */
function attachWorld(page) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target === document.body) page.panel.close();
  });
  window.addEventListener("online", () => page.feed.hurry());
  window.addEventListener("offline", () => page.drawSoon());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    page.feed.hurry();
    void page.polling.watch();
    page.drawSoon();
  });
}

/** Cells scroll clear of the header, whose height changes with the answer. */
function measureHeader() {
  const header = findPart(document, ".top");
  new ResizeObserver(() => {
    // Not as a custom property: each element would inherit it, and thousands of cells would be styled anew.
    document.documentElement.style.scrollPaddingTop = `${header.offsetHeight + 12}px`;
  }).observe(header);
}

/** @param {Page} page */
function startTimers(page) {
  setInterval(() => {
    page.feed.watch();
    void page.polling.watch();
    if (document.hidden) page.drawStatus();
    else page.drawSoon();
  }, 1000);
  setInterval(() => {
    if (!document.hidden) void page.sync.refresh();
  }, REFRESH_MS);
  setInterval(() => {
    if (!document.hidden) page.readOutagesSoon();
  }, OUTAGES_MS);
}

/** @returns {Pick<Storage, "getItem" | "setItem">} a browser that keeps nothing says so when it is used */
function keepForTab() {
  return {
    getItem: (name) => sessionStorage.getItem(name),
    setItem: (name, value) => sessionStorage.setItem(name, value),
  };
}

async function start() {
  const config = loadConfig();
  await loadLanguage(chooseLanguage(readLanguage(), config.language, navigator.languages));
  translatePage(document);
  attachControls();
  const page = new Page(config);
  attachCells(page);
  attachWorld(page);
  measureHeader();
  page.search.readAddress();
  startTimers(page);
  page.feed.connect();
  page.sync.start();
}

void start();
