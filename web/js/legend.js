/** @import {Store} from "./store.js" */

import { createElement, writeText } from "./elements.js";
import { LEGEND_ORDER, STATES } from "./states.js";
import { formatCount } from "./words.js";

/** What the colours and shapes mean, and how many shards there are of each. */
export class Legend {
  /** @param {HTMLElement} list */
  constructor(list) {
    /** @type {HTMLElement[]} by state */
    this.counts = [];
    for (const state of LEGEND_ORDER) list.append(this.buildEntry(state));
  }

  /**
   * @param {number} state
   * @returns {HTMLElement}
   */
  buildEntry(state) {
    const entry = createElement("li");
    const cell = createElement("span", "cell");
    const name = createElement("span", "legend-name");
    const count = createElement("span", "legend-count");
    cell.dataset.state = String(state);
    name.textContent = STATES[state].name;
    entry.title = STATES[state].meaning;
    entry.append(cell, name, count);
    this.counts[state] = count;
    return entry;
  }

  /** @param {Store} store */
  draw(store) {
    this.counts.forEach((element, state) => {
      const count = store.clusters.reduce((sum, cluster) => sum + cluster.counts[state], 0);
      writeText(element, store.hasPicture ? formatCount(count) : "");
      element.parentElement?.classList.toggle("is-none", count === 0);
    });
  }
}
