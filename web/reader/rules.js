// Finds and removes printed lines on paper: the same, step by step, as kanjinet/data/rules.py.
//
// Lines are nearly level; upright ones are found in the image with rows and columns exchanged.

import { clamp, findConnected, lowerOfMiddle, median, transpose } from "./grid.js";
import { maxOf } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const STRIPS = 32; // in which a line is taken as level, to find its slope
const MAX_SLOPE = 32; // 256ths: lines are looked for up to 7 degrees from level and upright
const RUN_FRACTION = 1 / 32; // of the longer side: a level run of ink that may be of a line
const MIN_RUN = 16; // pixels: the same, at least
const MAX_BEND = [0.6, 1 / 200]; // pixels, and of its length: a printed line's distance from a parabola
const MAX_CURVE = 0.05; // of its length: how far such a parabola is from straight
const [JOINED_PIXELS, JOINED_SLOPE] = [2, 1 / 80]; // how far lines that go on may miss each other, and more on a gap
const MAX_TRACKS = 2000; // level runs of ink: a page of any paper has fewer
const MAX_FITTED = 200; // pixels of a line that tell how it goes on
const MAX_WIDTH = 1 / 200; // of the longer side, and 6 pixels more
const MIN_COVERED = 0.85; // of its length: where a line has ink
const LONG = 0.5; // of the image's side: lines that may be printed without meeting others
const MIN_FRAME = 0.3; // of the image's side: the smallest frame, and the shortest of the lines that need no others
const MIN_MET = 0.05; // of the image's side: lines that are printed if they end at printed ones
const EDGE = 0.03; // of the image's side: what ends this near to its edge reaches it
const EXACT = 6; // pixels, and a line's width: what ends this near to another line meets it
// Times the ink of printed lines on their length: long and short lines beside them.
const [ALIKE_LONG, ALIKE_SHORT] = [2.5, 1.35];
const MIN_PARALLEL = 3; // lines from edge to edge that are printed whatever their ink
const MIN_LONG = 8; // long lines, the same
const [FAINT, ALIKE] = [0.55, 0.8]; // of a stroke's ink on its length: printed below the first, a stroke above the second
const MIN_INK = 16; // of 255: less is paper where lines are looked for

/**
 * A line: where it starts and one past where it ends, along; the coefficients of its place across; its width, its
 * darkest ink and the sum of its ink across.
 *
 * @typedef {{ start: number, end: number, curve: number[], width: number, level: number, mass: number }} Line
 */
/** @typedef {{ across: Line[], down: Line[], isUnsure: boolean }} Ruling */
/** @typedef {[along: number, middle: number, width: number][]} Track */

/**
 * @param {Line} line
 * @param {number} along
 * @returns {number} where it lies across
 */
export function placeAcross({ curve }, along) {
  return curve[0] + along * (curve[1] + along * curve[2]);
}

/**
 * Takes the printed lines off a page; returns the same ink where none are.
 *
 * @param {Ink} ink on paper of 0
 * @returns {{ ink: Ink, ruling: Ruling }}
 */
export function removeRuling(ink) {
  const peak = maxOf(ink.pixels);
  const threshold = Math.max(MIN_INK, Math.floor(peak / 10));
  const none = { across: [], down: [], isUnsure: false };
  if (!hasLongPieces(ink, threshold)) return { ink, ruling: none };
  const turned = transpose(ink);
  const found = [findLines(ink, threshold), findLines(turned, threshold)];
  if (!found[0].length && !found[1].length) return { ink, ruling: none };
  const strokeMass = measureStrokes(erase(ink, turned, found, peak), Math.floor(peak / 4));
  const ruling = choosePrinted(found, ink, strokeMass);
  if (!ruling.across.length && !ruling.down.length) return { ink, ruling };
  return { ink: erase(ink, turned, [ruling.across, ruling.down], peak), ruling };
}

/**
 * @param {Ink} ink
 * @param {number} threshold
 * @returns {boolean} whether some connected ink is long enough for a frame: in many drawings none is
 */
