/**
 * What this viewer chose, kept in the browser. A browser that keeps nothing (private windows, blocked storage) is fine:
 * the choice then lasts as long as the page.
 *
 * @typedef {"auto" | "light" | "dark"} Theme
 */

/** `early.js` reads the theme under the same name. */
const THEME = "glance.theme";
const PULSE = "glance.pulse";

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
