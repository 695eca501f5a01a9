/**
 * The top of the page: how the bots are, and whether this page still knows. The tab's title and icon say the same.
 *
 * @import {Config} from "./branding.js"
 * @import {Condition, Facts} from "./connection.js"
 * @import {Outage} from "./history.js"
 * @import {Store} from "./store.js"
 * @import {Mood} from "./verdict.js"
 */

import { agePicture, judgeConnection } from "./connection.js";
import { findPart, writeText } from "./elements.js";
import { getWords } from "./language.js";
import { announceConnection, cutTitle, labelConnection, sayConnection, sayFirst, sayLately } from "./sentences.js";
import { judgeFleet, tallyFleet } from "./verdict.js";
import { sayUntil } from "./words.js";

/** Short interruptions are not worth a banner. */
const OLD_S = 3;
/** What is announced has lasted so long: a flapping line must not chatter. */
const SETTLED_MS = 1500;
/** The tab's title changes at most so often, unless its colour does too. A little less than the page's own clock. */
const TAB_MS = 900;
/** From this length on, a heading is set in smaller type. */
const LONG = 80;

/** As the web service writes them into the page. @type {Record<Mood, string>} */
const COLOURS = { none: "#78848f", good: "#2f9a70", calm: "#3a80d2", warn: "#c8690a", bad: "#cf3440" };

