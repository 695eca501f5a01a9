/** The small menu with what a viewer may choose. */

import { findPart } from "./elements.js";
import { LANGUAGES } from "./language.js";
import { chooseLanguageTag, choosePalette, choosePulse, chooseTheme, readLanguage, readPalette, readPulse, readTheme } from "./settings.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** @returns {boolean} whether cells may blink: the viewer wants it, and the system has nothing against motion */
export function mayBlink() {
  return readPulse() && !reducedMotion.matches;
}

/** Connects the menu with the settings. */
export function attachControls() {
  const menu = /** @type {HTMLDetailsElement} */ (findPart(document, "#settings"));
  attachTheme();
  attachPulse();
  attachPalette();
  attachLanguage();
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
}

function attachTheme() {
  const theme = readTheme();
  for (const input of document.querySelectorAll('input[name="theme"]')) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.checked = radio.value === theme;
    radio.addEventListener("change", () => chooseTheme(/** @type {import("./settings.js").Theme} */ (radio.value)));
  }
}

function attachPalette() {
  const palette = readPalette();
  for (const input of document.querySelectorAll('input[name="palette"]')) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.checked = radio.value === palette;
    radio.addEventListener("change", () => choosePalette(radio.value));
  }
}

function attachLanguage() {
  const list = /** @type {HTMLSelectElement} */ (findPart(document, "#language"));
  for (const [tag, name] of Object.entries(LANGUAGES)) list.add(new Option(name, tag));
  list.value = readLanguage();
  list.addEventListener("change", () => {
    chooseLanguageTag(list.value);
    location.reload();
  });
}

function attachPulse() {
  const box = /** @type {HTMLInputElement} */ (findPart(document, "#pulse"));
  const note = findPart(document, "#pulse-note");
  const show = () => {
    box.checked = mayBlink();
    box.disabled = reducedMotion.matches;
    note.hidden = !reducedMotion.matches;
  };
  box.addEventListener("change", () => choosePulse(box.checked));
  reducedMotion.addEventListener("change", show);
  show();
}
