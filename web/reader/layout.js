// The characters of a page, in reading order: pieces of ink, put together by squares and lines. The same, step by step,
// as kanjinet/data/layout.py.

import { findConnected, median, roundToEven } from "./grid.js";
import { MIN_INK } from "./gray.js";
import { BOX_DIVISOR, maxOf } from "./preprocess.js";
import { fit, listSlopes, placeAcross } from "./rules.js";

/** @import { Box, Ink } from "./types.js" */
/** @import { Line, Ruling } from "./rules.js" */

const MIN_PIECE = 1 / 16; // of the size of characters: smaller pieces of ink are specks
const LIKE_LINES = 1.15; // times the ink of printed lines: thin, straight pieces no darker are rests of them, or dashes,
const MAX_FAINT = 0.5; // if that is no more than this of the darkest ink
const MIN_STRAIGHT = 3; // times as long as wide: such pieces
const SIZE_QUANTILE = 0.85; // of the sizes of pieces: about that of characters
const MIN_SIZES = 0.35; // of the largest: pieces that tell the size
const BAND_SIZES = 1.3; // of the size: strips of ink together not higher than that are one line
const PART_OVERLAP = 0.3; // of the narrower: pieces that lie so much above each other are one character's
export const MAX_ALONG = 1.7; // of the size: a character is not longer
const MAX_CROSSING = 0.25; // of the ink: more in pieces across the squares' lines, and characters are larger than squares
const MAX_LINE = 2.2; // of the size: a line of text, not quite level, is no wider
const ALIKE_PITCH = 1.05; // between columns over that between rows: more, and text runs down
const FEW = 3; // pieces, which tell no slope
const SAME_SLOPE = 1 / 40; // across, on a pixel of gap: lines that miss each other by less are the same

/**
 * The connected pieces of ink in an image; of each pixel the label is 1 + the index of its piece, or 0.
 *
 * @typedef {{ ink: Ink, labels: Int32Array, boxes: Box[], areas: number[] }} Pieces
 */
/**
 * A line of text: groups of pieces, in order, that surely belong together, where they start and end along the line, and
 * the size of its characters.
 *
 * @typedef {{ groups: number[][], starts: number[], ends: number[], size: number }} TextLine
 */
/** @typedef {[start: number, end: number]} Span */

/**
 * @param {Box[]} boxes
 * @returns {Box} around all of them
 */
export function unite(boxes) {
  let [left, top, right, bottom] = boxes[0];
  for (const box of boxes) {
    [left, top] = [Math.min(left, box[0]), Math.min(top, box[1])];
    [right, bottom] = [Math.max(right, box[2]), Math.max(bottom, box[3])];
  }
  return [left, top, right, bottom];
}

/** @param {Box} box */
export function measureLonger([left, top, right, bottom]) {
  return Math.max(right - left, bottom - top);
}

/**
 * @param {Pieces} pieces
 * @param {number[]} chosen
 * @returns {Ink} those alone, on paper as wide around them as half of the longer side
 */
export function cutOut({ ink, labels, boxes }, chosen) {
  let [left, top, right, bottom] = unite(chosen.map((index) => boxes[index]));
  [left, top] = [Math.max(0, left - 2), Math.max(0, top - 2)];
  [right, bottom] = [Math.min(ink.width, right + 2), Math.min(ink.height, bottom + 2)];
  const margin = Math.floor(Math.max(right - left, bottom - top) / 2);
  const [width, height] = [right - left + 2 * margin, bottom - top + 2 * margin];
  const isChosen = new Set(chosen.map((index) => index + 1));
  const pixels = new Uint8Array(width * height);
  const isOther = (/** @type {number} */ at) => labels[at] > 0 && !isChosen.has(labels[at]);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const at = y * ink.width + x;
      let isKept = isChosen.has(labels[at]);
      if (!isKept && ink.pixels[at]) {
        isKept = true;
        for (let row = Math.max(top, y - 1); row <= Math.min(bottom - 1, y + 1); row++) {
          for (let column = Math.max(left, x - 1); column <= Math.min(right - 1, x + 1); column++) {
            if (isOther(row * ink.width + column)) isKept = false;
          }
        }
      }
      if (isKept) pixels[(y - top + margin) * width + x - left + margin] = ink.pixels[at];
    }
  }
  return { width, height, pixels };
}

/**
 * Finds the pieces of ink, without specks and what is left of printed lines.
 *
 * @param {Ink} ink on paper of 0
 * @param {Ruling} ruling
 * @returns {Pieces}
 */
