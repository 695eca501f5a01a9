/**
 * "Which shard is my server on?" The answer is worked out here; the ID never leaves the browser.
 *
 * @import {Place} from "./grid.js"
 * @import {Question} from "./guild.js"
 * @import {Store} from "./store.js"
 */

import { markCell } from "./chunk.js";
import { createElement, findPart, writeText } from "./elements.js";
import { parseQuestion, readFragment, shardOfQuestion, writeFragment } from "./guild.js";
import { getWords } from "./language.js";
import { explainUnclear, sayAnswer, sayOutOfRange, sayUnsized } from "./words.js";
import { findZombie } from "./zombie.js";

/** After so long without a key the question counts as asked. */
const PAUSE_MS = 1000;
const COPIED_MS = 3000;

export class Search {
  /**
   * @param {Store} store
   * @param {object} handlers
   * @param {(places: Place[]) => void} handlers.onPlaces the cells to highlight
   * @param {() => void} handlers.onReveal the question is asked in earnest: show the first cell
   * @param {(text: string) => void} handlers.announce to screen readers
   */
  constructor(store, handlers) {
    this.store = store;
    this.handlers = handlers;
    /** @type {Question} */
    this.question = { kind: "empty" };
    /** Whether it was asked before it could be understood. */
    this.isTooEarly = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {string | null} what was last said to a screen reader; null: not asked in earnest yet */
    this.spoken = null;
    this.input = /** @type {HTMLInputElement} */ (findPart(document, "#search-input"));
    this.answer = findPart(document, "#answer");
    this.problem = findPart(document, "#answer-problem");
    this.rows = findPart(document, "#answer-rows");
    this.help = /** @type {HTMLDetailsElement} */ (findPart(document, "#answer-help"));
    this.copy = findPart(document, "#answer-copy");
    this.link = /** @type {HTMLInputElement} */ (findPart(document, "#answer-link"));
    this.listen();
  }

