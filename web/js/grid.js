/**
 * The cells. They are built once; after that only those that changed are touched.
 *
 * @import {Cluster, Store} from "./store.js"
 * @typedef {{cluster: Cluster, id: number}} Place
 * @typedef {object} Block one cluster on the page
 * @property {Cluster} cluster
 * @property {HTMLElement} section
 * @property {HTMLElement} count
 * @property {HTMLElement} note what is to be said about the cluster as a whole
 * @property {HTMLElement} box of all cells
 * @property {HTMLElement[]} cells by id
 * @property {number} focused the cell that the Tab key leads to
 */

import { createElement, findPart, writeText } from "./elements.js";
import { CHUNK_CELLS, fitGrid } from "./layout.js";
import { findSilence } from "./verdict.js";
import { nameShard, sayCluster, sayOnline } from "./words.js";

/** Up to so many shards, clusters share a line of the page, and have shorter rows (as in cells.css). */
const SMALL = 16;
const SMALL_COLUMNS = 8;
/** Room for the ids on the left, in CSS pixels a digit. */
const DIGIT_WIDTH = 7;

export class Grid {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Block[]} */
    this.blocks = [];
    this.shape = -1;
    this.columns = 16;
    /** @type {Set<Element>} chunks that can be seen: only they blink */
    this.visible = new Set();
    this.beats = 0;
    this.watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) this.visible.add(entry.target);
        else this.visible.delete(entry.target);
      }
    });
    new ResizeObserver(() => this.fit()).observe(root);
  }

  /** @param {Store} store */
  draw(store) {
    if (this.shape !== store.shape) {
      this.build(store.clusters);
      this.shape = store.shape;
    }
    for (const block of this.blocks) drawBlock(block);
  }

  /** @param {Cluster[]} clusters */
  build(clusters) {
    const focused = this.find(document.activeElement);
    this.watcher.disconnect();
    this.visible.clear();
    this.blocks = clusters.map(buildBlock);
    this.root.replaceChildren(...this.blocks.map((block) => block.section));
    this.fit();
    for (const { box } of this.blocks) {
      for (const chunk of box.children) this.watcher.observe(chunk);
    }
    const again = focused && clusters.find(({ name, total }) => name === focused.cluster.name && focused.id < total);
    if (again) this.focus({ cluster: again, id: focused.id });
  }

  /**
   * Says of each cluster as a whole what its cells do not.
   * @param {number} now the server's time up to which the picture is true
   * @param {boolean} isOld
   */
  tick(now, isOld) {
    for (const { cluster, note } of this.blocks) {
      const sentence = sayCluster(cluster, findSilence(cluster, now), now, isOld);
      note.hidden = sentence === "";
      writeText(note, sentence);
    }
  }

  /** Chooses the size of the cells for the present width. */
  fit() {
    const largest = Math.max(1, ...this.blocks.map((block) => block.cluster.total));
    const gutter = 10 + DIGIT_WIDTH * String(largest).length;
    const { columns, pitch, gap } = fitGrid(this.root.clientWidth - gutter, largest, devicePixelRatio);
    this.columns = columns;
    const width = gutter + columns * pitch - gap;
    this.root.style.setProperty("--columns", String(columns));
    for (const [name, size] of Object.entries({ pitch, gap, gutter, width })) this.root.style.setProperty(`--${name}`, `${size}px`);
    for (const { cluster, box } of this.blocks) {
      if (!cluster.isSized) continue;
      const inLast = cluster.total % CHUNK_CELLS || CHUNK_CELLS;
      box.style.setProperty("--rows", String(CHUNK_CELLS / columns));
      const last = /** @type {HTMLElement} */ (box.lastElementChild);
      last.style.setProperty("--rows", String(Math.ceil(inLast / this.columnsOf(cluster))));
    }
  }

  /**
   * @param {Cluster} cluster
   * @returns {number} cells in a row
   */
  columnsOf(cluster) {
    return cluster.total <= SMALL ? SMALL_COLUMNS : this.columns;
  }

  /**
   * @param {EventTarget | null} target
   * @returns {Place | null} the shard whose cell this is
   */
  find(target) {
    const cell = target instanceof Element ? target.closest(".cell") : null;
    const section = cell?.closest("[data-cluster]");
    const block = this.blocks.find((candidate) => candidate.section === section);
    const id = Number(cell instanceof HTMLElement ? cell.dataset.shard : NaN);
    return block && id in block.cells ? { cluster: block.cluster, id } : null;
  }

  /**
   * @param {Place} place
   * @returns {HTMLElement | null}
   */
  cell(place) {
    const block = this.blocks.find(({ cluster }) => cluster === place.cluster);
    return block?.cells[place.id] ?? null;
  }

  /**
   * Moves the one cell per cluster that the Tab key leads to.
   * @param {Place} place
   */
  focus(place) {
    const block = this.blocks.find(({ cluster }) => cluster === place.cluster);
    if (!block) return;
    block.cells[block.focused].tabIndex = -1;
    block.focused = place.id;
    block.cells[place.id].tabIndex = 0;
    block.cells[place.id].focus({ preventScroll: true });
    block.cells[place.id].scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {string} className
   * @param {Place[]} places the only cells that shall have this class
   */
  mark(className, places) {
    for (const cell of this.root.querySelectorAll(`.${className}`)) cell.classList.remove(className);
    for (const place of places) this.cell(place)?.classList.add(className);
  }

  /** Lets the cells that were just heard blink, as far as they can be seen. */
  beat() {
    this.beats += 1;
    const name = this.beats % 2 === 0 ? "even" : "odd";
    for (const { cluster, box, cells } of this.blocks) {
      for (const [index, chunk] of Array.from(box.children).entries()) {
        if (this.visible.has(chunk)) beatChunk(cluster, cells, index * CHUNK_CELLS, name);
      }
    }
  }
}