export function findPieces(ink, ruling) {
  const { width, height, pixels } = ink;
  const peak = maxOf(pixels);
  const threshold = Math.max(MIN_INK, Math.ceil(peak / BOX_DIVISOR));
  const found = findConnected(pixels.map((value) => Number(value >= threshold)), width, true);
  const boxes = found.pieces.map(({ left, top, right, bottom }) => /** @type {Box} */ ([left, top, right, bottom]));
  const minLength = MIN_PIECE * estimateSize(boxes);
  const lines = [...ruling.across, ...ruling.down];
  const widths = lines.map((line) => line.width);
  const usualWidth = median(widths); // NaN without lines
  const likeLines = lines.length ? LIKE_LINES * median(lines.map((line) => line.level)) : 0;
  const faint = likeLines <= peak * MAX_FAINT ? likeLines : 0;
  const peaks = new Uint8Array(boxes.length + 1);
  found.labels.forEach((label, at) => (peaks[label] = Math.max(peaks[label], pixels[at])));
  const isKept = boxes.map(([left, top, right, bottom], index) => {
    const sides = [right - left, bottom - top];
    if (Math.max(...sides) < minLength) return false;
    if (!widths.length) return true;
    const isAtEdge = Math.min(left, top) <= 2 || right >= width - 2 || bottom >= height - 2;
    if (isAtEdge && Math.min(...sides) <= 2 + Math.max(...widths)) return false;
    const isStraight = Math.min(...sides) <= usualWidth + 2 && Math.max(...sides) >= MIN_STRAIGHT * Math.min(...sides);
    const isLikeLines = isStraight && peaks[index + 1] <= faint;
    return !isLikeLines && found.pieces[index].area >= (usualWidth - 2) ** 2;
  });
  let count = 0;
  const numbers = [0, ...isKept.map((kept) => (kept ? ++count : 0))];
  return {
    ink,
    labels: found.labels.map((label) => numbers[label]),
    boxes: boxes.filter((_, index) => isKept[index]),
    areas: found.pieces.map(({ area }) => area).filter((_, index) => isKept[index]),
  };
}

/**
 * @param {Box[]} boxes
 * @returns {number} the side of characters, pixels
 */
function estimateSize(boxes) {
  const sides = boxes.map(measureLonger).sort((one, other) => one - other);
  const large = sides.filter((side) => side >= MIN_SIZES * sides[sides.length - 1]);
  return large.length ? large[Math.floor(SIZE_QUANTILE * (large.length - 1) + 0.5)] : 0;
}

/**
 * Puts together what lies in the same square, in reading order.
 *
 * @param {Pieces} pieces
 * @param {Ruling} ruling
 * @returns {number[][] | null} null where no squares are or they are too small
 */
export function groupBySquares({ boxes, areas }, ruling) {
  if (Math.min(ruling.across.length, ruling.down.length) < 2 || !boxes.length) return null;
  const [across, down] = [joinLines(ruling.across), joinLines(ruling.down)];
  /** @returns {[column: number, row: number]} */
  const place = (/** @type {number} */ x, /** @type {number} */ y) => [
    down.filter((line) => placeAcross(line, y) < x).length,
    across.filter((line) => placeAcross(line, x) < y).length,
  ];
  /** @type {Map<string, { column: number, row: number, group: number[] }>} */
  const squares = new Map();
  let crossing = 0;
  boxes.forEach(([left, top, right, bottom], index) => {
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    const [innerX, innerY] = [(right - left) / 4, (bottom - top) / 4];
    const ends = [place(left + innerX, y), place(right - innerX, y), place(x, top + innerY), place(x, bottom - innerY)];
    if (new Set(ends.map(String)).size > 1) crossing += areas[index];
    const [column, row] = place(x, y);
    const square = squares.get(String([column, row])) ?? { column, row, group: [] };
    square.group.push(index);
    squares.set(String([column, row]), square);
  });
  if (crossing > MAX_CROSSING * areas.reduce((sum, area) => sum + area, 0)) return null;
  const isDown = hasStrips(down);
  return [...squares.values()]
    .sort((one, other) =>
      isDown ? other.column - one.column || one.row - other.row : one.row - other.row || one.column - other.column,
    )
    .map(({ group }) => group);
}

/**
 * @param {Line[]} lines
 * @returns {Line[]} those that are parts of the same as one; of them, those at least half as long as the longest
 */
