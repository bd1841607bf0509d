// Turns colors into gray, and gray, dark on light or light on dark, into bright ink on dark paper, by the rule of
// kanjinet/data/image_files.py.

import { lowerMedian, maxOf } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

export const MIN_INK = 16; // of 255: an image with less holds no ink

/**
 * @param {Uint8ClampedArray} colors red, green, blue, opaque; four bytes a pixel
 * @returns {Uint8Array} luma (ITU-R 601), a byte a pixel
 */
export function toGray(colors) {
  const gray = new Uint8Array(colors.length / 4);
  for (let pixel = 0, at = 0; pixel < gray.length; pixel++, at += 4) {
    gray[pixel] = (19595 * colors[at] + 38470 * colors[at + 1] + 7471 * colors[at + 2] + 32768) >> 16;
  }
  return gray;
}

/**
 * Inverts a gray image whose border is lighter than the mean of its darkest and its lightest pixel.
 *
 * @param {Uint8Array} gray row by row
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} ink bright on dark paper
 */
export function makeInkBright(gray, width, height) {
  const border = gray.filter((_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    return row === 0 || row === height - 1 || column === 0 || column === width - 1;
  });
  const darkest = gray.reduce((min, value) => Math.min(min, value), 255);
  return lowerMedian(border) > (darkest + maxOf(gray)) / 2 ? gray.map((value) => 255 - value) : gray;
}

/**
 * @param {Ink} gray
 * @returns {boolean} whether something stands out from the paper
 */
export function hasInk({ width, height, pixels }) {
  const ink = makeInkBright(pixels, width, height);
  return maxOf(ink) - lowerMedian(ink) >= MIN_INK;
}
