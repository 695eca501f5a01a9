/**
 * The language of the page: the viewer's choice, or the operator's, or the browser's, or English.
 *
 * @import {Forms} from "./language/en.js"
 * @import {Words} from "./language/en.js"
 */

import english from "./language/en.js";

/** @type {Readonly<Record<string, () => Promise<{default: Words}>>>} by their tags */
const OTHERS = {
  de: () => import("./language/de.js"),
  es: () => import("./language/es.js"),
};

/** The languages there are, by their own names. */
export const LANGUAGES = Object.freeze({ en: "English", de: "Deutsch", es: "Español" });

/** @type {Words} */
let words = english;

/** How a language writes numbers, lists and times. Each is made when it is needed first: together they take 50 ms. */
class Formats {
  /** @param {string} tag */
  constructor(tag) {
    this.tag = tag;
    /** English is for everybody else too, whose own way to write times the browser knows. */
    this.timeTag = tag === "en" ? undefined : tag;
    /** @type {Map<string, unknown>} */
    this.made = new Map();
  }

  /**
   * @template Format
   * @param {string} name
   * @param {() => Format} make
   * @returns {Format}
   */
  once(name, make) {
    const made = this.made.get(name) ?? make();
    this.made.set(name, made);
    return /** @type {Format} */ (made);
  }

  get number() {
    return this.once("number", () => new Intl.NumberFormat(this.tag));
  }

  get plural() {
    return this.once("plural", () => new Intl.PluralRules(this.tag));
  }

  get list() {
    return this.once("list", () => new Intl.ListFormat(this.tag === "en" ? "en-GB" : this.tag));
  }

  get time() {
    return this.once("time", () => new Intl.DateTimeFormat(this.timeTag, { timeStyle: "medium" }));
  }

  get shortTime() {
    return this.once("shortTime", () => new Intl.DateTimeFormat(this.timeTag, { timeStyle: "short" }));
  }

  get dateAndTime() {
    return this.once("dateAndTime", () => new Intl.DateTimeFormat(this.timeTag, { dateStyle: "medium", timeStyle: "short" }));
  }
}

let formats = new Formats("en");

/**
 * @param {string} chosen by the viewer, empty: nothing
 * @param {string} brand by the operator, empty: nothing
 * @param {readonly string[]} wanted by the browser, the best first
 * @returns {string} the tag of a language that there is
 */
export function chooseLanguage(chosen, brand, wanted) {
  const tags = [chosen, brand, ...wanted].map((tag) => tag.toLowerCase().split("-")[0]);
  return tags.find((tag) => tag in LANGUAGES) ?? "en";
}

/** @param {string} tag of a language; English stays when it cannot be had */
export async function loadLanguage(tag) {
  if (!(tag in OTHERS)) return;
  try {
    useLanguage(tag, (await OTHERS[tag]()).default);
  } catch (error) {
    console.error(`the language ${tag} cannot be loaded:`, error);
    // As with any other part that is gone: see the head of index.html.
    /** @type {{reloadOnce?: () => void}} */ (globalThis).reloadOnce?.();
  }
}

/**
 * @param {string} tag
 * @param {Words} table
 */
export function useLanguage(tag, table) {
  words = table;
  formats = new Formats(tag);
}

/** @returns {Words} the words of the present language */
export function getWords() {
  return words;
}

/** @returns {Formats} how it writes numbers and times */
export function getFormats() {
  return formats;
}

/**
 * Whole numbers are written here and not by the browser's library, which takes 30 ms when it is used first: a tenth of the
 * time to the first picture.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatNumber(value) {
  if (!Number.isSafeInteger(value)) return formats.number.format(value);
  const digits = String(value);
  if (Math.abs(value) < Number(words.digits.groupedFrom)) return digits;
  return digits.replace(/\B(?=(?:\d{3})+$)/g, words.digits.separator);
}

/**
 * Fills the gaps of a text.
 *
 * @param {string | Forms} text
 * @param {Record<string, string | number>} [values] numbers are written as the language does; `n` chooses the form
 * @returns {string}
 */
export function fill(text, values = {}) {
  const form = typeof text === "string" ? text : chooseForm(text, Number(values.n));
  return form.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? formatNumber(value) : value;
  });
}

/**
 * @param {Forms} forms
 * @param {number} count
 */
function chooseForm(forms, count) {
  // Where all forms are alike, there is nothing to choose, and the library need not be loaded.
  return Object.values(forms).every((form) => form === forms.other) ? forms.other : (forms[formats.plural.select(count)] ?? forms.other);
}

/**
 * Writes the words of index.html in the present language.
 * @param {Document} page
 */
export function translatePage(page) {
  if (formats.tag === "en") return;
  page.documentElement.lang = formats.tag;
  /** @type {Record<string, string>} */
  const table = words.static;
  for (const element of page.querySelectorAll("[data-text]")) element.textContent = table[element.getAttribute("data-text") ?? ""];
  for (const [data, attribute] of [["data-label", "aria-label"], ["data-hint", "placeholder"]]) {
    for (const element of page.querySelectorAll(`[${data}]`)) element.setAttribute(attribute, table[element.getAttribute(data) ?? ""]);
  }
}
