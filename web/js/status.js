/**
 * The top of the page: how the bots are, and whether this page still knows.
 *
 * @import {Condition, Facts} from "./connection.js"
 * @import {Store} from "./store.js"
 */

import { agePicture, judgeConnection } from "./connection.js";
import { findPart, writeText } from "./elements.js";
import { findSilence, judgeFleet } from "./verdict.js";
import { announceConnection, CONNECTION_LABELS, sayConnection, sayLastKnown, sayVerdict } from "./words.js";

/** Short interruptions are not worth a banner. */
const OLD_S = 3;
/** A condition is announced when it has lasted so long: a flapping line must not chatter. */
const SETTLED_MS = 1500;

export class Status {
  /** @param {(text: string) => void} announce to screen readers */
  constructor(announce) {
    this.announce = announce;
    /** @type {Condition} */
    this.condition = "loading";
    this.announced = "";
    this.isOld = false;
    /** The server's time up to which the picture is true: now, unless it is old. */
    this.asOf = NaN;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.connection = findPart(document, "#connection");
    this.label = findPart(document, "#connection-label");
    this.banner = findPart(document, "#banner");
    this.bannerText = findPart(document, "#banner-text");
    this.verdict = findPart(document, "#verdict");
    this.sentence = findPart(document, "#verdict-text");
    this.picture = findPart(document, "#clusters");
  }

  /**
   * @param {Facts} facts
   * @param {number} unjudgedAt since when silence is not judged, the server's time
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
    writeText(this.label, CONNECTION_LABELS[condition]);
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
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const text = announceConnection(condition);
      if (text === "" || text === this.announced) return;
      this.announced = text;
      this.announce(text);
    }, SETTLED_MS);
  }

  /** @param {Store} store */
  drawVerdict(store) {
    if (!store.hasPicture) return;
    const verdict = judgeFleet(store.clusters.map((cluster) => {
      const { name, total, counts } = cluster;
      return { name, total, counts, isSilent: findSilence(cluster, this.asOf) !== null };
    }));
    const sentence = sayVerdict(verdict, store.clusters.length > 1);
    this.verdict.dataset.mood = verdict.mood;
    writeText(this.sentence, this.isOld ? sayLastKnown(sentence) : sentence);
  }
}
