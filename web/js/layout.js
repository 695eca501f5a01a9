/**
 * How large the cells are and where. They are equal on the whole page, and a row holds 16, 32, 64 or 128 of them, so that
 * ids line up. Where shards name their groups, each group is a block of a few rows. Cells are kept in chunks whose heights
 * are worked out here, so that those out of sight can be empty. Pure.
 *
 * @import {Block} from "./view.js"
 * @typedef {object} Shape
 * @property {number} pitch from edge to edge of neighbouring cells, in CSS pixels
 * @property {number} gap of that, what is between them
 * @property {number} columns of a row
 * @property {number} blockColumns of a row in a block
 * @property {number} blockWidth
 * @property {number} across blocks side by side
 *
 * @typedef {object} Cut what a chunk holds
 * @property {number} start its first position
 * @property {number} end after its last
 * @property {number} height
 * @property {Block[]} blocks none when there are no groups
 */

export const CHUNK_CELLS = 256;
const COLUMNS = [16, 32, 64, 128];
const PITCH_MIN = 14;
const PITCH_MAX = 28;
/** Below this pitch the gap is narrower. */
const DENSE = 18;
/** A fleet that fits into this height gets larger cells instead of longer rows. */
const COMFORTABLE_HEIGHT = 480;

/** From large to small: what cells in blocks try. */
const BLOCK_PITCHES = [24, 22, 20, 18, 16, PITCH_MIN];
/** Blocks have more to say than rows, and may take more room. */
const COMFORTABLE_BLOCKS = 640;
/** As in cells.css: between blocks, and for their names. */
export const BLOCK_GAP = 20;
export const LINE_GAP = 16;
export const LABEL_HEIGHT = 20;
/** A name of some letters fits. */
const BLOCK_WIDTH_MIN = 92;

/**
 * @param {number} width CSS pixels for the cells
 * @param {number} largest shards in the largest cluster
 * @param {number} [density] pixels of the screen in a CSS pixel: cells end between them, to be sharp
 * @returns {{columns: number, pitch: number, gap: number}}
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
  const gap = gapOf(width / columns);
  const fine = Math.max(1, Math.round(density));
  const pitch = Math.floor(((width + gap) / columns) * fine) / fine;
  return { columns, gap, pitch: Math.max(8, Math.min(PITCH_MAX, pitch)) };
}

/** @param {number} pitch */
function gapOf(pitch) {
  return pitch < DENSE ? 2 : 3;
}

/**
 * @param {number} width CSS pixels
 * @param {number} largest shards in the largest group
 * @param {number} count of blocks in the largest cluster
 * @param {number} [density] as in fitGrid
 * @returns {Omit<Shape, "columns">}
 */
export function fitBlocks(width, largest, count, density = 1) {
  const blockColumns = largest <= 4 ? 4 : largest <= 32 ? 8 : 16;
  const rows = Math.ceil(Math.min(largest, CHUNK_CELLS) / blockColumns);
  const pitch = BLOCK_PITCHES.find((candidate) => {
    const across = fitAcross(width, blockColumns, candidate);
    const height = Math.ceil(count / across) * (LABEL_HEIGHT + rows * candidate + LINE_GAP);
    return height <= COMFORTABLE_BLOCKS && across >= Math.min(2, count);
  }) ?? PITCH_MIN;
  const across = fitAcross(width, blockColumns, pitch);
  const widest = Math.floor((width + BLOCK_GAP) / across) - BLOCK_GAP;
  const fine = Math.max(1, Math.round(density));
  const stretched = Math.floor(((widest + gapOf(pitch)) / blockColumns) * fine) / fine;
  const fitted = Math.max(8, count < across ? pitch : Math.min(PITCH_MAX, stretched));
  const gap = gapOf(fitted);
  return { pitch: fitted, gap, blockColumns, across, blockWidth: Math.max(BLOCK_WIDTH_MIN, blockColumns * fitted - gap) };
}

/**
 * @param {number} width
 * @param {number} columns
 * @param {number} pitch
 */
function fitAcross(width, columns, pitch) {
  const blockWidth = Math.max(BLOCK_WIDTH_MIN, columns * pitch - gapOf(pitch));
  return Math.max(1, Math.floor((width + BLOCK_GAP) / (blockWidth + BLOCK_GAP)));
}

/**
 * @param {number} width
 * @param {number} pitch that blocks on the same page have
 * @returns {number} cells in a row of a cluster without groups
 */