/**
 * @param {Cluster} cluster
 * @param {HTMLElement[]} cells
 * @param {number} first
 * @param {string} name a different one each time starts the animation again
 */
function beatChunk(cluster, cells, first, name) {
  const end = Math.min(first + CHUNK_CELLS, cluster.total);
  for (let id = first; id < end; id += 1) {
    if ((cluster.heard[id >> 3] >> (id & 7)) & 1) cells[id].dataset.beat = name;
  }
}

/** @param {Block} block */
function drawBlock({ cluster, cells, count }) {
  const dirty = cluster.takeDirty();
  for (const id of dirty) drawCell(cells[id], cluster, id);
  if (dirty.length > 0) count.textContent = sayOnline(cluster);
}

/**
 * @param {HTMLElement} cell
 * @param {Cluster} cluster
 * @param {number} id
 */
function drawCell(cell, cluster, id) {
  cell.dataset.state = String(cluster.states[id]);
  cell.setAttribute("aria-label", nameShard(cluster, id));
}

/**
 * @param {Cluster} cluster
 * @returns {Block}
 */
function buildBlock(cluster) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("cluster-template"));
  const section = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  const name = findPart(section, ".cluster-name");
  const count = findPart(section, ".cluster-count");
  const note = findPart(section, ".cluster-note");
  const box = findPart(section, ".cells");
  section.dataset.cluster = cluster.name;
  section.classList.toggle("is-small", cluster.total <= SMALL);
  name.textContent = cluster.name;
  count.textContent = sayOnline(cluster);
  section.setAttribute("aria-label", `Cluster ${cluster.name}`);
  box.setAttribute("aria-label", `Shards of ${cluster.name}`);
  const cells = buildCells(cluster, box);
  if (cells.length > 0) cells[0].tabIndex = 0;
  box.hidden = cells.length === 0;
  cluster.takeDirty();
  return { cluster, section, box, count, note, cells, focused: 0 };
}

/**
 * @param {Cluster} cluster
 * @param {HTMLElement} box
 * @returns {HTMLElement[]} by id
 */
function buildCells(cluster, box) {
  const model = createElement("div", "cell");
  model.setAttribute("role", "option");
  /** @type {HTMLElement[]} */
  const cells = [];
  for (let first = 0; first < cluster.total; first += CHUNK_CELLS) {
    const chunk = createElement("div", "chunk");
    const end = Math.min(first + CHUNK_CELLS, cluster.total);
    chunk.setAttribute("role", "presentation");
    if (cluster.total > SMALL) chunk.dataset.first = String(first);
    for (let id = first; id < end; id += 1) {
      const cell = /** @type {HTMLElement} */ (model.cloneNode());
      cell.dataset.shard = String(id);
      drawCell(cell, cluster, id);
      cells.push(cell);
      chunk.append(cell);
    }
    box.append(chunk);
  }
  return cells;
}
