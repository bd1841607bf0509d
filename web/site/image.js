// Turns an image of any size, dark on light or light on dark, into bright ink on dark paper, by the rule of
// kanjinet/data/image_files.py.

import { lowerMedian, maxOf } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const MAX_SIDE = 1024; // pixels; larger images are scaled down
const MIN_INK = 16; // of 255: an image with less holds no ink

/**
 * @param {Blob} file any format that the browser reads
 * @returns {Promise<{ canvas: HTMLCanvasElement, ink: Ink }>} the image on white paper, or on black, and its ink
 * @throws {DOMException} it is no image, or one that the browser does not read
 */
export async function readImage(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const { width, height } = canvas;
  let gray = drawGray(canvas, bitmap, "white");
  if (maxOf(gray) - gray.reduce((min, value) => Math.min(min, value), 255) < MIN_INK) {
    gray = drawGray(canvas, bitmap, "black"); // white ink on no paper
  }
  bitmap.close();
  return { canvas, ink: { width, height, pixels: makeInkBright(gray, width, height) } };
}

/**
 * @param {HTMLCanvasElement} canvas drawn over
 * @param {ImageBitmap} bitmap
 * @param {string} paper the color behind what is transparent
 * @returns {Uint8Array} as `toGray`
 */
function drawGray(canvas, bitmap, paper) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return toGray(context.getImageData(0, 0, canvas.width, canvas.height).data);
}

/**
 * @param {string} url such as a canvas gives; fetching it is forbidden to the page
 * @returns {Blob}
 */
export function decodeDataUrl(url) {
  return new Blob([Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0))]);
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
 * @param {Ink} ink
 * @returns {boolean} whether something stands out from the paper
 */
export function hasInk({ pixels }) {
  return maxOf(pixels) - lowerMedian(pixels) >= MIN_INK;
}
