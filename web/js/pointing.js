/**
 * Mouse, touch and keys on the grid: one set of listeners for all cells.
 *
 * @import {Grid, Place} from "./grid.js"
 */

/**
 * @typedef {object} Handlers
 * @property {(place: Place, byKey: boolean) => void} onOpen a click, or Enter
 * @property {(place: Place) => void} onPoint the pointer or the keyboard's focus is on a cell
 * @property {() => void} onLeave and is so no more
 * @property {() => void} onEscape
 * @property {() => void} onScroll
 */

/**
 * @param {Grid} grid
 * @param {Handlers} handlers
 */
export function attachPointing(grid, handlers) {
  const { root } = grid;
  root.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const place = grid.find(event.target);
    if (place) handlers.onPoint(place);
    else handlers.onLeave();
  });
  root.addEventListener("pointerleave", handlers.onLeave);
  root.addEventListener("click", (event) => {
    const place = grid.find(event.target);
    if (!place) return;
    grid.focus(place);
    handlers.onOpen(place, false);
  });
  root.addEventListener("focusin", (event) => {
    const stop = grid.findStop(event.target);
    if (stop) return grid.focus(stop);
    const place = grid.find(event.target);
    if (place && event.target instanceof Element && isByKey(event.target)) handlers.onPoint(place);
  });
  root.addEventListener("focusout", handlers.onLeave);
  root.addEventListener("keydown", (event) => pressKey(event, grid, handlers));
  window.addEventListener("scroll", handlers.onScroll, { passive: true });
}

/**
 * @param {KeyboardEvent} event
 * @param {Grid} grid
 * @param {Handlers} handlers
 */
function pressKey(event, grid, handlers) {
  const place = grid.find(event.target);
  if (!place || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    handlers.onOpen(place, true);
    return;
  }
  if (event.key === "Escape") handlers.onEscape();
  const next = grid.step(event.key, place);
  if (!next) return;
  event.preventDefault();
  if (next.id !== place.id) grid.focus(next);
}

/** @param {Element} target whether its focus came from the keyboard; browsers of 2021 do not all say */
function isByKey(target) {
  return !CSS.supports("selector(:focus-visible)") || target.matches(":focus-visible");
}
