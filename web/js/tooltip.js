/**
 * @import {Place} from "./grid.js"
 */

import { findPart, writeText } from "./elements.js";
import { nameShard, sayShard } from "./words.js";

/** Between the tooltip and the cell or the window's edge, in CSS pixels. */
const DISTANCE = 8;

/** A word about the cell below the pointer. Screen readers hear the cell's own name, so this is hidden from them. */
export class Tooltip {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    this.title = findPart(box, ".tooltip-title");
    this.text = findPart(box, ".tooltip-text");
    /** @type {Place | null} */
    this.place = null;
    /** @type {HTMLElement | null} */
    this.cell = null;
  }

  /**
   * @param {Place} place
   * @param {HTMLElement} cell
   * @param {number} now the server's time
   * @param {boolean} isOld whether the picture is old
   */
  show(place, cell, now, isOld) {
    this.place = place;
    this.cell = cell;
    this.box.hidden = false;
    this.update(now, isOld);
  }

  hide() {
    this.place = null;
    this.cell = null;
    this.box.hidden = true;
  }

  /**
   * @param {number} now
   * @param {boolean} isOld
   */
  update(now, isOld) {
    if (!this.place || !this.cell) return;
    const { cluster, id } = this.place;
    writeText(this.title, nameShard(cluster, id));
    writeText(this.text, sayShard(cluster, id, now, isOld));
    // Other words have another width.
    this.follow();
  }

  /** Stays at its cell while the page scrolls. */
  follow() {
    if (this.cell) this.moveTo(this.cell.getBoundingClientRect());
  }

  /** @param {DOMRect} cell */
  moveTo(cell) {
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const room = document.documentElement.clientWidth - width - DISTANCE;
    const left = Math.max(DISTANCE, Math.min(room, cell.left + cell.width / 2 - width / 2));
    const isTight = cell.top - height - DISTANCE < DISTANCE;
    const top = isTight ? cell.bottom + DISTANCE : cell.top - height - DISTANCE;
    this.box.style.setProperty("transform", `translate(${Math.round(left)}px, ${Math.round(top)}px)`);
  }
}
