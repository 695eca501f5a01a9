/**
 * @import {Place} from "./grid.js"
 * @import {Transition} from "./history.js"
 */

import { markCell } from "./chunk.js";
import { createElement, findPart, writeText } from "./elements.js";
import { explainShard, listFacts, nameShard, nameState, sayTransition } from "./words.js";
import { findZombie } from "./zombie.js";

const RETRY_MS = 10_000;

/** Everything that is known about one shard: a card on a wide screen, a sheet at the bottom of a phone. */
export class Panel {
  /**
   * @param {HTMLElement} box
   * @param {object} handlers
   * @param {(place: Place) => void} handlers.onStep
   * @param {(place: Place) => void} handlers.onClose
   * @param {(place: Place) => Promise<Transition[] | null>} handlers.readTransitions
   */
  constructor(box, handlers) {
    this.box = box;
    this.handlers = handlers;
    /** @type {Place | null} */
    this.place = null;
    this.title = findPart(box, ".panel-title");
    this.cell = findPart(box, ".cell");
    this.state = findPart(box, ".panel-state");
    this.meaning = findPart(box, ".panel-meaning");
    this.facts = findPart(box, ".panel-facts");
    this.changes = findPart(box, ".panel-changes");
    /** @type {Transition[]} of this shard, the newest first */
    this.transitions = [];
    /** Of which shard, in which state, they were asked for. */
    this.asked = "";
    /** Whether there was no answer. */
    this.isDueAgain = false;
    this.back = findPart(box, ".panel-back");
    this.next = findPart(box, ".panel-next");
    this.back.addEventListener("click", () => this.step(-1));
    this.next.addEventListener("click", () => this.step(1));
    findPart(box, ".panel-close").addEventListener("click", () => this.close());
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  /**
   * @param {Place} place
   * @param {number} now the server's time
   * @param {boolean} isOld whether the picture is old
   * @param {number} asOf the server's time up to which it is true
   * @param {boolean} takeFocus for those who came by keyboard
   */
  open(place, now, isOld, asOf, takeFocus) {
    this.place = place;
    this.show(true);
    this.update(now, isOld, asOf);
    if (takeFocus) this.title.focus();
  }

  /** @param {DOMRect} cell that the panel must not cover */
  makeRoomFor(cell) {
    this.box.classList.toggle("is-left", cell.left > document.documentElement.clientWidth / 2);
  }

  close() {
    const place = this.place;
    if (!place) return;
    this.place = null;
    this.show(false);
    this.handlers.onClose(place);
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.box.hidden = !isShown;
    // Cells scroll clear of the sheet.
    document.documentElement.classList.toggle("has-panel", isShown);
  }

  /** @param {number} step to a neighbouring shard */
  step(step) {
    if (!this.place) return;
    const { cluster, id } = this.place;
    const next = id + step;
    if (next >= 0 && next < cluster.total) this.handlers.onStep({ cluster, id: next });
  }

  /**
   * @param {number} now
   * @param {boolean} isOld
   * @param {number} asOf
   */
  update(now, isOld, asOf) {
    if (!this.place) return;
    const { cluster, id } = this.place;
    const state = cluster.states[id];
    writeText(this.title, nameShard(cluster, id));
    this.cell.dataset.state = String(state);
    writeText(this.state, nameState(state));
    const zombie = findZombie(cluster, id);
    markCell(this.cell, zombie, cluster.isMaintained(id));
    writeText(this.meaning, explainShard(cluster, id, asOf, zombie));
    this.back.toggleAttribute("disabled", id === 0);
    this.next.toggleAttribute("disabled", id === cluster.total - 1);
    this.writeFacts(listFacts(cluster, id, now, isOld, zombie));
    this.askForChanges(`${cluster.name} ${id} ${state} ${cluster.since[id]}`);
    this.writeChanges(now);
  }

  /** @param {string} about another shard, or another state of it: then there is something new */
  askForChanges(about) {
    if (!this.place || (about === this.asked && !this.isDueAgain)) return;
    this.isDueAgain = false;
    const { place } = this;
    const isOther = !about.startsWith(this.asked.split(" ", 2).join(" ") + " ");
    this.asked = about;
    // What is shown of the same shard stays until the answer is there.
    if (isOther) this.transitions = [];
    void this.handlers.readTransitions(place).then((transitions) => {
      if (this.asked !== about) return;
      if (transitions) this.transitions = transitions;
      else setTimeout(() => this.askAgain(about), RETRY_MS);
    });
  }

  /** @param {string} about what was not answered */
  askAgain(about) {
    if (this.asked === about) this.isDueAgain = true;
  }

  /** @param {number} now */
  writeChanges(now) {
    const list = findPart(this.changes, "ol");
    // One is no more than what the facts say.
    this.changes.hidden = this.transitions.length < 2;
    while (list.children.length > this.transitions.length) list.lastElementChild?.remove();
    this.transitions.forEach((transition, index) => {
      const row = list.children[index] ?? list.appendChild(buildChange());
      const [what, when] = sayTransition(transition, now);
      findPart(row, ".cell").dataset.state = String(transition.state);
      writeText(findPart(row, ".change-what"), what);
      writeText(findPart(row, "small"), when);
    });
  }

  /** @param {[term: string, value: string, note?: string][]} facts */
  writeFacts(facts) {
    while (this.facts.children.length > facts.length) this.facts.lastElementChild?.remove();
    facts.forEach(([term, value, note], index) => {
      const row = this.facts.children[index] ?? this.facts.appendChild(buildRow());
      writeText(findPart(row, "dt"), term);
      writeText(findPart(row, "dd span"), value);
      writeText(findPart(row, "dd small"), note ?? "");
    });
  }
}

/** @returns {HTMLElement} */
function buildChange() {
  const row = createElement("li");
  row.append(createElement("span", "cell"), createElement("span", "change-what"), createElement("small"));
  return row;
}

/** @returns {HTMLElement} */
function buildRow() {
  const row = createElement("div");
  const value = createElement("dd");
  value.append(createElement("span"), createElement("small"));
  row.append(createElement("dt"), value);
  return row;
}