function hasLongPieces({ width, height, pixels }, threshold) {
  const mask = pixels.map((value) => Number(value >= threshold));
  const { pieces } = findConnected(mask, width, true);
  return pieces.some(
    ({ left, top, right, bottom }) => right - left >= MIN_FRAME * width || bottom - top >= MIN_FRAME * height,
  );
}

/**
 * @param {Ink} mask 0 or 1
 * @returns {number} the slope, in 256ths, in whose direction its lines have the sharpest profile
 */
function findSlope({ width, height, pixels }) {
  const strip = Math.max(1, Math.floor(width / STRIPS));
  const count = Math.floor(width / strip);
  const sums = Array.from({ length: count }, () => new Int32Array(height));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < count * strip; x++) sums[Math.floor(x / strip)][y] += pixels[y * width + x];
  }
  const margin = Math.floor((MAX_SLOPE * width) / 512) + 2;
  let [best, bestSlope] = [-1, 0];
  for (const slope of listSlopes()) {
    const profile = new Int32Array(height + 2 * margin);
    sums.forEach((strips, index) => {
      const shift = findShift(slope, index * strip + Math.floor(strip / 2), width);
      for (let y = 0; y < height; y++) profile[margin - shift + y] += strips[y];
    });
    let sharpness = 0;
    for (let y = 1; y < profile.length; y++) sharpness += (profile[y] - profile[y - 1]) ** 2;
    if (sharpness > best) [best, bestSlope] = [sharpness, slope];
  }
  return bestSlope;
}

/** @returns {number[]} slopes in 256ths, the flattest first */
export function listSlopes() {
  const slopes = Array.from({ length: 2 * MAX_SLOPE + 1 }, (_, index) => index - MAX_SLOPE);
  return slopes.sort((one, other) => Math.abs(one) - Math.abs(other));
}

/**
 * @param {number} slope 256ths
 * @param {number} along
 * @param {number} width
 * @returns {number} by how many pixels a line of this slope through the middle lies lower at `along`
 */
function findShift(slope, along, width) {
  return Math.floor((slope * (2 * along - width) + 256) / 512);
}

/**
 * @param {Ink} ink
 * @param {number} threshold
 * @returns {Line[]} straight, thin, nearly level lines
 */
function findLines(ink, threshold) {
  const { width, height } = ink;
  const longer = Math.max(width, height);
  const run = Math.max(MIN_RUN, Math.floor(longer * RUN_FRACTION)) | 1;
  const tall = (7 + Math.floor(MAX_WIDTH * longer)) | 1; // pixels: more are no line
  if (width <= run || height < 3) return [];
  const mask = ink.pixels.map((value) => Number(value >= threshold));
  const slope = findSlope({ width, height, pixels: mask });
  const shifts = Int32Array.from({ length: width }, (_, x) => findShift(slope, x, width));
  const margin = shifts.reduce((most, shift) => Math.max(most, Math.abs(shift)), 0);
  const level = levelRuns(mask, width, height, { shifts, margin, run, tall });
  const { labels, pieces } = findConnected(level, width, true);
  if (pieces.length > MAX_TRACKS) return [];
  const tracks = pieces.flatMap((piece, index) => followMiddles(labels, index + 1, piece, { shifts, margin, tall }));
  return joinTracks(tracks, mask, width, height)
    .map((track) => fitLine(track, ink, threshold))
    .filter((line) => line !== null)
    .filter((line) => line.end - line.start >= MIN_MET * width && line.width <= tall);
}

/**
 * Shifts columns so that lines lie level, and leaves their runs.
 *
 * @param {Uint8Array} mask 0 or 1, row by row
 * @param {number} width
 * @param {number} height
 * @param {{ shifts: Int32Array, margin: number, run: number, tall: number }} settings run: the least length of runs;
 *   tall: of what lies above each other so many pixels are no line, and shorter gaps are closed
 * @returns {Uint8Array} 0 or 1, (height + 2 margin) rows
 */
