/**
 * What this viewer chose, kept in the browser. A browser that keeps nothing (private windows, blocked storage) is fine:
 * the choice then lasts as long as the page.
 *
 * @typedef {"auto" | "light" | "dark"} Theme
 */

/** The first script of index.html reads the theme under the same name. */
const THEME = "glance.theme";
const PULSE = "glance.pulse";
const LANGUAGE = "glance.language";
const PROBLEMS_FIRST = "glance.problems-first";
/** The first script of index.html reads this one, too. */
const PALETTE = "glance.palette";

/** @returns {Theme} */
export function readTheme() {
  const theme = recall(THEME);
  return theme === "light" || theme === "dark" ? theme : "auto";
}

/** @param {Theme} theme */
export function chooseTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  remember(THEME, theme);
}

/** @returns {boolean} whether what needs help is shown first */
export function readProblemsFirst() {
  return recall(PROBLEMS_FIRST) === "on";
}

/** @param {boolean} on */
export function chooseProblemsFirst(on) {
  remember(PROBLEMS_FIRST, on ? "on" : "off");
}

/** @returns {"standard" | "safe"} safe: told apart by most people who see colours differently */
export function readPalette() {
  return recall(PALETTE) === "safe" ? "safe" : "standard";
}

/** @param {string} palette */
export function choosePalette(palette) {
  if (palette === "safe") document.documentElement.dataset.palette = "safe";
  else delete document.documentElement.dataset.palette;
  remember(PALETTE, palette);
}

/** @returns {string} the tag of a language; empty: the browser's */
export function readLanguage() {
  return recall(LANGUAGE) ?? "";
}

/** @param {string} tag */
export function chooseLanguageTag(tag) {
  remember(LANGUAGE, tag);
}

/** @returns {boolean} whether cells blink when they are heard */
export function readPulse() {
  return recall(PULSE) !== "off";
}

/** @param {boolean} on */
export function choosePulse(on) {
  remember(PULSE, on ? "on" : "off");
}

/**
 * @param {string} name
 * @returns {string | null}
 */
function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Not kept: see above.
  }
}
