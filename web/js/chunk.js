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
    this.cells = [];
    this.marks = [];
    const content = blocks.length > 0 ? blocks.map((block) => this.buildBlock(block)) : this.buildCells(start, end);
    this.box.replaceChildren(...content);
    for (const index of blocks.keys()) this.drawMark(index);
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
    for (let position = start; position < end; position += 1) this.bind(this.cells[position - start], position);
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
    for (let position = first; position < end; position += 1) {
      const cell = createCell();
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
    cell.dataset.shard = String(id);
    cell.setAttribute("aria-posinset", String(position + 1));
    cell.setAttribute("aria-setsize", String(area.arrangement.count));
    if (cell.tabIndex !== -1) cell.tabIndex = -1;
    cell.className = area.classOf(id);
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

/** @type {HTMLElement | null} */
let model = null;

/** @returns {HTMLElement} */
function createCell() {
  if (!model) {
    model = createElement("div", "cell");
    model.setAttribute("role", "option");
    model.tabIndex = -1;
  }
  return /** @type {HTMLElement} */ (model.cloneNode());
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
  cell.dataset.state = String(cluster.states[id]);
  if (zombie) cell.dataset.zombie = zombie;
  else if (cell.dataset.zombie) delete cell.dataset.zombie;
  if (isMaintained) cell.dataset.maintained = "";
  else if (cell.dataset.maintained !== undefined) delete cell.dataset.maintained;
  cell.setAttribute("aria-label", nameCell(cluster, id, zombie, isMaintained));
}