function joinLines(lines) {
  const slope = median(lines.map(({ curve, start, end }) => curve[1] + curve[2] * (start + end)));
  /** How far the other line lies from where a line of this slope would go on. */
  const measureMiss = (/** @type {Line} */ line, /** @type {Line} */ other) => {
    const [middle, otherMiddle] = [line, other].map(({ start, end }) => (start + end) / 2);
    const there = placeAcross(line, middle) + slope * (otherMiddle - middle);
    return Math.abs(placeAcross(other, otherMiddle) - there);
  };
  /** @type {Line[][]} */
  const rows = [];
  for (const line of lines.toSorted((one, other) => one.start - other.start)) {
    const lasts = rows.map((row) => row[row.length - 1]);
    const misses = lasts.map((last) => measureMiss(last, line));
    const best = misses.indexOf(Math.min(...misses));
    if (best >= 0 && misses[best] <= line.width + Math.max(0, line.start - lasts[best].end) * SAME_SLOPE) {
      rows[best].push(line);
    } else rows.push([line]);
  }
  const joined = rows.map(fitRow);
  const longest = Math.max(...joined.map((line) => line.end - line.start));
  return joined.filter((line) => line.end - line.start >= longest / 2);
}

/**
 * @param {Line[]} row
 * @returns {Line} one line through several that are parts of it
 */
function fitRow(row) {
  if (row.length === 1) return row[0];
  const track = row.flatMap((line) =>
    [line.start, (line.start + line.end) / 2, line.end].map(
      (along) => /** @type {[number, number, number]} */ ([along, placeAcross(line, along), 0]),
    ),
  );
  return { ...row[0], end: Math.max(...row.map((line) => line.end)), curve: fit(track, row.length > 2 ? 2 : 1) };
}

/**
 * @param {Line[]} down
 * @returns {boolean} whether squares stand in columns with strips between them, as for lines from top to bottom
 */
function hasStrips(down) {
  const middle = median(down.map((line) => (line.start + line.end) / 2));
  const places = down.map((line) => placeAcross(line, middle)).sort((one, other) => one - other);
  const gaps = places.slice(1).map((place, index) => place - places[index]);
  if (gaps.length < 2) return false;
  const wide = Math.max(...gaps);
  const narrow = gaps.filter((gap) => gap < 0.6 * wide).length / gaps.length;
  return 0.25 <= narrow && narrow <= 0.75;
}

/**
 * @param {Pieces} pieces
 * @param {Ruling} ruling
 * @returns {TextLine[]} the lines of text on plain or ruled paper, in reading order
 */
export function findTextLines(pieces, ruling) {
  const size = estimateSize(pieces.boxes);
  const leveled = [0, 1].map((axis) => levelBoxes(pieces, axis, ruling));
  // Across lines of text: rows from top to bottom, columns from left to right.
  const spans = leveled.map((boxes, axis) => boxes.map((box) => /** @type {Span} */ ([box[1 - axis], box[3 - axis]])));
  const bands = spans.map((each) => splitBands(each, size));
  const isRuled = ruling.across.length > 0 || ruling.down.length > 0;
  const axis = Number(isRuled ? !ruling.across.length : runsDown(spans, bands, size));
  const boxes = leveled[axis];
  const chosen = axis ? bands[1].toReversed() : bands[0];
  const longest = Math.max(...boxes.map(measureLonger));
  const heights = chosen.map((band) => {
    const ends = band.map((index) => spans[axis][index]);
    return Math.max(...ends.map((span) => span[1])) - Math.min(...ends.map((span) => span[0]));
  });
  const lineSize = Math.max(median(heights), Math.min(size, longest));
  return chosen.map((band, index) => {
    const along = boxes.map((box) => /** @type {Span} */ ([box[axis], box[axis + 2]]));
    const groups = joinOverlapping(along, band);
    return {
      groups,
      starts: groups.map((group) => Math.min(...group.map((piece) => along[piece][0]))),
      ends: groups.map((group) => Math.max(...group.map((piece) => along[piece][1]))),
      size: chosen.length < FEW ? Math.max(lineSize, 0.8 * heights[index]) : lineSize,
    };
  });
}

/**
 * @param {Pieces} pieces
 * @param {number} axis 0: lines of text become level, 1: columns become upright
 * @param {Ruling} ruling
 * @returns {Box[]}
 */
