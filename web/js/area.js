/**
 * One cluster on the page.
 *
 * @import {Groups} from "./groups.js"
 * @import {Cut, Shape} from "./layout.js"
 * @import {Cluster, Store} from "./store.js"
 * @import {Arrangement, View} from "./view.js"
 */

import { Chunk, drawCell } from "./chunk.js";
import { createElement, findPart, writeText } from "./elements.js";
import { cutBlocks, cutRows, findSpan, moveFocus, moveInBlocks } from "./layout.js";
import { arrange } from "./view.js";
import { nameCluster, nameShards, sayNothingShown, sayOnline } from "./words.js";
import { examine } from "./zombie.js";

/** Up to so many shards, clusters share a line of the page, and have shorter rows (as in cells.css). */
const SMALL = 16;
const SMALL_COLUMNS = 8;

export class Area {
  /**
   * @param {Cluster} cluster
   * @param {Store} store
   * @param {View} view
   */
  constructor(cluster, store, view) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("cluster-template"));
    this.cluster = cluster;
    this.store = store;
    this.section = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.count = findPart(this.section, ".cluster-count");
    this.note = findPart(this.section, ".cluster-note");
    this.box = findPart(this.section, ".cells");
    this.nothing = createElement("p", "cluster-nothing");
    this.findings = examine(cluster);
    this.view = view;
    /** @type {Arrangement} */
    this.arrangement = arrange(cluster.states, this.findings.quirks, this.findings.groups, view);
    /** @type {Chunk[]} */
    this.chunks = [];
    /** @type {Map<number, string>} classes of cells beside their own, by id */
    this.classes = new Map();
    /** @type {Shape | null} */
    this.shape = null;
    /** The shard whose cell the Tab key leads to. */
    this.stop = 0;
    if (this.arrangement.count > 0 && this.positionOf(this.stop) < 0) this.stop = this.idAt(0);
    this.write();
  }

  write() {
    const { cluster, section, box } = this;
    const name = findPart(section, ".cluster-name");
    section.dataset.cluster = cluster.name;
    name.textContent = cluster.name;
    section.setAttribute("aria-label", nameCluster(cluster));
    box.setAttribute("aria-label", nameShards(cluster));
    box.after(this.nothing);
    writeText(this.count, sayOnline(cluster));
    cluster.takeDirty();
  }

  /** @returns {Groups | null} */
  get groups() {
    return this.findings.groups;
  }

  /** @returns {boolean} whether it shares a line of the page with others */
  get isSmall() {
    return this.cluster.total <= SMALL && (this.groups?.names.length ?? 0) <= 1;
  }

  /** @returns {number} cells in a row, outside of blocks */
  get columns() {
    return this.isSmall ? SMALL_COLUMNS : this.shape?.columns ?? SMALL_COLUMNS;
  }

  /**
   * @param {number} position
   * @returns {number}
   */
  idAt(position) {
    return this.arrangement.order ? this.arrangement.order[position] : position;
  }

  /**
   * @param {number} id
   * @returns {number} -1 when it is not shown
   */
  positionOf(id) {
    return this.arrangement.positions ? this.arrangement.positions[id] : id;
  }

  /**
   * @param {number} group
   * @returns {string | null} null for the shards without one
   */
  groupName(group) {
    return this.groups?.names[group] ?? null;
  }

  /**
   * @param {number} id
   * @returns {boolean}
   */
  isMaintained(id) {
    return this.store.isMaintained(this.cluster, id);
  }

  /**
   * @param {number} id
   * @returns {string}
   */
  classOf(id) {
    return this.classes.get(id) ?? "cell";
  }

  /**
   * Takes new details.
   * @returns {"same" | "drawn" | "moved"} moved: shards are in other groups than before, so that all must be laid out anew
   */
  follow() {
    const before = this.findings;
    this.findings = examine(this.cluster);
    if (this.findings === before) return "same";
    return this.findings.groups === before.groups ? "drawn" : "moved";
  }

  /** @param {View} view */
  arrange(view) {
    this.view = view;
    this.arrangement = arrange(this.cluster.states, this.findings.quirks, this.groups, view);
    if (this.arrangement.count > 0 && this.positionOf(this.stop) < 0) this.stop = this.idAt(0);
  }

  /**
   * Puts the chunks where they belong.
   * @param {Shape} shape
   * @returns {{added: Chunk[], removed: Chunk[]}}
   */
  lay(shape) {
    this.shape = shape;
    const { arrangement, box } = this;
    const cuts = this.cut(shape);
    this.section.classList.toggle("is-small", this.isSmall);
    this.section.classList.toggle("has-groups", this.groups !== null);
    for (const [index, chunk] of this.chunks.entries()) {
      if (index >= cuts.length) continue;
      chunk.place(cuts[index]);
      chunk.renew();
    }
    const removed = this.chunks.splice(cuts.length);
    for (const chunk of removed) chunk.box.remove();
    const added = cuts.slice(this.chunks.length).map((cut) => new Chunk(this, cut));
    this.chunks.push(...added);
    box.append(...added.map((chunk) => chunk.box));
    box.hidden = arrangement.count === 0;
    writeText(this.nothing, arrangement.count === 0 && this.cluster.isSized ? sayNothingShown(this.cluster) : "");
    this.keepStop();
    return { added, removed };
  }

  /**
   * @param {Shape} shape
   * @returns {Cut[]}
   */
  cut(shape) {
    const { count, blocks } = this.arrangement;
    return this.groups ? cutBlocks(blocks, shape) : cutRows(count, shape, this.columns);
  }

  /**
   * @param {number} id
   * @returns {Chunk | null}
   */
  chunkOf(id) {
    const position = this.positionOf(id);
    if (!(position >= 0)) return null;
    return this.chunks[findSpan(this.chunks.map(({ cut }) => cut), position)] ?? null;
  }

  /**
   * @param {number} id
   * @returns {HTMLElement | null} null when there is none now
   */
  peek(id) {
    const chunk = this.chunkOf(id);
    return chunk?.cells[this.positionOf(id) - chunk.cut.start] ?? null;
  }

  /** Either a cell can be reached with the Tab key or, while it is out of sight, the box, which then leads to a cell. */
  keepStop() {
    const cell = this.peek(this.stop);
    if (cell) cell.tabIndex = 0;
    if (cell) this.box.removeAttribute("tabindex");
    else this.box.tabIndex = 0;
  }

  /** @param {number} id */
  moveStop(id) {
    const before = this.peek(this.stop);
    if (before) before.tabIndex = -1;
    this.stop = id;
    this.keepStop();
  }

  /**
   * @param {string} key
   * @param {number} id of the cell that has the focus
   * @returns {number | null} where the key leads; null when it leads nowhere
   */
  step(key, id) {
    const { count, blocks } = this.arrangement;
    const from = this.positionOf(id);
    if (from < 0 || !this.shape) return null;
    const to = this.groups ? moveInBlocks(key, from, blocks, this.shape) : moveFocus(key, from, count, this.columns);
    return to === null ? null : this.idAt(to);
  }

  /** @returns {boolean} whether something changed */
  draw() {
    const dirty = this.cluster.takeDirty();
    if (dirty.length === 0) return false;
    /** @type {Map<Chunk, Set<number>>} */
    const blocks = new Map();
    const cuts = this.chunks.map(({ cut }) => cut);
    for (const id of dirty) {
      const position = this.positionOf(id);
      const chunk = position < 0 ? undefined : this.chunks[findSpan(cuts, position)];
      if (!chunk?.isLive) continue;
      drawCell(chunk.cells[position - chunk.cut.start], this, id);
      if (chunk.marks.length === 0) continue;
      const touched = blocks.get(chunk) ?? new Set();
      blocks.set(chunk, touched.add(findSpan(chunk.cut.blocks, position)));
    }
    for (const [chunk, touched] of blocks) for (const index of touched) chunk.drawMark(index);
    writeText(this.count, sayOnline(this.cluster));
    return true;
  }

  /**
   * @param {string} className
   * @param {number[]} ids the only cells that shall have this class
   */
  mark(className, ids) {
    const touched = new Set(ids);
    for (const [id, classes] of this.classes) {
      const rest = classes.split(" ").filter((name) => name !== className).join(" ");
      if (rest === classes) continue;
      touched.add(id);
      if (rest === "cell") this.classes.delete(id);
      else this.classes.set(id, rest);
    }
    for (const id of ids) this.classes.set(id, `${this.classOf(id)} ${className}`);
    for (const id of touched) {
      const cell = this.peek(id);
      if (cell) cell.className = this.classOf(id);
    }
  }

  /** Draws again what is there. */
  redraw() {
    for (const chunk of this.chunks) chunk.draw();
  }
}