function levelRuns(mask, width, height, { shifts, margin, run, tall }) {
  const rows = height + 2 * margin;
  const level = new Uint8Array(rows * width);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; ) {
      let end = y;
      while (end < height && mask[end * width + x]) end++;
      if (end > y && end - y < tall) {
        // a pixel more on either side
        const [first, last] = [y + margin - shifts[x] - 1, end + margin - shifts[x]];
        for (let row = Math.max(0, first); row <= Math.min(rows - 1, last); row++) level[row * width + x] = 1;
      }
      y = end + 1;
    }
  }
  for (let row = 0; row < rows; row++) {
    const line = level.subarray(row * width, (row + 1) * width);
    let end = -1; // of the run before
    for (let x = 0; x < width; x++) {
      if (!line[x]) continue;
      if (end >= 0 && x - end < tall) line.fill(1, end, x);
      end = x + 1;
    }
    for (let x = 0; x < width; ) {
      let last = x;
      while (last < width && line[last]) last++;
      if (last - x < run) line.fill(0, x, last);
      x = last + 1;
    }
  }
  return level;
}

/**
 * Follows a piece of line where it is not thicker than it mostly is. A piece mostly thicker than `tall` is two lines with
 * a stroke between: its upper and its lower run are followed.
 *
 * @param {Int32Array} labels
 * @param {number} label
 * @param {import("./grid.js").Piece} piece
 * @param {{ shifts: Int32Array, margin: number, tall: number }} settings
 * @returns {Track[]}
 */
function followMiddles(labels, label, { left, top, right, bottom }, { shifts, margin, tall }) {
  const width = shifts.length;
  const isSet = (/** @type {number} */ x, /** @type {number} */ y) => labels[y * width + x] === label;
  /** @type {[Track, Track, Track]} */
  const [whole, upper, lower] = [[], [], []];
  for (let x = left; x < right; x++) {
    let [first, last] = [top, bottom];
    while (!isSet(x, first)) first++;
    while (!isSet(x, last - 1)) last--;
    let [end, start] = [first, last];
    while (end < last && isSet(x, end)) end++;
    while (start > first && isSet(x, start - 1)) start--;
    const place = (/** @type {number} */ from, /** @type {number} */ to) =>
      /** @type {[number, number, number]} */ ([x, shifts[x] - margin + (from + to - 1) / 2, to - from]);
    whole.push(place(first, last));
    upper.push(place(first, end));
    lower.push(place(start, last));
  }
  const isTwo = lowerOfMiddle(whole.map((place) => place[2])) > tall;
  return (isTwo ? [upper, lower] : [whole]).map((track) => {
    const thin = lowerOfMiddle(track.map((place) => place[2])) + 2; // elsewhere a stroke lies along it
    return track.filter((place) => place[2] <= thin);
  });
}

/**
 * Joins pieces of which one goes on where the other ends, with ink between: a character may lie there.
 *
 * @param {Track[]} tracks
 * @param {Uint8Array} mask 0 or 1, row by row
 * @param {number} width
 * @param {number} height
 * @returns {Track[]}
 */
function joinTracks(tracks, mask, width, height) {
  /** @type {{ track: Track, along: number, across: number, slope: number }[]} */
  const joined = [];
  for (const track of tracks.toSorted((one, other) => one[0][0] - other[0][0])) {
    const [start, last] = [track[0][0], track[track.length - 1][0]];
    const [c0, c1] = fit(track.slice(0, MAX_FITTED), 1);
    const [d0, d1] = fit(track.slice(-MAX_FITTED), 1);
    const tail = { along: last, across: d0 + d1 * last, slope: d1 };
    const before = joined.find(({ along, across, slope }) => {
      const [gap, miss] = [start - along, c0 + c1 * start - across];
      const near = JOINED_PIXELS + gap * JOINED_SLOPE;
      if (gap <= 0 || Math.abs(miss - ((c1 + slope) / 2) * gap) > near) return false;
      if (Math.abs(c1 - slope) > 2 * JOINED_SLOPE) return false;
      let covered = 0;
      for (let x = along + 1; x < start; x++) {
        const y = Math.floor(clamp(across + ((x - along) * miss) / gap + 0.5, 0, height - 1));
        covered += mask[y * width + x];
      }
      return gap <= 1 || covered >= MIN_COVERED * (gap - 1);
    });
    if (before) Object.assign(before, tail, { track: [...before.track, ...track] });
    else joined.push({ track, ...tail });
  }
  return joined.map(({ track }) => track);
}

