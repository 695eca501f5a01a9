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
let formats = makeFormats("en");

/** @param {string} tag */
function makeFormats(tag) {
  return {
    tag,
    number: new Intl.NumberFormat(tag),
    plural: new Intl.PluralRules(tag),
    list: new Intl.ListFormat(tag === "en" ? "en-GB" : tag),
    time: new Intl.DateTimeFormat(tag === "en" ? undefined : tag, { timeStyle: "medium" }),
    shortTime: new Intl.DateTimeFormat(tag === "en" ? undefined : tag, { timeStyle: "short" }),
    dateAndTime: new Intl.DateTimeFormat(tag === "en" ? undefined : tag, { dateStyle: "medium", timeStyle: "short" }),
  };
}

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
  }
}

/**
 * @param {string} tag
 * @param {Words} table
 */
export function useLanguage(tag, table) {
  words = table;
  formats = makeFormats(tag);
}

/** @returns {Words} the words of the present language */
export function getWords() {
  return words;
}

/** @returns {ReturnType<typeof makeFormats>} how it writes numbers and times */
export function getFormats() {
  return formats;
}

/**
 * Fills the gaps of a text.
 *
 * @param {string | Forms} text
 * @param {Record<string, string | number>} [values] numbers are written as the language does; `n` chooses the form
 * @returns {string}
 */
export function fill(text, values = {}) {
  const form = typeof text === "string" ? text : (text[formats.plural.select(Number(values.n))] ?? text.other);
  return form.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? formats.number.format(value) : value;
  });
}

/**
 * Writes the words of index.html in the present language.
 * @param {Document} page
 */
export function translatePage(page) {
  page.documentElement.lang = formats.tag;
  /** @type {Record<string, string>} */
  const table = words.static;
  for (const element of page.querySelectorAll("[data-text]")) element.textContent = table[element.getAttribute("data-text") ?? ""];
  for (const [data, attribute] of [["data-label", "aria-label"], ["data-hint", "placeholder"]]) {
    for (const element of page.querySelectorAll(`[${data}]`)) element.setAttribute(attribute, table[element.getAttribute(data) ?? ""]);
  }
}
