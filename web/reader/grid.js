// What photographs.js, rules.js and layout.js do with images: the same as OpenCV does for their twins in Python.

/** @import { Ink } from "./types.js" */

/** @typedef {{ left: number, top: number, right: number, bottom: number, area: number }} Piece */

/**
 * @param {Ink} image
 * @returns {Ink} rows and columns exchanged
 */
export function transpose({ width, height, pixels }) {
  const turned = new Uint8Array(pixels.length);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) turned[x * height + y] = pixels[at];
  }
  return { width: height, height: width, pixels: turned };
}

/**
 * Picks the largest or the smallest value of the square around each pixel, as far as it lies in the image.
 *
 * @template {Uint8Array | Float64Array} Values
 * @param {Values} values row by row
 * @param {number} width
 * @param {number} reach pixels to either side
 * @param {"max" | "min"} which
 * @returns {Values}
 */
export function pickAround(values, width, reach, which) {
  const height = values.length / width;
  const isMax = which === "max";
  const across = /** @type {Values} */ (values.slice());
  const both = /** @type {Values} */ (values.slice());
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const last = at - x + Math.min(width - 1, x + reach);
      let best = values[at];
      for (let near = at - Math.min(x, reach); near <= last; near++) {
        if (isMax ? values[near] > best : values[near] < best) best = values[near];
      }
      across[at] = best;
    }
  }
  for (let y = 0, at = 0; y < height; y++) {
    const [above, below] = [Math.min(y, reach), Math.min(height - 1 - y, reach)];
    for (let x = 0; x < width; x++, at++) {
      let best = across[at];
      for (let near = at - above * width; near <= at + below * width; near += width) {
        if (isMax ? across[near] > best : across[near] < best) best = across[near];
      }
      both[at] = best;
    }
  }
  return both;
}

/**
 * Averages the square around each pixel; beyond its borders the image goes on with the border's values.
 *
 * @param {Uint8Array | Float64Array} values row by row
 * @param {number} width
 * @param {number} reach pixels to either side
 * @returns {Float64Array}
 */
export function blur(values, width, reach) {
  const height = values.length / width;
  const across = new Float64Array(values.length);
  const both = new Float64Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const x = at % width;
    for (let near = x - reach; near <= x + reach; near++) {
      across[at] += values[at - x + Math.min(Math.max(near, 0), width - 1)];
    }
  }
  for (let at = 0; at < values.length; at++) {
    const [x, y] = [at % width, Math.floor(at / width)];
    for (let near = y - reach; near <= y + reach; near++) {
      both[at] += across[Math.min(Math.max(near, 0), height - 1) * width + x];
    }
    both[at] /= (2 * reach + 1) ** 2;
  }
  return both;
}

/**
 * Finds the connected pieces of a mask.
 *
 * @param {Uint8Array} mask 0 or 1, row by row
 * @param {number} width
 * @param {boolean} diagonally whether pixels that touch at a corner are connected
 * @returns {{ labels: Int32Array, pieces: Piece[] }} of each pixel 1 + the index of its piece, or 0; and the pieces, in
 *   the order of their first pixels
 */
export function findConnected(mask, width, diagonally) {
  const height = mask.length / width;
  const labels = new Int32Array(mask.length);
  /** @type {Piece[]} */
  const pieces = [];
  /** @type {number[]} */
  const waiting = [];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || labels[first]) continue;
    const piece = { left: width, top: height, right: 0, bottom: 0, area: 0 };
    pieces.push(piece);
    labels[first] = pieces.length;
    waiting.push(first);
    while (waiting.length) {
      const at = /** @type {number} */ (waiting.pop());
      const [x, y] = [at % width, Math.floor(at / width)];
      piece.left = Math.min(piece.left, x);
      piece.right = Math.max(piece.right, x + 1);
      piece.top = Math.min(piece.top, y);
      piece.bottom = Math.max(piece.bottom, y + 1);
      piece.area++;
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const near = row * width + column;
          if (!mask[near] || labels[near] || !(diagonally || row === y || column === x)) continue;
          labels[near] = pieces.length;
          waiting.push(near);
        }
      }
    }
  }
  return { labels, pieces };
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number} the mean of the two middle ones where their number is even, else the middle one
 */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number} the middle one; of an even number the lower of the two
 */
export function lowerOfMiddle(values) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

/**
 * @param {number} value
 * @returns {number} the nearest whole number; of two the even one
 */
export function roundToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

/**
 * @param {number} value
 * @param {number} min
 * @param {number} max
 */
export function clamp(value, min, max) {
  return Math.min(Math.max(value, min), max);
}