export class Status {
  /**
   * @param {Config} config
   * @param {object} handlers
   * @param {(text: string) => void} handlers.onConnection to be said to screen readers
   * @param {(text: string) => void} handlers.onVerdict to be said to screen readers
   * @param {() => void} handlers.onWell all is well, for the first time or again
   */
  constructor(config, handlers) {
    this.config = config;
    this.handlers = handlers;
    /** @type {Condition} */
    this.condition = "loading";
    this.announced = "";
    this.isOld = false;
    /** The server's time up to which the picture is true: now, unless it is old. */
    this.asOf = NaN;
    this.isWell = false;
    /** What was said of the fleet last. */
    this.spoken = "";
    /** @type {Outage[]} */
    this.outages = [];
    /** @type {Mood | null} what the tab shows, and since when */
    this.tabMood = null;
    this.tabAt = -Infinity;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.connectionTimer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.verdictTimer = undefined;
    this.connection = findPart(document, "#connection");
    this.label = findPart(document, "#connection-label");
    this.banner = findPart(document, "#banner");
    this.bannerText = findPart(document, "#banner-text");
    this.verdict = findPart(document, "#verdict");
    this.sentence = findPart(document, "#verdict-text");
    this.about = findPart(document, "#verdict-about");
    this.aboutLine = findPart(document, ".verdict-about");
    this.facts = findPart(document, "#verdict-facts");
    this.lately = findPart(document, "#lately");
    this.icon = /** @type {HTMLLinkElement} */ (document.querySelector("#icon"));
    this.colour = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="theme-color"]'));
    this.picture = findPart(document, "#clusters");
  }

  /**
   * @param {Facts} facts
   * @param {number} unjudgedAt since when silence is not judged, the server's time; NaN: not known
   * @param {number} retryIn seconds to the next try
   * @param {boolean} hasFailed whether asking for the first picture failed
   */
  drawConnection(facts, unjudgedAt, retryIn, hasFailed) {
    const condition = judgeConnection(facts);
    const age = agePicture(condition, facts);
    const isOld = age !== null && !(age < OLD_S);
    const lasting = condition === "unjudged" ? facts.clock - unjudgedAt : age;
    const sentence = isOld || age === null ? sayConnection(condition, lasting, retryIn, hasFailed) : "";
    this.connection.dataset.condition = condition;
    writeText(this.label, labelConnection(condition, facts.isPolling));
    this.banner.hidden = sentence === "";
    this.banner.dataset.condition = condition;
    writeText(this.bannerText, sentence);
    this.picture.classList.toggle("is-old", isOld);
    this.verdict.classList.toggle("is-old", isOld);
    this.isOld = isOld;
    // Of an age that nobody knows, the frames' own time is the best guess.
    this.asOf = isOld ? facts.clock - (Number.isNaN(age) ? 0 : age) : facts.clock;
    if (condition !== this.condition) this.announceLater(condition);
    this.condition = condition;
  }

  /** @param {Condition} condition */
  announceLater(condition) {
    clearTimeout(this.connectionTimer);
    this.connectionTimer = setTimeout(() => {
      const text = announceConnection(condition);
      if (text === "" || text === this.announced) return;
      this.announced = text;
      this.handlers.onConnection(text);
    }, SETTLED_MS);
  }

  /**
   * @param {Store} store
   * @param {boolean} hasFailed whether asking for the first picture failed
   */
  drawVerdict(store, hasFailed) {
    if (!store.hasPicture) return hasFailed ? this.drawNothing() : undefined;
    // Until the judge of health was heard, what the service wrote into the page is the better word.
    if (Number.isNaN(store.heard) && !this.isOld) return;
    const verdict = judgeFleet(tallyFleet(store, this.asOf));
    const { announcement } = store;
    const { sentence, mood, second, secondMood } = sayFirst(verdict, announcement, this.isOld ? this.condition : null);
    this.drawSentence(sentence, mood);
    const about = announcement && !this.isOld ? this.sayAbout(announcement) : "";
    writeText(this.about, about);
    this.aboutLine.hidden = about === "";
    this.facts.hidden = second === "";
    this.facts.dataset.mood = secondMood;
    writeText(findPart(this.facts, "span"), second);
    const isWell = verdict.mood === "good" && !this.isOld;
    writeText(this.lately, isWell ? sayLately(this.outages, this.asOf) : "");
    this.speakLater(`${mood} ${verdict.kind} ${announcement ? announcement.text : ""}`, sentence);
    if (isWell && !this.isWell) this.handlers.onWell();
    this.isWell = isWell;
  }

  /** The page itself may come from the browser's cache, with a verdict of yesterday. */
  drawNothing() {
    this.drawSentence(getWords().noPicture, "none");
  }

  /**
   * @param {string} sentence
   * @param {Mood} mood
   */
  drawSentence(sentence, mood) {
    this.verdict.dataset.mood = mood;
    this.verdict.classList.toggle("is-long", sentence.length > LONG);
    writeText(this.sentence, sentence);
    this.drawTab(sentence, mood);
  }

  /** @param {import("./frames.js").Notice} announcement */
  sayAbout({ severity, until }) {
    const what = getWords().severities[severity];
    return until === null ? what : `${what}, ${sayUntil(until, this.asOf)}`;
  }

  /**
   * @param {string} sentence
   * @param {Mood} mood
   */
  drawTab(sentence, mood) {
    // A new title costs more than a frame of the page, and in an outage each frame has one.
    const now = performance.now();
    if (mood === this.tabMood && now - this.tabAt < TAB_MS) return;
    this.tabMood = mood;
    this.tabAt = now;
    const title = `${cutTitle(sentence)} · ${this.config.title}`;
    if (document.title !== title) document.title = title;
    const icon = `${this.config.assets}/icons/mood-${mood}.svg`;
    if (this.icon.getAttribute("href") === icon) return;
    this.icon.setAttribute("href", icon);
    // What phones colour around the page.
    this.colour.content = COLOURS[mood];
  }

  /**
   * Says the verdict to a screen reader when it is another one, and not each time when a number in it changes.
   * @param {string} kind
   * @param {string} sentence
   */
  speakLater(kind, sentence) {
    if (kind === this.spoken) return;
    const isFirst = this.spoken === "";
    this.spoken = kind;
    clearTimeout(this.verdictTimer);
    // What is there at the start is read with the page.
    if (!isFirst) this.verdictTimer = setTimeout(() => this.handlers.onVerdict(this.sentence.textContent ?? sentence), SETTLED_MS);
  }
}