  listen() {
    findPart(document, "#search").addEventListener("submit", (event) => {
      event.preventDefault();
      // A phone's keyboard would cover the answer.
      if (matchMedia("(pointer: coarse)").matches) this.input.blur();
      this.ask(true);
    });
    this.input.addEventListener("input", (event) => {
      const isPasted = event instanceof InputEvent && event.inputType === "insertFromPaste";
      this.ask(isPasted);
      if (!isPasted) this.timer = setTimeout(() => this.ask(true), PAUSE_MS);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.clear();
    });
    findPart(document, "#answer-close").addEventListener("click", () => {
      this.clear();
      this.input.focus();
    });
    this.copy.addEventListener("click", () => void this.copyLink());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      event.preventDefault();
      this.input.focus();
      this.input.select();
    });
    window.addEventListener("hashchange", () => this.readAddress());
  }

  /** Not every browser lets a page write to the clipboard: then the link is there to be copied by hand. */
  async copyLink() {
    const words = getWords();
    const address = new URL(writeFragment(this.question), location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      this.copy.textContent = words.copied;
      this.handlers.announce(words.copied);
      setTimeout(() => writeText(this.copy, words.copyLink), COPIED_MS);
    } catch {
      this.link.hidden = false;
      this.link.value = address;
      this.link.setAttribute("aria-label", words.copyByHand);
      this.link.select();
    }
  }

  /** Takes the question from the page's address, for links such as `#guild=...`. */
  readAddress() {
    const asked = readFragment(location.hash);
    if (asked === null || asked === this.input.value) return;
    this.input.value = asked;
    this.ask(true);
  }

  clear() {
    this.input.value = "";
    this.ask(false);
  }

  /** @param {boolean} inEarnest whether to complain, announce and scroll; not while somebody is still typing */
  ask(inEarnest) {
    clearTimeout(this.timer);
    if (!inEarnest) this.spoken = null;
    const question = parseQuestion(this.input.value, this.store.clusters.map((cluster) => cluster.name));
    // Half a number is no mistake yet, and neither is the name of a cluster before the clusters are known.
    this.isTooEarly = inEarnest && question.kind === "unclear" && !this.store.hasPicture;
    this.question = question.kind === "unclear" && (!inEarnest || this.isTooEarly) ? { kind: "empty" } : question;
    if (!this.isTooEarly) this.keepAddress();
    this.update();
    if (inEarnest) {
      this.announce();
      this.handlers.onReveal();
    }
  }

  keepAddress() {
    const fragment = writeFragment(this.question);
    if (fragment !== location.hash && (fragment !== "" || readFragment(location.hash) !== null)) {
      history.replaceState(null, "", fragment || location.pathname + location.search);
    }
  }

  /** @returns {Place[]} one for each cluster whose size is known */
  places() {
    return this.store.clusters.flatMap((cluster) => {
      const id = shardOfQuestion(this.question, cluster.total, cluster.name);
      return id === null ? [] : [{ cluster, id }];
    });
  }

  /** @returns {string[]} what is to be said of the others, if the question is a good one */
  gaps() {
    const { question } = this;
    const { clusters } = this.store;
    if (question.kind === "empty" || question.kind === "unclear") return [];
    const meant = question.kind === "shard" && question.cluster !== null ? clusters.filter(({ name }) => name === question.cluster) : clusters;
    const unsized = meant.filter((cluster) => !cluster.isSized).map(sayUnsized);
    if (question.kind !== "shard" || this.places().length > 0) return unsized;
    return [...meant.filter((cluster) => cluster.isSized).map((cluster) => sayOutOfRange(cluster, question.shard)), ...unsized];
  }

  /** Works the answer out anew: the question or the clusters changed. */
  update() {
    // A name that was not known when it was asked for may be known now.
    if ((this.isTooEarly || this.question.kind === "unclear") && this.store.hasPicture) {
      this.isTooEarly = false;
      this.question = parseQuestion(this.input.value, this.store.clusters.map((cluster) => cluster.name));
      this.keepAddress();
      this.announce();
    }
    const places = this.places();
    this.handlers.onPlaces(places);
    const problem = this.question.kind === "unclear" ? explainUnclear(this.question.why) : this.gaps().join(" ");
    this.answer.hidden = places.length === 0 && problem === "";
    this.problem.hidden = problem === "";
    writeText(this.problem, problem);
    this.help.hidden = this.question.kind !== "unclear";
    this.copy.hidden = places.length === 0;
    this.link.hidden = true;
    this.rows.replaceChildren(...places.map(buildRow));
  }

  /**
   * Renews the words: time goes by, states change.
   * @param {number} now the server's time
   * @param {boolean} isOld whether the picture is old
   */
  tick(now, isOld) {
    this.places().forEach(({ cluster, id }, index) => {
      const row = this.rows.children[index];
      const [where, how] = sayAnswer(this.question, cluster, id, now, isOld);
      const cell = findPart(row, ".cell");
      cell.dataset.state = String(cluster.states[id]);
      markCell(cell, findZombie(cluster, id), cluster.isMaintained(id));
      writeText(findPart(row, "strong"), where);
      writeText(findPart(row, ".answer-how"), how);
    });
  }

  announce() {
    if (this.question.kind === "unclear") this.handlers.announce(explainUnclear(this.question.why));
    this.spoken = "";
  }

  /**
   * Says the answer to a screen reader when it is first known and when a state in it changes.
   * @param {number} now
   * @param {boolean} isOld
   */
  speak(now, isOld) {
    const places = this.places();
    const states = places.map(({ cluster, id }) => `${cluster.name} ${id} ${cluster.states[id]}`).join();
    const gaps = this.gaps();
    const heard = [states, ...gaps].join();
    if (heard === "" || heard === this.spoken || this.spoken === null) return;
    this.spoken = heard;
    const sentences = places.map(({ cluster, id }) => `${sayAnswer(this.question, cluster, id, now, isOld).join(": ")}.`);
    this.handlers.announce([...sentences, ...gaps].join(" "));
  }
}

/** @param {EventTarget | null} target whether what is typed there goes somewhere */
function isTyping(target) {
  if (target instanceof HTMLInputElement) return !["radio", "checkbox"].includes(target.type);
  return target instanceof HTMLElement && (target.isContentEditable || /^(?:TEXTAREA|SELECT)$/.test(target.tagName));
}

/** @returns {HTMLElement} */
function buildRow() {
  const row = createElement("li");
  row.append(createElement("span", "cell"), createElement("strong"), createElement("span", "answer-how"));
  return row;
}