/**
 * @param {Track} track
 * @param {1 | 2} degree
 * @returns {number[]} three coefficients, constant first, of a polynomial through its middles
 */
export function fit(track, degree) {
  const first = track[0][0];
  const length = Math.max(1, track[track.length - 1][0] - first);
  if (track.length <= degree) return [track.reduce((sum, place) => sum + place[1], 0) / track.length, 0, 0];
  const sums = new Float64Array(5); // of the powers
  const goals = new Float64Array(3);
  for (const [along, middle] of track) {
    const unit = (along - first) / length;
    for (let power = 0; power < 5; power++) sums[power] += unit ** power;
    for (let power = 0; power < 3; power++) goals[power] += middle * unit ** power;
  }
  const [n, a, b, c, d] = sums;
  let found;
  if (degree === 1) {
    const slope = (n * goals[1] - a * goals[0]) / (n * b - a * a);
    found = [(goals[0] - slope * a) / n, slope, 0];
  } else {
    const rows = [
      [n, a, b],
      [a, b, c],
      [b, c, d],
    ];
    const whole = determinant(rows);
    found = [0, 1, 2].map((column) => {
      const replaced = rows.map((row, index) => row.map((value, at) => (at === column ? goals[index] : value)));
      return determinant(replaced) / whole;
    });
  }
  const [slope, curve] = [found[1] / length, found[2] / length ** 2];
  return [found[0] - slope * first + curve * first ** 2, slope - 2 * curve * first, curve];
}

