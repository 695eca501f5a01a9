/**
 * All clusters with their cells. Cells exist only near the screen, so a fleet of 100,000 shards costs what fits on it.
 *
 * @import {Chunk} from "./chunk.js"
 * @import {Shape} from "./layout.js"
 * @import {Cluster, Store} from "./store.js"
 * @import {View} from "./view.js"
 * @typedef {{cluster: Cluster, id: number}} Place
 */

import { Area } from "./area.js";
import { writeText } from "./elements.js";
import { BLOCK_GAP, fitBlocks, fitColumns, fitGrid } from "./layout.js";
import { findSilence } from "./verdict.js";
import { PLAIN_VIEW, isMoving } from "./view.js";
import { sayCluster } from "./words.js";

/** Room for the ids on the left, in CSS pixels a digit. */
const DIGIT_WIDTH = 7;
/** How far beyond the screen cells are made. */
const NEAR = "1000px 0px";
/** So many chunks beyond that may keep their cells: those that somebody jumped to. */
const SPARE_MAX = 16;
/** Shards change places at most so often. */
const SETTLE_MS = 1000;
/** So many cells blink in a second. Each is an animation for the browser, and a thousand of them cost a tenth of a second. */
const BEATS_MAX = 128;
/** Paper has no scrolling, but an end. */
const PRINTED_MAX = 20_000;

