// Reads an image of any size as gray.

import { MIN_INK, toGray } from "./gray.js";
import { maxOf } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const MAX_SIDE = 1024; // pixels; larger images are scaled down

/**
 * @param {Blob | ImageData} file of any format that the browser reads, or its pixels
 * @returns {Promise<{ canvas: HTMLCanvasElement, gray: Ink, scale: number }>} the image on white paper, or on black, and
 *   how much smaller it is
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
  return { canvas, gray: { width, height, pixels: gray }, scale };
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
