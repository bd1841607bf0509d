// Rasterizes strokes for the network, independently of the screen and of the drawing's size.

/** @import { Ink, Stroke } from "./types.js" */

const LONGER_SIDE = 160; // pixels: three for each that the network sees
// Of the pen. A stroke of ETL9G is 3.7 pixels wide where a kanji is 82 pixels high.
const RADIUS = (0.045 * LONGER_SIDE) / 2;
// More paper than ink, whatever is drawn: what most of an image consists of is taken for its paper.
const MARGIN = Math.ceil(LONGER_SIDE / 4);
const MIN_EXTENT = 0.04; // of the paper's side: smaller drawings are not enlarged further, so that a dot stays a dot

/**
 * Draws strokes with a round pen.
 *
 * @param {Stroke[]} strokes
 * @returns {Ink} the strokes with a margin of paper all round
 */
export function rasterize(strokes) {
  const coordinates = strokes.flat();
  const xs = Float64Array.from(coordinates.filter((_, index) => index % 2 === 0)).sort();
  const ys = Float64Array.from(coordinates.filter((_, index) => index % 2 === 1)).sort();
  const [left, right] = [xs[0], xs[xs.length - 1]];
  const [top, bottom] = [ys[0], ys[ys.length - 1]];
  const scale = LONGER_SIDE / Math.max(right - left, bottom - top, MIN_EXTENT);
  const width = Math.ceil((right - left) * scale) + 2 * MARGIN;
  const height = Math.ceil((bottom - top) * scale) + 2 * MARGIN;
  const ink = { width, height, pixels: new Uint8Array(width * height) };
  for (const stroke of strokes) {
    const way = stroke.map((value, index) => (value - (index % 2 ? top : left)) * scale + MARGIN);
    for (let at = 0; at < way.length; at += 2) drawLine(ink, way.slice(at, at + 4));
  }
  return ink;
}

/**
 * Covers what is nearer than the radius to a straight line, with edges one pixel soft.
 *
 * @param {Ink} ink
 * @param {number[]} ends x and y of both, or of one: a dot
 */
function drawLine({ width, pixels }, [x0, y0, x1 = x0, y1 = y0]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const squaredLength = dx * dx + dy * dy || 1;
  const reach = RADIUS + 1; // less than the margin, so that all of it lies in the image
  const firstX = Math.floor(Math.min(x0, x1) - reach);
  const lastX = Math.ceil(Math.max(x0, x1) + reach);
  const firstY = Math.floor(Math.min(y0, y1) - reach);
  const lastY = Math.ceil(Math.max(y0, y1) + reach);
  for (let row = firstY; row <= lastY; row++) {
    for (let column = firstX; column <= lastX; column++) {
      const [x, y] = [column + 0.5 - x0, row + 0.5 - y0]; // of the pixel's center
      const along = Math.min(1, Math.max(0, (x * dx + y * dy) / squaredLength));
      const distance = Math.hypot(x - along * dx, y - along * dy);
      const cover = Math.round(255 * Math.min(1, Math.max(0, RADIUS + 0.5 - distance)));
      const at = row * width + column;
      if (cover > pixels[at]) pixels[at] = cover;
    }
  }
}