export class Grid {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Area[]} */
    this.areas = [];
    this.shape = -1;
    /** @type {Shape | null} */
    this.layout = null;
    this.view = PLAIN_VIEW;
    /** @type {WeakMap<Element, Chunk>} */
    this.chunks = new WeakMap();
    /** @type {Set<Chunk>} that can be seen: only they blink */
    this.visible = new Set();
    /** @type {Chunk[]} with cells, although they are far away */
    this.spare = [];
    /** Where the next cells that blink begin. */
    this.beats = 0;
    /** Whether shards may be in the wrong places since states changed, and when they were last put right. */
    this.isStale = false;
    this.arrangedAt = 0;
    this.near = new IntersectionObserver((entries) => this.followNear(entries), { rootMargin: NEAR });
    this.seen = new IntersectionObserver((entries) => this.followSeen(entries));
    this.width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth !== this.width) this.fit();
    }).observe(root);
    window.addEventListener("beforeprint", () => this.fillForPrint());
  }

  /** @param {Store} store */
  draw(store) {
    if (this.shape !== store.shape) {
      this.build(store);
      this.shape = store.shape;
    }
    let isMoved = false;
    for (const area of this.areas) {
      const change = area.follow();
      if (change === "moved") {
        area.arrange(this.view);
        isMoved = true;
      } else if (change === "drawn") {
        area.redraw();
        this.isStale ||= isMoving(this.view);
      }
      if (area.draw()) this.isStale ||= isMoving(this.view);
    }
    if (isMoved) this.fit();
  }

  /** @param {Store} store */
  build(store) {
    const focused = this.find(document.activeElement);
    this.near.disconnect();
    this.seen.disconnect();
    this.visible.clear();
    this.spare = [];
    this.areas = store.clusters.map((cluster) => new Area(cluster, store, this.view));
    this.root.replaceChildren(...this.areas.map((area) => area.section));
    this.fit();
    this.fillScreen();
    const again = focused && store.clusters.find(({ name, total }) => name === focused.cluster.name && focused.id < total);
    if (again) this.focus({ cluster: again, id: focused.id });
  }

  /** Makes the cells on the screen, which the observers would do some frames later. */
  fillScreen() {
    for (const { chunks } of this.areas) {
      for (const chunk of chunks) {
        const { top, bottom } = chunk.box.getBoundingClientRect();
        if (top > window.innerHeight) break;
        if (bottom > 0 && !chunk.isLive) chunk.fill();
      }
    }
    for (const area of this.areas) area.keepStop();
  }

  /** @param {View} view */
  show(view) {
    this.view = view;
    this.arrange();
  }

  /** Puts every shard where the view wants it. */
  arrange() {
    this.isStale = false;
    this.arrangedAt = performance.now();
    for (const area of this.areas) area.arrange(this.view);
    this.fit();
  }

  /**
   * Says of each cluster as a whole what its cells do not, and puts shards in their places, unless somebody is about to
   * touch one.
   * @param {number} now the server's time up to which the picture is true
   * @param {boolean} isOld
   */
  tick(now, isOld) {
    for (const { cluster, note } of this.areas) {
      const sentence = sayCluster(cluster, findSilence(cluster, now), now, isOld);
      note.hidden = sentence === "";
      writeText(note, sentence);
    }
    const isTouched = this.root.matches(":hover") || this.root.contains(document.activeElement);
    if (this.isStale && !isTouched && performance.now() - this.arrangedAt >= SETTLE_MS) this.arrange();
  }

  /** Chooses the size of the cells for the present width. */
  fit() {
    if (this.areas.length === 0) return;
    const focused = this.find(document.activeElement);
    const largest = Math.max(1, ...this.areas.map(({ cluster }) => cluster.total));
    const gutter = 10 + DIGIT_WIDTH * String(largest).length;
    const layout = this.measure(largest, gutter);
    this.layout = layout;
    const width = this.areas.some((area) => area.groups)
      ? layout.across * (layout.blockWidth + BLOCK_GAP) - BLOCK_GAP
      : gutter + layout.columns * layout.pitch - layout.gap;
    const sizes = { pitch: layout.pitch, gap: layout.gap, gutter, width, "block-width": layout.blockWidth };
    for (const [name, size] of Object.entries(sizes)) this.root.style.setProperty(`--${name}`, `${size}px`);
    const counts = { columns: layout.columns, across: layout.across, "block-columns": layout.blockColumns };
    for (const [name, count] of Object.entries(counts)) this.root.style.setProperty(`--${name}`, String(count));
    for (const area of this.areas) this.lay(area, layout);
    // Its cell may be another one now.
    if (focused && !this.root.contains(document.activeElement) && !this.isLeftOut(focused)) this.focus(focused);
  }

  /**
   * @param {number} largest
   * @param {number} gutter
   * @returns {Shape}
   */
  measure(largest, gutter) {
    const width = this.root.clientWidth;
    this.width = width;
    const grouped = this.areas.filter((area) => area.groups);
    if (grouped.length === 0) {
      const rows = fitGrid(width - gutter, largest, devicePixelRatio);
      return { ...rows, blockColumns: 8, blockWidth: 0, across: 1 };
    }
    const largestGroup = Math.max(...grouped.map((area) => area.groups?.largest ?? 1));
    const blocks = Math.max(...grouped.map((area) => area.arrangement.blocks.length));
    const shape = fitBlocks(width, largestGroup, Math.max(1, blocks), devicePixelRatio);
    return { ...shape, columns: fitColumns(width - gutter, shape.pitch) };
  }

  /**
   * @param {Area} area
   * @param {Shape} layout
   */
  lay(area, layout) {
    const { added, removed } = area.lay(layout);
    for (const chunk of removed) {
      this.near.unobserve(chunk.box);
      this.seen.unobserve(chunk.box);
      this.visible.delete(chunk);
      this.spare = this.spare.filter((spare) => spare !== chunk);
    }
    for (const chunk of added) {
      this.chunks.set(chunk.box, chunk);
      this.near.observe(chunk.box);
      this.seen.observe(chunk.box);
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  followNear(entries) {
    for (const entry of entries) {
      const chunk = this.chunks.get(entry.target);
      if (!chunk) continue;
      chunk.isNear = entry.isIntersecting;
      if (chunk.isNear && !chunk.isLive) chunk.fill();
      else if (!chunk.isNear) this.drop(chunk);
      chunk.area.keepStop();
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  followSeen(entries) {
    for (const entry of entries) {
      const chunk = this.chunks.get(entry.target);
      if (!chunk) continue;
      if (entry.isIntersecting) this.visible.add(chunk);
      else this.visible.delete(chunk);
    }
  }

  /** @param {Chunk} chunk that is far away; the one with the focus stays */
  drop(chunk) {
    if (!chunk.isLive) return;
    if (chunk.box.contains(document.activeElement)) this.keep(chunk);
    else chunk.clear();
  }

  /** @param {Chunk} chunk */
  keep(chunk) {
    this.spare = this.spare.filter((spare) => spare !== chunk && !spare.isNear);
    this.spare.push(chunk);
    if (this.spare.length <= SPARE_MAX) return;
    const oldest = this.spare.shift();
    if (oldest && !oldest.box.contains(document.activeElement)) oldest.clear();
    oldest?.area.keepStop();
  }

  /**
   * @param {EventTarget | null} target
   * @returns {Area | null}
   */
  areaOf(target) {
    const section = target instanceof Element ? target.closest("[data-cluster]") : null;
    return this.areas.find((area) => area.section === section) ?? null;
  }

  /**
   * @param {EventTarget | null} target
   * @returns {Place | null} the shard whose cell this is
   */
  find(target) {
    const cell = target instanceof Element ? target.closest(".cell") : null;
    const area = cell && this.areaOf(cell);
    const id = Number(cell instanceof HTMLElement ? (cell.dataset.shard ?? NaN) : NaN);
    return area && id < area.cluster.total ? { cluster: area.cluster, id } : null;
  }

  /**
   * @param {Place} place
   * @returns {HTMLElement | null} its cell, made if need be; null when the view does not show it
   */
  cell({ cluster, id }) {
    const area = this.areas.find((candidate) => candidate.cluster === cluster);
    const chunk = area?.chunkOf(id);
    if (!area || !chunk) return null;
    if (!chunk.isLive) {
      chunk.fill();
      this.keep(chunk);
      area.keepStop();
    }
    return area.peek(id);
  }

  /**
   * @param {Place} place
   * @returns {boolean} whether the view does not show it
   */
  isLeftOut({ cluster, id }) {
    const area = this.areas.find((candidate) => candidate.cluster === cluster);
    return area !== undefined && area.positionOf(id) < 0;
  }

  /**
   * Moves the one cell per cluster that the Tab key leads to.
   * @param {Place} place
   */
  focus(place) {
    const area = this.areas.find(({ cluster }) => cluster === place.cluster);
    const cell = this.cell(place);
    if (!area || !cell) return;
    area.moveStop(place.id);
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {EventTarget | null} target the box of a cluster's cells, which has the focus while its cell is out of sight
   * @returns {Place | null} where the focus belongs
   */
  findStop(target) {
    const area = this.areas.find(({ box }) => box === target);
    return area ? { cluster: area.cluster, id: area.stop } : null;
  }

  /**
   * @param {string} key
   * @param {Place} place
   * @returns {Place | null} where the key leads; null when it leads nowhere
   */
  step(key, { cluster, id }) {
    const next = this.areas.find((area) => area.cluster === cluster)?.step(key, id) ?? null;
    return next === null ? null : { cluster, id: next };
  }

  /**
   * @param {string} className
   * @param {Place[]} places the only cells that shall have this class
   */
  mark(className, places) {
    for (const area of this.areas) {
      const ids = places.filter(({ cluster }) => cluster === area.cluster).map(({ id }) => id);
      area.mark(className, ids);
    }
  }

  /** Lets cells that were just heard blink, as far as they can be seen. */
  beat() {
    /** @type {HTMLElement[]} */
    const heardCells = [];
    for (const { area, cells, cut } of this.visible) {
      const { heard } = area.cluster;
      cells.forEach((cell, index) => {
        const id = area.idAt(cut.start + index);
        if ((heard[id >> 3] >> (id & 7)) & 1) heardCells.push(cell);
      });
    }
    // Of more, each second another part.
    const start = heardCells.length > BEATS_MAX ? this.beats % heardCells.length : 0;
    this.beats = start + BEATS_MAX;
    for (let turn = 0; turn < Math.min(BEATS_MAX, heardCells.length); turn += 1) {
      const { dataset } = heardCells[(start + turn) % heardCells.length];
      dataset.beat = dataset.beat === "odd" ? "even" : "odd";
    }
  }

  /** Makes all cells that fit on some sheets of paper. What is far from the screen is dropped again as one scrolls. */
  fillForPrint() {
    let left = PRINTED_MAX;
    for (const { chunks } of this.areas) {
      for (const chunk of chunks) {
        left -= chunk.cut.end - chunk.cut.start;
        if (left < 0) return;
        if (!chunk.isLive) chunk.fill();
      }
    }
  }
}
