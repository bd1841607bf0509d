// Rasterizes strokes for the network, independently of the screen and of the drawing's size.

/** @import { Ink, Stroke } from "./types.js" */

const LONGER_SIDE = 160; // pixels: three for each that the network sees
// Of the character's longer side. A stroke of ETL9G is 3.7 pixels wide where a kanji is 82 pixels high.
const PEN_WIDTH = 0.045;
const MIN_EXTENT = 0.04; // of the paper's side: smaller drawings are not enlarged further, so that a dot stays a dot

/**
 * Draws strokes with a round pen.
 *
 * @param {Stroke[]} strokes
 * @returns {Ink} the strokes with a margin of paper all round
 */
export function rasterize(strokes) {
  const xs = strokes.flatMap((stroke) => stroke.filter((_, index) => index % 2 === 0));
  const ys = strokes.flatMap((stroke) => stroke.filter((_, index) => index % 2 === 1));
  const [left, right] = findRange(xs);
  const [top, bottom] = findRange(ys);
  const scale = LONGER_SIDE / Math.max(right - left, bottom - top, MIN_EXTENT);
  const radius = (PEN_WIDTH * LONGER_SIDE) / 2;
  // More paper than ink, whatever is drawn: what most of an image consists of is taken for its paper.
  const margin = Math.ceil(LONGER_SIDE / 4);
  const width = Math.ceil((right - left) * scale) + 2 * margin;
  const height = Math.ceil((bottom - top) * scale) + 2 * margin;
  const ink = { width, height, pixels: new Uint8Array(width * height) };
  for (const stroke of strokes) {
    const way = stroke.map((value, index) => (value - (index % 2 ? top : left)) * scale + margin);
    for (let from = 0; from < way.length; from += 2) {
      const to = Math.min(from + 2, way.length - 2); // a stroke of one point is a dot
      drawLine(ink, way[from], way[from + 1], way[to], way[to + 1], radius);
    }
  }
  return ink;
}

/**
 * @param {number[]} values at least one
 * @returns {[number, number]} the minimum and the maximum
 */
function findRange(values) {
  let [min, max] = [values[0], values[0]];
  for (const value of values) {
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  return [min, max];
}

/**
 * Covers what is nearer than the radius to a straight line, with edges one pixel soft.
 *
 * @param {Ink} ink
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 * @param {number} radius pixels
 */
function drawLine({ width, height, pixels }, x0, y0, x1, y1, radius) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const squaredLength = dx * dx + dy * dy || 1;
  const reach = radius + 1;
  const firstX = Math.max(0, Math.floor(Math.min(x0, x1) - reach));
  const lastX = Math.min(width - 1, Math.ceil(Math.max(x0, x1) + reach));
  const firstY = Math.max(0, Math.floor(Math.min(y0, y1) - reach));
  const lastY = Math.min(height - 1, Math.ceil(Math.max(y0, y1) + reach));
  for (let row = firstY; row <= lastY; row++) {
    for (let column = firstX; column <= lastX; column++) {
      const [x, y] = [column + 0.5 - x0, row + 0.5 - y0]; // of the pixel's center
      const along = Math.min(1, Math.max(0, (x * dx + y * dy) / squaredLength));
      const distance = Math.hypot(x - along * dx, y - along * dy);
      const cover = Math.round(255 * Math.min(1, Math.max(0, radius + 0.5 - distance)));
      const at = row * width + column;
      if (cover > pixels[at]) pixels[at] = cover;
    }
  }
}
