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

/** What somebody without one kind of cones sees: Machado, Oliveira and Fernandes 2009, on linear RGB. */
const SIGHTS = {
  "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

/**
 * @param {string} colour as #rrggbb
 * @param {number[][]} sight
 * @returns {number[]} in CIE L*a*b*
 */
function see(colour, sight) {
  const linear = [1, 3, 5].map((start) => {
    const value = parseInt(colour.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  const [red, green, blue] = sight.map((row) => Math.max(0, Math.min(1, row.reduce((sum, part, index) => sum + part * linear[index], 0))));
  const [x, y, z] = [
    (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
    0.2126 * red + 0.7152 * green + 0.0722 * blue,
    (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
  ].map((part) => (part > 0.008856 ? Math.cbrt(part) : 7.787 * part + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

for (const [theme, colours] of Object.entries({ light: { ...light, ...safe }, dark: { ...darkByChoice, ...safeDark } })) {
  for (const [name, sight] of Object.entries(SIGHTS)) {
    test(`the other palette tells well, down and on its way apart: ${theme}, ${name}`, () => {
      const calm = ["starting", "stopping", "resuming", "unknown"];
      const pairs = ["unhealthy", "offline", ...calm].map((state) => ["online", state]);
      for (const bad of ["unhealthy", "offline"]) for (const state of calm) pairs.push([bad, state]);
      for (const [one, other] of pairs) {
        const [left, right] = [one, other].map((state) => see(colours[`--${state}`], sight));
        const distance = Math.hypot(...left.map((part, index) => part - right[index]));
        assert.ok(distance >= 20, `${one} and ${other} are ${distance.toFixed(1)} apart`);
      }
    });
  }
}