function levelBoxes({ boxes, ink }, axis, ruling) {
  const lines = axis ? ruling.down : ruling.across;
  const length = axis ? ink.height : ink.width;
  let slope = 0;
  if (lines.length) slope = median(lines.map(({ curve }) => curve[1] + curve[2] * length));
  else if (boxes.length > FEW) slope = findTextSlope(boxes, axis, length);
  return boxes.map((box) => {
    const middle = (box[axis] + box[axis + 2]) / 2;
    const shift = roundToEven(slope * (middle - length / 2));
    const moved = /** @type {Box} */ ([...box]);
    moved[1 - axis] -= shift;
    moved[3 - axis] -= shift;
    return moved;
  });
}

/**
 * @param {Box[]} boxes
 * @param {number} axis along lines of text
 * @param {number} length of the image along it
 * @returns {number} the slope at which they lie most above each other
 */
function findTextSlope(boxes, axis, length) {
  let [best, bestEnergy] = [0, -1];
  for (const step of listSlopes()) {
    const spans = boxes.map((box) => {
      const middle = (box[axis] + box[axis + 2]) / 2 - length / 2;
      const shift = roundToEven((step / 256) * middle);
      return { start: box[1 - axis] - shift, end: box[3 - axis] - shift, width: box[axis + 2] - box[axis] };
    });
    const first = Math.min(...spans.map((span) => span.start));
    const changes = new Float64Array(Math.max(...spans.map((span) => span.end)) - first + 1);
    for (const { start, end, width } of spans) {
      changes[start - first] += width;
      changes[end - first] -= width;
    }
    let [energy, height] = [0, 0];
    for (const change of changes) {
      height += change;
      energy += height ** 2;
    }
    if (energy > bestEnergy) [best, bestEnergy] = [step / 256, energy];
  }
  return best;
}

/**
 * Splits pieces where blank strips lie; strips that are one line's go together.
 *
 * @param {Span[]} spans of the pieces, across
 * @param {number} size
 * @returns {number[][]}
 */
function splitBands(spans, size) {
  /** @type {number[][]} */
  const bands = [];
  let end = -1;
  for (const index of [...spans.keys()].sort((one, other) => spans[one][0] - spans[other][0])) {
    if (!bands.length || spans[index][0] > end) bands.push([]);
    bands[bands.length - 1].push(index);
    end = Math.max(end, spans[index][1]);
  }
  while (bands.length > 1) {
    const heights = bands.slice(1).map((band, index) => {
      const both = [...bands[index], ...band].map((piece) => spans[piece]);
      return Math.max(...both.map((span) => span[1])) - Math.min(...both.map((span) => span[0]));
    });
    const lowest = heights.indexOf(Math.min(...heights));
    if (heights[lowest] > BAND_SIZES * size) break;
    bands.splice(lowest, 2, [...bands[lowest], ...bands[lowest + 1]]);
  }
  return bands;
}

/**
 * Tells whether text runs from top to bottom: lines are no wider than characters. Where both ways give such lines,
 * there is one of them, or more space between.
 *
 * @param {Span[][]} spans of the pieces across either way
 * @param {number[][][]} bands either way
 * @param {number} size
 * @returns {boolean}
 */
function runsDown(spans, bands, size) {
  const measured = bands.map((lines, axis) => {
    const ends = lines.map((band) => [
      Math.min(...band.map((index) => spans[axis][index][0])),
      Math.max(...band.map((index) => spans[axis][index][1])),
    ]);
    const middles = ends.map(([start, end]) => (start + end) / 2);
    const steps = middles.slice(1).map((middle, index) => middle - middles[index]);
    return { width: median(ends.map(([start, end]) => end - start)), pitch: steps.length ? median(steps) : Infinity };
  });
  const [across, down] = measured.map(({ width }) => width <= MAX_LINE * size);
  return across && down ? measured[1].pitch > measured[0].pitch * ALIKE_PITCH : down;
}

/**
 * @param {Span[]} spans of the pieces, along the line
 * @param {number[]} band
 * @returns {number[][]} pieces together that overlap, in order
 */
function joinOverlapping(spans, band) {
  /** @type {number[][]} */
  const groups = [];
  for (const index of band.toSorted((one, other) => spans[one][0] - spans[other][0])) {
    const [start, end] = spans[index];
    const last = groups[groups.length - 1];
    if (last) {
      const before = Math.max(...last.map((piece) => spans[piece][1]));
      const first = Math.min(...last.map((piece) => spans[piece][0]));
      if (before - start >= PART_OVERLAP * Math.max(1, Math.min(end - start, before - first))) {
        last.push(index);
        continue;
      }
    }
    groups.push([index]);
  }
  return groups;
}
