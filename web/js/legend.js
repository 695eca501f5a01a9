/**
 * What the colours and shapes mean, and how many shards there are of each. Each entry is a button that shows only its
 * kind; several may be pressed.
 *
 * @import {Store} from "./store.js"
 * @import {View} from "./view.js"
 */

import { createElement, findPart, writeText } from "./elements.js";
import { getWords } from "./language.js";
import { chooseProblemsFirst, readProblemsFirst } from "./settings.js";
import { LEGEND_ORDER, ONLINE } from "./states.js";
import { PLAIN_VIEW, toggleKind, ZOMBIE } from "./view.js";
import { explainState, formatCount, nameState } from "./words.js";
import { countZombies } from "./zombie.js";

export class Legend {
  /**
   * @param {HTMLElement} list
   * @param {(view: View) => void} onView somebody wants to see the fleet in another way
   */
  constructor(list, onView) {
    this.onView = onView;
    /** @type {View} */
    this.view = { ...PLAIN_VIEW, problemsFirst: readProblemsFirst() };
    /** @type {Map<number, {button: HTMLElement, count: HTMLElement, entry: HTMLElement}>} by kind */
    this.entries = new Map();
    this.all = findPart(document, "#show-all");
    this.problems = findPart(document, "#problems-first");
    for (const kind of [...LEGEND_ORDER, ZOMBIE]) list.append(this.buildEntry(kind));
    this.all.addEventListener("click", () => {
      this.showAll();
      this.entries.get(ONLINE)?.button.focus();
    });
    this.problems.addEventListener("click", () => {
      chooseProblemsFirst(!this.view.problemsFirst);
      this.change({ ...this.view, problemsFirst: !this.view.problemsFirst });
    });
    this.press();
  }

  /**
   * @param {number} kind
   * @returns {HTMLElement}
   */
  buildEntry(kind) {
    const entry = createElement("li");
    const button = createElement("button", "legend-entry");
    const cell = createElement("span", "cell");
    const name = createElement("span", "legend-name");
    const count = createElement("span", "legend-count");
    button.setAttribute("type", "button");
    cell.setAttribute("aria-hidden", "true");
    cell.dataset.state = String(kind === ZOMBIE ? ONLINE : kind);
    if (kind === ZOMBIE) cell.dataset.zombie = "idle";
    name.textContent = kind === ZOMBIE ? getWords().zombie : nameState(kind);
    button.title = kind === ZOMBIE ? getWords().zombieMeaning : explainState(kind);
    button.append(cell, name, count);
    button.addEventListener("click", () => this.change(toggleKind(this.view, kind)));
    entry.append(button);
    this.entries.set(kind, { button, count, entry });
    return entry;
  }

  /** @param {View} view */
  change(view) {
    this.view = view;
    this.press();
    this.onView(view);
  }

  /** Leaves no kind out. */
  showAll() {
    this.change({ ...this.view, kinds: new Set() });
  }

  press() {
    const { kinds, problemsFirst } = this.view;
    for (const [kind, { button }] of this.entries) button.setAttribute("aria-pressed", String(kinds.has(kind)));
    this.all.hidden = kinds.size === 0;
    this.problems.setAttribute("aria-pressed", String(problemsFirst));
  }

  /** @param {Store} store */
  draw({ clusters, hasPicture }) {
    for (const [kind, { count, entry }] of this.entries) {
      const total = clusters.reduce((sum, cluster) => sum + (kind === ZOMBIE ? countZombies(cluster) : cluster.counts[kind]), 0);
      writeText(count, hasPicture ? formatCount(total) : "");
      entry.classList.toggle("is-none", total === 0);
      if (kind === ZOMBIE) entry.hidden = total === 0 && !this.view.kinds.has(ZOMBIE);
    }
  }
}