export function fitColumns(width, pitch) {
  return Math.max(COLUMNS[0], ...COLUMNS.filter((columns) => columns * pitch <= width + pitch));
}

/**
 * @param {number} count of cells
 * @param {Shape} shape
 * @param {number} columns
 * @returns {Cut[]}
 */
export function cutRows(count, { pitch, gap }, columns) {
  /** @type {Cut[]} */
  const cuts = [];
  for (let start = 0; start < count; start += CHUNK_CELLS) {
    const end = Math.min(start + CHUNK_CELLS, count);
    cuts.push({ start, end, height: Math.ceil((end - start) / columns) * pitch - gap, blocks: [] });
  }
  return cuts;
}

/**
 * @param {Block[]} blocks
 * @param {Shape} shape
 * @returns {Cut[]} each with whole lines of blocks
 */
export function cutBlocks(blocks, shape) {
  /** @type {Cut[]} */
  const cuts = [];
  for (let first = 0; first < blocks.length; first += shape.across) {
    const line = blocks.slice(first, first + shape.across);
    const height = heightOf(line, shape);
    const end = line[line.length - 1].end;
    const last = cuts[cuts.length - 1];
    if (last && end - last.start <= CHUNK_CELLS) {
      last.blocks.push(...line);
      last.end = end;
      last.height += LINE_GAP + height;
    } else {
      cuts.push({ start: line[0].start, end, height, blocks: line });
    }
  }
  return cuts;
}

/**
 * @param {Block[]} line
 * @param {Shape} shape
 */
function heightOf(line, { blockColumns, pitch, gap }) {
  const rows = Math.max(...line.map(({ start, end }) => Math.ceil((end - start) / blockColumns)));
  return LABEL_HEIGHT + rows * pitch - gap;
}

/**
 * @template {{start: number}} Span
 * @param {Span[]} spans one after the other
 * @param {number} position
 * @returns {number} the index of the one that holds it
 */
export function findSpan(spans, position) {
  let low = 0;
  let high = spans.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (spans[middle].start <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Where an arrow key leads.
 *
 * @param {string} key as in KeyboardEvent.key
 * @param {number} position of the cell that has the focus
 * @param {number} total
 * @param {number} columns
 * @returns {number | null} null when the key moves nothing
 */
export function moveFocus(key, position, total, columns) {
  const last = total - 1;
  const page = Math.max(columns, CHUNK_CELLS);
  switch (key) {
    case "ArrowLeft": return Math.max(0, position - 1);
    case "ArrowRight": return Math.min(last, position + 1);
    case "ArrowUp": return position >= columns ? position - columns : position;
    case "ArrowDown": return position + columns <= last ? position + columns : position;
    case "PageUp": return Math.max(position % columns, position - page);
    case "PageDown": return Math.min(last, position + page);
    case "Home": return 0;
    case "End": return last;
    default: return null;
  }
}

/**
 * The same among blocks: up and down lead into the block above and below.
 *
 * @param {string} key
 * @param {number} position
 * @param {Block[]} blocks
 * @param {Shape} shape
 * @returns {number | null}
 */
export function moveInBlocks(key, position, blocks, { across, blockColumns }) {
  const index = findSpan(blocks, position);
  const { start, end } = blocks[index];
  const lines = Math.max(1, Math.floor(CHUNK_CELLS / (across * Math.max(1, end - start))));
  const column = (position - start) % blockColumns;
  switch (key) {
    case "ArrowUp":
      if (position - blockColumns >= start) return position - blockColumns;
      return index < across ? position : enterBlock(blocks[index - across], column, blockColumns, true);
    case "ArrowDown":
      if (position + blockColumns < end) return position + blockColumns;
      return index + across < blocks.length ? enterBlock(blocks[index + across], column, blockColumns, false) : position;
    case "PageUp": return enterBlock(blocks[Math.max(index % across, index - lines * across)], column, blockColumns, false);
    case "PageDown": return enterBlock(blocks[Math.min(blocks.length - 1, index + lines * across)], column, blockColumns, false);
    default: return moveFocus(key, position, blocks[blocks.length - 1].end, blockColumns);
  }
}

/**
 * @param {Block} block
 * @param {number} column
 * @param {number} columns
 * @param {boolean} fromBelow
 */
function enterBlock({ start, end }, column, columns, fromBelow) {
  const row = fromBelow ? Math.floor((end - start - 1) / columns) : 0;
  return Math.min(end - 1, start + row * columns + column);
}
