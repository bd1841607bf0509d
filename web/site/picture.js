// A picture from elsewhere, of any size, dark on light or light on dark, to grey ink that is bright on dark paper.
// The rule is the one of kanjinet/pictures.py.

import { lowerMedian } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const LONGEST_SIDE = 1024; // pixels: larger pictures are made smaller first
const LEAST_INK = 16; // of 255: what stands out from the paper by less is no ink

/**
 * @param {Blob} file any format that the browser reads
 * @returns {Promise<{ canvas: HTMLCanvasElement, ink: Ink }>} the picture on white paper, and its ink
 * @throws {DOMException} it is no picture, or one that the browser does not read
 */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { width, height, data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { canvas, ink: { width, height, pixels: makeInkBright(toGrey(data), width, height) } };
}

/**
 * @param {Uint8ClampedArray} colours red, green, blue, opaque; four bytes a pixel
 * @returns {Uint8Array} luma (ITU-R 601), a byte a pixel
 */
export function toGrey(colours) {
  const grey = new Uint8Array(colours.length / 4);
  for (let pixel = 0, at = 0; pixel < grey.length; pixel++, at += 4) {
    grey[pixel] = (19595 * colours[at] + 38470 * colours[at + 1] + 7471 * colours[at + 2] + 32768) >> 16;
  }
  return grey;
}

/**
 * Invert a grey picture whose border is lighter than the middle between its darkest and its lightest pixel.
 *
 * @param {Uint8Array} grey row by row
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} ink bright on dark paper
 */
export function makeInkBright(grey, width, height) {
  const border = grey.filter((_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    return row === 0 || row === height - 1 || column === 0 || column === width - 1;
  });
  const darkest = grey.reduce((least, value) => Math.min(least, value), 255);
  const lightest = grey.reduce((most, value) => Math.max(most, value), 0);
  return lowerMedian(border) > (darkest + lightest) / 2 ? grey.map((value) => 255 - value) : grey;
}

/**
 * @param {Ink} ink
 * @returns {boolean} whether something stands out from the paper
 */
export function hasInk({ pixels }) {
  return pixels.reduce((most, value) => Math.max(most, value), 0) - lowerMedian(pixels) >= LEAST_INK;
}
