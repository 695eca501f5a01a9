/**
 * A part of a cluster's cells. Its height is known, so the cells themselves exist only while they are needed.
 *
 * @import {Area} from "./area.js"
 * @import {Cut} from "./layout.js"
 * @import {Block} from "./view.js"
 */

import { createElement, writeText } from "./elements.js";
import { ONLINE } from "./states.js";
import { nameCell, nameGroup } from "./words.js";
import { findZombie } from "./zombie.js";

/** Chunks of so many shards and more have a ruler. */
const SMALL = 16;

export class Chunk {
  /**
   * @param {Area} area
   * @param {Cut} cut
   */
  constructor(area, cut) {
    this.area = area;
    this.cut = cut;
    this.box = createElement("div", "chunk");
    this.box.setAttribute("role", "presentation");
    /** @type {HTMLElement[]} by position from the start; empty while there is no need for them */
    this.cells = [];
    /** @type {HTMLElement[]} how many of a block are online, unless all are; by block */
    this.marks = [];
    /** Whether it is on the screen or not far from it, as the observers saw it. */
    this.isNear = false;
    this.isVisible = false;
    this.place(cut);
  }

  get isLive() {
    return this.cells.length > 0;
  }

  /** @param {Cut} cut */
  place(cut) {
    const { area } = this;
    this.cut = cut;
    this.box.style.setProperty("--height", `${cut.height}px`);
    this.box.classList.toggle("has-blocks", cut.blocks.length > 0);
    const isRuled = cut.blocks.length === 0 && area.cluster.total > SMALL && area.arrangement.order === null;
    if (isRuled) this.box.dataset.first = String(cut.start);
    else delete this.box.dataset.first;
  }

  /** Makes the cells. */
  fill() {
    const { start, end, blocks } = this.cut;
    const focused = this.box.contains(document.activeElement) ? document.activeElement?.getAttribute("data-shard") : null;
    this.cells = [];
    this.marks = [];
    const content = blocks.length > 0 ? blocks.map((block) => this.buildBlock(block)) : this.buildCells(start, end);
    this.box.replaceChildren(...content);
    for (const index of blocks.keys()) this.drawMark(index);
    // Whoever goes through the cells by key stays there.
    if (focused) this.cells.find((cell) => cell.dataset.shard === focused)?.focus({ preventScroll: true });
  }

  /** Lets the cells go. */
  clear() {
    this.cells = [];
    this.marks = [];
    this.box.replaceChildren();
  }

  /** Other shards may be here now. */
  renew() {
    if (!this.isLive) return;
    const { start, end, blocks } = this.cut;
    if (blocks.length > 0 || this.cells.length !== end - start || this.box.firstElementChild !== this.cells[0]) return this.fill();
    const count = String(this.area.arrangement.count);
    for (let position = start; position < end; position += 1) {
      const cell = this.cells[position - start];
      cell.setAttribute("aria-setsize", count);
      this.bind(cell, position);
    }
  }

  /** Draws all cells again. */
  draw() {
    this.cells.forEach((cell, index) => drawCell(cell, this.area, this.area.idAt(this.cut.start + index)));
    for (const index of this.marks.keys()) this.drawMark(index);
  }

  /**
   * @param {number} first
   * @param {number} end
   * @returns {HTMLElement[]}
   */
  buildCells(first, end) {
    const cells = [];
    const model = createCell(this.area.arrangement.count);
    for (let position = first; position < end; position += 1) {
      const cell = /** @type {HTMLElement} */ (model.cloneNode());
      this.bind(cell, position);
      cells.push(cell);
    }
    this.cells.push(...cells);
    return cells;
  }

  /**
   * @param {HTMLElement} cell
   * @param {number} position
   */
  bind(cell, position) {
    const { area } = this;
    const id = area.idAt(position);
    cell.setAttribute("data-shard", String(id));
    cell.setAttribute("aria-posinset", String(position + 1));
    if (cell.tabIndex !== -1) cell.tabIndex = -1;
    const className = area.classOf(id);
    if (cell.className !== className) cell.className = className;
    drawCell(cell, area, id);
  }

  /**
   * @param {Block} block
   * @returns {HTMLElement}
   */
  buildBlock(block) {
    const box = createElement("div", "block");
    const label = createElement("div", "block-label");
    const name = createElement("span", "block-name");
    const mark = createElement("span", "block-mark");
    const cells = createElement("div", "block-cells");
    for (const element of [box, cells]) element.setAttribute("role", "presentation");
    // The cells' own names say it.
    label.setAttribute("aria-hidden", "true");
    name.textContent = nameGroup(this.area.groupName(block.group), block.part);
    name.title = name.textContent;
    this.marks.push(mark);
    cells.append(...this.buildCells(block.start, block.end));
    label.append(name, mark);
    box.append(label, cells);
    return box;
  }

  /** @param {number} index of a block */
  drawMark(index) {
    const { start, end } = this.cut.blocks[index];
    const { states } = this.area.cluster;
    let online = 0;
    for (let position = start; position < end; position += 1) online += Number(states[this.area.idAt(position)] === ONLINE);
    const mark = this.marks[index];
    writeText(mark, online === end - start ? "" : `${online}/${end - start}`);
    mark.parentElement?.classList.toggle("is-partly", online < end - start);
  }
}

/**
 * @param {number} count of the cells of the cluster; those that exist at one time are fewer
 * @returns {HTMLElement} what all cells have in common, to be copied
 */
function createCell(count) {
  const cell = createElement("div", "cell");
  cell.setAttribute("role", "option");
  cell.setAttribute("aria-setsize", String(count));
  cell.setAttribute("data-state", String(ONLINE));
  cell.tabIndex = -1;
  return cell;
}

/**
 * @param {HTMLElement} cell
 * @param {Area} area
 * @param {number} id
 */
export function drawCell(cell, area, id) {
  const { cluster } = area;
  const zombie = findZombie(cluster, id);
  const isMaintained = area.isMaintained(id);
  const state = String(cluster.states[id]);
  const { dataset } = cell;
  if (dataset.state !== state) dataset.state = state;
  markCell(cell, zombie, isMaintained);
  cell.setAttribute("aria-label", nameCell(cluster, id, zombie, isMaintained));
}

/**
 * What a cell shows beside its state.
 *
 * @param {HTMLElement} cell
 * @param {import("./zombie.js").Zombie | null} zombie
 * @param {boolean} isMaintained
 */
export function markCell({ dataset }, zombie, isMaintained) {
  if (zombie) dataset.zombie = zombie;
  else if (dataset.zombie) delete dataset.zombie;
  if (isMaintained) dataset.maintained = "";
  else if (dataset.maintained !== undefined) delete dataset.maintained;
}
