// Preprocessing of an image for the network: the same, step by step, as kanjinet/data/preprocessing.py.

/** @import { Ink } from "./types.js" */
/** @typedef {{ width: number, height: number, pixels: Uint8Array | Float64Array }} Grid row by row */

/** The version of the contract that these steps implement; a model says which one it needs. */
export const PREPROCESSING = "even-lines-2";

const FILL = 52 / 64; // of the output's side: the longer side of the character
const DIRT_DIVISOR = 8; // pixels with less than an eighth of the darkest one's ink count as dirt
export const BOX_DIVISOR = 4; // pixels with at least a quarter of the darkest one's ink span the character's box
const REACH = 4 / 52; // of the box's longer side: how far to either side the lines' density is averaged
const TIE = 1e-6; // ties go up whatever the rounding errors

/**
 * Turns an image into the network's input.
 *
 * @param {Ink} ink bright ink on dark paper
 * @param {number} size side of the output, pixels
 * @returns {Uint8Array} size x size, row by row; an image without ink stays empty
 */
export function preprocess(ink, size) {
  const out = new Uint8Array(size * size);
  const box = cropToInk(ink);
  if (!box) return out;
  const evened = evenOutLines(box, Math.round(size * FILL));
  const left = Math.floor((size - evened.width) / 2);
  const top = Math.floor((size - evened.height) / 2);
  for (let y = 0; y < evened.height; y++) {
    out.set(evened.pixels.subarray(y * evened.width, (y + 1) * evened.width), (top + y) * size + left);
  }
  return out;
}

/**
 * @param {Uint8Array} values
 * @returns {number} the middle one of them in order; of an even number the lower of the two; 0 of none
 */
export function lowerMedian(values) {
  const counts = new Uint32Array(256);
  for (const value of values) counts[value]++;
  let left = Math.floor((values.length - 1) / 2);
  let median = 0;
  while (median < 255 && left >= counts[median]) left -= counts[median++];
  return values.length ? median : 0;
}

/**
 * @param {Iterable<number>} values not negative
 * @returns {number} their maximum; 0 of none
 */
export function maxOf(values) {
  let max = 0;
  for (const value of values) if (value > max) max = value;
  return max;
}

/**
 * @param {Ink} image
 * @returns {Ink | null} the ink's box on paper of 0, faint dirt erased; null where there is no ink
 */
function cropToInk({ width, height, pixels }) {
  const paper = lowerMedian(pixels); // which is most of the image
  const ink = pixels.map((value) => Math.max(0, value - paper));
  const peak = maxOf(ink);
  if (!peak) return null;
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] * BOX_DIVISOR < peak) continue;
      top = Math.min(top, y);
      bottom = y + 1;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
    }
  }
  const box = { width: right - left, height: bottom - top };
  const values = new Uint8Array(box.width * box.height);
  for (let y = top, to = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, to++) {
      const value = ink[y * width + x];
      if (value * DIRT_DIVISOR >= peak) values[to] = value;
    }
  }
  return { ...box, pixels: values };
}

/**
 * Resizes a box so that lines lie evenly in it: crowded regions grow, empty ones shrink.
 *
 * @param {Ink} box with some ink
 * @param {number} target the longer side of the result, pixels
 * @returns {Ink} 255 the darkest pixel
 */
function evenOutLines(box, target) {
  const { width, height, pixels } = box;
  const longer = Math.max(width, height);
  const shorter = Math.min(width, height);
  const flattened = Math.floor(target * Math.sqrt(Math.sin(((Math.PI / 2) * shorter) / longer)) + 0.5);
  const [newWidth, newHeight] = [width, height].map((side) => (side === longer ? target : Math.max(1, flattened)));
  const reach = Math.floor(longer * REACH + 0.5);
  const columns = pixels.map((_, at) => pixels[(at % height) * width + Math.floor(at / height)]);
  const down = placeBorders(box, reach, newHeight);
  const across = placeBorders({ width: height, height: width, pixels: columns }, reach, newWidth);
  const ink = averageRows(averageRows(box, down), across).pixels; // turned twice: row by row again
  const scale = 255 / maxOf(ink);
  return { width: newWidth, height: newHeight, pixels: Uint8Array.from(ink, (value) => value * scale + 0.5 + TIE) };
}

/**
 * Places the borders of output rows so that the density of lines between them is equal.
 *
 * @param {Ink} box
 * @param {number} reach rows to either side over which density is averaged
 * @param {number} count output rows
 * @returns {Float64Array} count + 1 borders, in rows of the box
 */
function placeBorders({ width, height, pixels }, reach, count) {
  const contrast = new Float64Array(height + 1); // at the rows' borders; paper lies beyond the ends
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x < width; x++) {
      const above = y ? pixels[(y - 1) * width + x] : 0;
      const below = y < height ? pixels[y * width + x] : 0;
      contrast[y] += Math.abs(below - above);
    }
  }
  const density = new Float64Array(height);
  for (let y = 0; y < height; y++) {
    for (let near = y - reach; near <= y + reach; near++) {
      const row = Math.min(Math.max(near, 0), height - 1);
      density[y] += contrast[row] + contrast[row + 1];
    }
  }
  const total = density.reduce((sum, value) => sum + value, 0);
  const fractions = new Float64Array(height + 1); // of all density, above each of the image's borders
  for (let y = 0, sum = 0; y < height; y++) {
    sum += density[y];
    fractions[y + 1] = (sum / total + (y + 1) / height) / 2; // the density's mean is added to it
  }
  const borders = new Float64Array(count + 1);
  borders[count] = height;
  for (let k = 1, row = 0; k < count; k++) {
    while (fractions[row + 1] < k / count) row++;
    borders[k] = row + (k / count - fractions[row]) / (fractions[row + 1] - fractions[row]);
  }
  return borders;
}

/**
 * Averages the rows between neighboring borders, parts of rows weighted by their height.
 *
 * @param {Grid} grid
 * @param {Float64Array} borders in rows, ascending
 * @returns {Grid} turned: each column's averages are a row
 */
function averageRows({ width, height, pixels }, borders) {
  const count = borders.length - 1;
  const means = new Float64Array(width * count);
  for (let k = 0; k < count; k++) {
    const [from, to] = [borders[k], borders[k + 1]];
    for (let y = Math.floor(from); y < Math.min(to, height); y++) {
      const part = (Math.min(to, y + 1) - Math.max(from, y)) / (to - from);
      for (let x = 0; x < width; x++) means[x * count + k] += part * pixels[y * width + x];
    }
  }
  return { width: count, height: width, pixels: means };
}