/** @param {number[][]} matrix 3 x 3 */
function determinant([[a, b, c], [d, e, f], [g, h, i]]) {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

/**
 * @param {Track} track
 * @param {Ink} ink
 * @param {number} threshold
 * @returns {Line | null} the parabola through it; null where it is bent or has gaps
 */
function fitLine(track, ink, threshold) {
  const [start, end] = [track[0][0], track[track.length - 1][0] + 1];
  if (end - start < MIN_RUN) return null;
  const curve = fit(track, 2);
  const line = { start, end, curve, width: lowerOfMiddle(track.map((place) => place[2])), level: 0, mass: 0 };
  const squares = track.reduce((sum, [along, middle]) => sum + (placeAcross(line, along) - middle) ** 2, 0);
  const length = end - start;
  if (Math.sqrt(squares / track.length) > MAX_BEND[0] + MAX_BEND[1] * length) return null;
  if (Math.abs(curve[2]) * length > MAX_CURVE) return null;
  const [peaks, sums] = [new Uint8Array(length), new Int32Array(length)];
  let covered = 0;
  for (let x = start; x < end; x++) {
    for (const y of listRows(line, x, ink.height)) {
      const value = ink.pixels[y * ink.width + x];
      peaks[x - start] = Math.max(peaks[x - start], value);
      sums[x - start] += value;
    }
    covered += Number(peaks[x - start] >= threshold);
  }
  if (covered < MIN_COVERED * length) return null;
  return { ...line, level: lowerOfMiddle(peaks), mass: lowerOfMiddle(sums) };
}

/**
 * @param {Line} line
 * @param {number} x
 * @param {number} height
 * @returns {number[]} the rows of its pixels in a column, those outside at the image's edge
 */
function listRows(line, x, height) {
  const middle = Math.floor(placeAcross(line, x) + 0.5);
  const half = Math.floor(Math.floor(line.width) / 2);
  return Array.from({ length: 2 * half + 1 }, (_, index) => clamp(middle - half + index, 0, height - 1));
}

/**
 * Erases lines; what strokes cross them with, or is much darker than they, stays.
 *
 * @param {Ink} ink
 * @param {Ink} turned the same with rows and columns exchanged
 * @param {Line[][]} lines across and down
 * @param {number} peak
 * @returns {Ink}
 */
function erase(ink, turned, lines, peak) {
  const images = [ink, turned];
  const levels = lines.map((chosen, axis) => paintLevels(chosen, images[axis]));
  const pixels = ink.pixels.slice();
  lines.forEach((chosen, axis) => {
    const { width, height, pixels: values } = images[axis];
    for (const line of chosen) {
      for (let x = line.start; x < line.end; x++) {
        const rows = listRows(line, x, height);
        const [above, below] = [rows[0] - 1, rows[rows.length - 1] + 1].map((row) => {
          const y = clamp(row, 0, height - 1);
          let most = 0;
          for (let step = -2; step <= 2; step++) {
            const near = clamp(x + step, 0, width - 1);
            if (!levels[1 - axis][near * height + y]) most = Math.max(most, values[y * width + near]);
          }
          return most;
        });
        const isCrossed = Math.min(above, below) * 4 >= peak;
        for (const y of rows) {
          const [here, there] = [y * width + x, x * height + y];
          const limit = Math.fround(1.6 * (levels[axis][here] + levels[1 - axis][there])) + 16;
          if (!isCrossed && values[here] <= limit) pixels[axis ? there : here] = 0;
        }
      }
    }
  });
  return { ...ink, pixels };
}

/**
 * @param {Line[]} lines
 * @param {Ink} image
 * @returns {Uint8Array} the level of the lines where they are
 */
function paintLevels(lines, { width, height, pixels }) {
  const levels = new Uint8Array(pixels.length);
  for (const line of lines) {
    for (let x = line.start; x < line.end; x++) {
      for (const y of listRows(line, x, height)) {
        levels[y * width + x] = Math.max(levels[y * width + x], line.level);
      }
    }
  }
  return levels;
}

/**
 * @param {Ink} ink
 * @param {number} threshold
 * @returns {number} how much ink strokes have on a pixel of their length; 0 for hardly any
 */
function measureStrokes({ width, height, pixels }, threshold) {
  const isInk = pixels.map((value) => Number(value >= Math.max(MIN_INK, threshold)));
  const mask = new Uint8Array(pixels.length); // what consists of squares of two pixels a side
  for (let y = 0; y < height - 1; y++) {
    for (let x = 0; x < width - 1; x++) {
      const square = [y * width + x, y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1];
      if (isInk[square[0]] && square.every((at) => isInk[at])) for (const at of square) mask[at] = 1;
    }
  }
  let [edges, sum] = [0, 0];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (x && mask[at] !== mask[at - 1]) edges++;
      if (y && mask[at] !== mask[at - width]) edges++;
      if (mask[at]) sum += pixels[at];
    }
  }
  const length = edges / 2.55; // two edges a stroke, crossed by rows and columns 4 / pi times a pixel of it
  return length < 0.08 * Math.max(width, height) ? 0 : sum / length;
}

/**
 * Chooses those lines that are printed, from the ink that strokes have on a pixel of length.
 *
 * @param {Line[][]} found across and down
 * @param {Ink} image
 * @param {number} strokeMass
 * @returns {Ruling}
 */
function choosePrinted(found, { width, height }, strokeMass) {
  if (!strokeMass) return { across: [], down: [], isUnsure: false }; // the lines are the character
  const sides = [width, height]; // along the lines
  /** @type {Line[][]} */
  const chosen = [[], []];
  const long = found.map((lines, axis) => lines.filter((line) => line.end - line.start >= LONG * sides[axis]));
  long.forEach((lines, axis) => {
    const through = lines.filter((line) => [0, 1].every((end) => reaches(line, end, sides[axis])));
    const inner = through.filter((line) => {
      const place = placeAcross(line, sides[axis] / 2) / sides[1 - axis];
      return EDGE < place && place < 1 - EDGE;
    });
    if (inner.length >= MIN_PARALLEL) chosen[axis].push(...through);
  });
  const isMany = long[0].length + long[1].length >= MIN_LONG;
  long.forEach((lines, axis) => {
    for (const line of lines) {
      const isThrough = [0, 1].every((end) => leaves(line, end, sides[axis], sides[1 - axis]));
      if (chosen[axis].includes(line)) continue;
      if (isMany || (isThrough && line.mass <= FAINT * strokeMass)) chosen[axis].push(line);
    }
  });
  addMet(found, chosen, sides, FAINT * strokeMass);
  const faint = found.map((lines) => lines.filter((line) => line.mass <= FAINT * strokeMass));
  findFrame(faint, sides).forEach((lines, axis) => {
    chosen[axis].push(...lines.filter((line) => !chosen[axis].includes(line)));
  });
  if (chosen[0].length || chosen[1].length) return { across: chosen[0], down: chosen[1], isUnsure: false };
  const masses = findFrame(found, null)
    .flat()
    .map((line) => line.mass);
  const mean = masses.reduce((sum, mass) => sum + mass, 0) / masses.length; // NaN without a frame
  return { across: [], down: [], isUnsure: mean < ALIKE * strokeMass };
}

