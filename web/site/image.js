// An image from elsewhere, of any size, dark on light or light on dark, to gray ink that is bright on dark paper.
// The rule is the one of kanjinet/data/image_files.py.

import { lowerMedian } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const LONGEST_SIDE = 1024; // pixels: larger images are made smaller first
const LEAST_INK = 16; // of 255: what stands out from the paper by less is no ink

/**
 * @param {Blob} file any format that the browser reads
 * @returns {Promise<{ canvas: HTMLCanvasElement, ink: Ink }>} the image on white paper, and its ink
 * @throws {DOMException} it is no image, or one that the browser does not read
 */
export async function readImage(file) {
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
  return { canvas, ink: { width, height, pixels: makeInkBright(toGray(data), width, height) } };
}

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
 * Invert a gray image whose border is lighter than the middle between its darkest and its lightest pixel.
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
  const darkest = gray.reduce((least, value) => Math.min(least, value), 255);
  const lightest = gray.reduce((most, value) => Math.max(most, value), 0);
  return lowerMedian(border) > (darkest + lightest) / 2 ? gray.map((value) => 255 - value) : gray;
}

/**
 * @param {Ink} ink
 * @returns {boolean} whether something stands out from the paper
 */
export function hasInk({ pixels }) {
  return pixels.reduce((most, value) => Math.max(most, value), 0) - lowerMedian(pixels) >= LEAST_INK;
}
