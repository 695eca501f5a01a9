/** Colours that can be read: WCAG 2.2 AA, 4.5 for text and 3 for shapes. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const css = await readFile(new URL("../css/colours.css", import.meta.url), "utf8");
const [light, darkBySystem, darkByChoice, safe, safeDarkBySystem, safeDark] = css.split(/:root/).slice(1).map(readProperties);

/** @param {string} block */
function readProperties(block) {
  return Object.fromEntries(Array.from(block.matchAll(/(--[\w-]+):\s*([^;]+);/g), (match) => [match[1], match[2]]));
}

/** @param {string} colour as #rrggbb */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const value = parseInt(colour.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * @param {string} one
 * @param {string} other
 */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((left, right) => left - right);
  return (high + 0.05) / (low + 0.05);
}

test("both dark lists are the same", () => {
  assert.deepEqual(darkByChoice, darkBySystem);
  assert.deepEqual(Object.keys(light).sort(), Object.keys(darkByChoice).sort());
  assert.deepEqual(safeDark, safeDarkBySystem);
  assert.deepEqual(Object.keys(safe).sort(), Object.keys(safeDark).sort());
});

for (const [theme, colours] of Object.entries({
  light, dark: darkByChoice, "safe light": { ...light, ...safe }, "safe dark": { ...darkByChoice, ...safeDark },
})) {
  /**
   * @param {number} least
   * @param {string} front
   * @param {string[]} backs
   */
  const check = (least, front, ...backs) => {
    for (const back of backs) {
      const [one, other] = [front, back].map((name) => colours[`--${name}`] ?? name);
      const found = contrast(one, other);
      assert.ok(found >= least, `${theme}: ${front} on ${back} has ${found.toFixed(2)}, wants ${least}`);
    }
  };

  test(`text can be read in the ${theme} theme`, () => {
    check(4.5, "ink", "page", "raised", "sunken", "warn-wash");
    check(4.5, "ink-soft", "page", "raised", "sunken");
    check(4.5, "accent", "page", "raised");
    check(4.5, "accent-ink", "accent");
    check(4.5, "warn-ink", "page", "raised", "warn-wash");
  });

  test(`shapes can be told apart in the ${theme} theme`, () => {
    for (const state of ["unknown", "unhealthy", "offline", "online", "starting", "stopping", "resuming"]) check(3, state, "page", "raised");
    for (const state of ["unhealthy", "offline", "starting", "stopping", "resuming"]) check(3, "#ffffff", state);
    check(3, "line-strong", "page", "raised");
    check(3, "accent", "page");
  });
}