/**
 * @param {Line} line
 * @param {number} end 0 its start, 1 its end
 * @param {number} side
 * @returns {boolean} whether it reaches the image's edge there
 */
function reaches(line, end, side) {
  return end ? line.end >= (1 - EDGE) * side : line.start <= EDGE * side;
}

/**
 * @param {Line} line
 * @param {number} end 0 its start, 1 its end
 * @param {number} side
 * @param {number} across
 * @returns {boolean} whether it leaves the image there, whichever edge it is
 */
function leaves(line, end, side, across) {
  const place = placeAcross(line, end ? line.end : line.start) / across;
  return reaches(line, end, side) || place <= EDGE || place >= 1 - EDGE;
}

/**
 * Adds lines that end at chosen ones, or at the image's edge, at both ends, and have as much ink.
 *
 * @param {Line[][]} found
 * @param {Line[][]} chosen added to
 * @param {number[]} sides
 * @param {number} faint long lines with less ink are no strokes, and may end less exactly
 */
function addMet(found, chosen, sides, faint) {
  for (const axis of [0, 1, 0, 1]) {
    const others = chosen[1 - axis];
    const alike = others.length ? others : chosen[axis];
    if (!alike.length) continue;
    const usual = median(alike.map((line) => line.mass));
    for (const line of found[axis]) {
      const isLong = line.end - line.start >= LONG * sides[axis];
      const spread = isLong ? ALIKE_LONG : ALIKE_SHORT;
      if (chosen[axis].includes(line) || line.mass < usual / spread || line.mass > usual * spread) continue;
      const slack = isLong && line.mass <= faint ? EDGE * Math.max(...sides) : EXACT;
      const isMet = (/** @type {number} */ end) =>
        meets(line, end, others, slack) || leaves(line, end, sides[axis], sides[1 - axis]);
      if (isMet(0) && isMet(1)) chosen[axis].push(line);
    }
  }
}

/**
 * @param {Line} line
 * @param {number} end 0 its start, 1 its end
 * @param {Line[]} others
 * @param {number} slack pixels
 * @returns {boolean} whether one of the others passes through its end, give or take the slack
 */
function meets(line, end, others, slack) {
  const along = end ? line.end - 1 : line.start;
  const across = placeAcross(line, along);
  const tolerance = slack + line.width;
  return others.some(
    (other) =>
      Math.abs(placeAcross(other, across) - along) <= tolerance &&
      other.start - tolerance <= across &&
      across <= other.end + tolerance,
  );
}

/**
 * @param {Line[][]} found
 * @param {number[] | null} sides the image's, where lines may end at its edges instead
 * @returns {Line[][]} lines of which both ends meet others that do so too; none where they enclose nothing
 */
function findFrame(found, sides) {
  const framed = [...found];
  for (let round = 0; round < 4; round++) {
    for (const axis of [0, 1]) {
      const isMet = (/** @type {Line} */ line, /** @type {number} */ end) =>
        meets(line, end, framed[1 - axis], EXACT) ||
        (sides !== null && leaves(line, end, sides[axis], sides[1 - axis]));
      framed[axis] = framed[axis].filter((line) => isMet(line, 0) && isMet(line, 1));
    }
  }
  return Math.min(framed[0].length, framed[1].length) >= (sides ? 1 : 2) ? framed : [[], []];
}
