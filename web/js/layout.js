/**
 * How large the cells are. They are equal on the whole page, and a row holds 16, 32, 64 or 128 of them, so that ids line up.
 * A chunk of 256 cells is then a whole number of rows at any width, and nothing is rebuilt when the window changes.
 */

export const CHUNK_CELLS = 256;
const COLUMNS = [16, 32, 64, 128];
/** From edge to edge of neighbouring cells, in CSS pixels. */
const PITCH_MIN = 14;
const PITCH_MAX = 28;
/** Below this pitch the gap is narrower. */
const DENSE = 18;
/** A fleet that fits into this height gets larger cells instead of longer rows. */
const COMFORTABLE_HEIGHT = 480;

/**
 * @param {number} width CSS pixels for the cells
 * @param {number} largest shards in the largest cluster
 * @param {number} [density] pixels of the screen in a CSS pixel: cells end between them, to be sharp
 * @returns {{columns: number, pitch: number, gap: number}} `pitch` includes the gap
 */
export function fitGrid(width, largest, density = 1) {
  let best = measure(width, COLUMNS[0], density);
  for (const columns of COLUMNS.slice(1)) {
    const isComfortable = Math.ceil(largest / best.columns) * best.pitch <= COMFORTABLE_HEIGHT;
    const next = measure(width, columns, density);
    if (isComfortable || next.pitch < PITCH_MIN) break;
    best = next;
  }
  return best;
}

/**
 * @param {number} width
 * @param {number} columns
 * @param {number} density
 */
function measure(width, columns, density) {
  const gap = width / columns < DENSE ? 2 : 3;
  const fine = Math.max(1, Math.round(density));
  const pitch = Math.floor(((width + gap) / columns) * fine) / fine;
  return { columns, gap, pitch: Math.max(8, Math.min(PITCH_MAX, pitch)) };
}

/**
 * Where an arrow key leads.
 *
 * @param {string} key as in KeyboardEvent.key
 * @param {number} id of the cell that has the focus
 * @param {number} total
 * @param {number} columns
 * @returns {number | null} null when the key moves nothing
 */
export function moveFocus(key, id, total, columns) {
  const last = total - 1;
  const page = Math.max(columns, CHUNK_CELLS);
  switch (key) {
    case "ArrowLeft": return Math.max(0, id - 1);
    case "ArrowRight": return Math.min(last, id + 1);
    case "ArrowUp": return id >= columns ? id - columns : id;
    case "ArrowDown": return id + columns <= last ? id + columns : id;
    case "PageUp": return Math.max(id % columns, id - page);
    case "PageDown": return Math.min(last, id + page);
    case "Home": return 0;
    case "End": return last;
    default: return null;
  }
}
