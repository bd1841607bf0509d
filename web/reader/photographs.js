// Removes what photographs show beside the ink of a page: the same, step by step, as kanjinet/data/photographs.py.

import { blur, clamp, findConnected, median, pickAround, roundToEven } from "./grid.js";
import { makeInkBright } from "./gray.js";
import { lowerMedian, maxOf } from "./preprocess.js";

/** @import { Ink } from "./types.js" */

const COARSE_SIDE = 128; // blocks along the longer side, for what varies slowly: the light, a desk
const LIGHT_REACH = 13; // blocks: ink is narrower than twice that
const LIGHT_DIVISOR = 11; // of the darkest ink: light that is nowhere further from the paper's is even
const SMOOTH_REACH = 2; // blocks over which the light is averaged to either side
const [MIN_PAPER, MAX_PAPER] = [0.15, 0.99]; // of the image that a sheet on a desk covers
const MIN_PAPER_SOLIDITY = 0.88; // of the sheet's outline that is light
const MIN_CONVEXITY = 0.94; // of the sheet's convex hull that it fills; light ink on dark paper does not
const MAX_DESK_BRIGHTNESS = 0.55; // of the paper's
const MIN_EDGE_SHARPNESS = 0.7; // of the step from paper to desk that lies within two blocks to either side,
const SHARP_QUANTILE = 0.25; // nearly everywhere: a shadow's edge is soft where no strokes cross it
const MAX_INK_BRIGHTNESS = 0.85; // of the paper's: darker blocks are ink on a sheet
const MIN_DESK_WIDTH = 2; // times the width of that ink's strokes
const PAPER_MARGIN = 2; // blocks at the sheet's edge that are left out

/**
 * Evens out the light of a gray image and leaves out the desk around its paper.
 *
 * @param {Ink} gray
 * @returns {{ ink: Ink, isEven: boolean }} ink on paper of 0, and whether only the paper had to be subtracted
 */
export function evenLight(gray) {
  const { width, height, pixels } = gray;
  const factor = Math.ceil(Math.max(width, height) / COARSE_SIDE);
  const coarse = reduce(gray, factor);
  const sheet = findPaper(coarse);
  if (sheet) return { ink: divideByLight(gray, factor, sheet), isEven: false };
  const ink = makeInkBright(pixels, width, height);
  const paper = lowerMedian(ink);
  const plain = ink.map((value) => Math.max(0, value - paper));
  const peak = maxOf(plain);
  const inverted = reduce({ width, height, pixels: ink }, factor);
  inverted.pixels = inverted.pixels.map((value) => 255 - value);
  const light = leaveBorder(estimateLight(inverted), inverted);
  const level = 255 - paper;
  if (light.every((value) => Math.abs(value - level) * LIGHT_DIVISOR <= peak)) {
    return { ink: { width, height, pixels: plain }, isEven: true };
  }
  const dark = hasDarkInk(coarse) ? gray : { width, height, pixels: pixels.map((value) => 255 - value) };
  return { ink: divideByLight(dark, factor, null), isEven: false };
}

/**
 * Averages blocks of factor x factor pixels; what is left over at the right and below is left out.
 *
 * @param {Ink} image
 * @param {number} factor
 * @returns {Ink}
 */
export function reduce(image, factor) {
  if (factor === 1) return image;
  const [width, height] = [image.width, image.height].map((length) => Math.max(1, Math.floor(length / factor)));
  const sums = new Uint32Array(width * height);
  const [across, down] = [Math.min(factor, image.width), Math.min(factor, image.height)];
  for (let y = 0; y < height * down; y++) {
    const row = Math.floor(y / down) * width;
    for (let x = 0; x < width * across; x++) sums[row + Math.floor(x / across)] += image.pixels[y * image.width + x];
  }
  const round = factor === 2 ? Math.round : roundToEven; // as OpenCV does with halves
  return { width, height, pixels: Uint8Array.from(sums, (sum) => round(sum / (across * down))) };
}

/**
 * Finds a light sheet on a dark desk in a coarse image: the largest light piece, nearly convex, with a sharp edge.
 *
 * @param {Ink} coarse
 * @returns {Uint8Array | null} 1 on the sheet; null where there is none
 */
function findPaper({ width, height, pixels }) {
  const threshold = findThreshold(pixels);
  const light = pixels.map((value) => Number(value > threshold));
  const { labels, pieces } = findConnected(light, width, false);
  if (!pieces.length) return null;
  const largest = pieces.reduce((best, piece, at) => (piece.area > pieces[best].area ? at : best), 0);
  const isLight = Uint8Array.from(labels, (label) => Number(label === largest + 1));
  const sheet = fillBetween(isLight, width, height);
  const covered = sum(sheet);
  const fraction = covered / pixels.length;
  if (fraction < MIN_PAPER || fraction > MAX_PAPER || sum(isLight) < MIN_PAPER_SOLIDITY * covered) return null;
  if (covered < MIN_CONVEXITY * measureHull(sheet, width, height)) return null;
  const brightness = mean(pixels, (at) => isLight[at] === 1);
  const desk = mean(pixels, (at) => !sheet[at]);
  const inner = erode(sheet, width, height, 1);
  const edge = [...sheet.keys()].filter((at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    return sheet[at] && !inner[at] && x > 0 && y > 0 && x < width - 1 && y < height - 1;
  });
  if (!edge.length || desk > MAX_DESK_BRIGHTNESS * brightness) return null;
  const brightest = pickAround(pixels, width, 2, "max");
  const darkest = pickAround(pixels, width, 2, "min");
  const steps = Int16Array.from(edge, (at) => brightest[at] - darkest[at]).sort();
  const step = steps[Math.floor(SHARP_QUANTILE * (steps.length - 1))];
  const dark = light.map((isLit, at) => Number(!isLit && !sheet[at]));
  if (step < MIN_EDGE_SHARPNESS * (brightness - desk)) return null;
  return isWrittenOn(sheet, { width, height, pixels }, dark) ? erode(sheet, width, height, PAPER_MARGIN) : null;
}

/**
 * Otherwise what seems to be a desk may be strokes too: of a character that fills its image.
 *
 * @param {Uint8Array} sheet
 * @param {Ink} coarse
 * @param {Uint8Array} desk
 * @returns {boolean} whether a sheet shows ink, apart from what is around it, whose strokes are much narrower than the
 *   desk
 */
function isWrittenOn(sheet, coarse, desk) {
  const { width, height, pixels } = coarse;
  const light = estimateLight(leavePaper(coarse, sheet));
  const dark = pixels.map((value, at) => Number(!sheet[at] || value < MAX_INK_BRIGHTNESS * light[at]));
  const { labels } = findConnected(dark, width, true);
  const around = new Set(labels.filter((_, at) => !sheet[at]));
  const ink = dark.map((isDark, at) => Number(isDark && !around.has(labels[at])));
  if (!ink.includes(1)) return false;
  return measureReach(desk, width, height) > MIN_DESK_WIDTH * measureReach(ink, width, height);
}

/**
 * @param {Ink} coarse
 * @param {Uint8Array} sheet
 * @returns {Ink} with what is not of the sheet as bright as paper
 */
function leavePaper({ width, height, pixels }, sheet) {
  const typical = Math.trunc(median(pixels.filter((_, at) => sheet[at])));
  return { width, height, pixels: pixels.map((value, at) => (sheet[at] ? value : typical)) };
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @returns {number} how often a pixel can be taken off its edges until nothing is left: half of its width
 */
function measureReach(mask, width, height) {
  let reach = 0;
  for (let left = mask; left.includes(1); left = erode(left, width, height, 1)) reach++;
  return reach;
}

/**
 * @param {Uint8Array} values
 * @returns {number} Otsu's threshold: the best of what is not larger from what is
 */
function findThreshold(values) {
  const fractions = new Float64Array(256);
  for (const value of values) fractions[value] += 1 / values.length;
  const mean = fractions.reduce((total, fraction, value) => total + fraction * value, 0);
  let [best, threshold, below, belowSum] = [0, 0, 0, 0];
  for (let value = 0; value < 256; value++) {
    below += fractions[value];
    belowSum += fractions[value] * value;
    if (Math.min(below, 1 - below) < 1e-7) continue;
    const spread = below * (1 - below) * (belowSum / below - (mean - belowSum) / (1 - below)) ** 2;
    if (spread > best * (1 + 1e-12)) [best, threshold] = [spread, value];
  }
  return threshold;
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} with what lies between its pixels both in its row and in its column
 */
function fillBetween(mask, width, height) {
  const [left, right] = [new Int32Array(height).fill(width), new Int32Array(height).fill(-1)];
  const [top, bottom] = [new Int32Array(width).fill(height), new Int32Array(width).fill(-1)];
  mask.forEach((isSet, at) => {
    if (!isSet) return;
    const [x, y] = [at % width, Math.floor(at / width)];
    [left[y], right[y]] = [Math.min(left[y], x), Math.max(right[y], x)];
    [top[x], bottom[x]] = [Math.min(top[x], y), Math.max(bottom[x], y)];
  });
  return mask.map((_, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    return Number(left[y] <= x && x <= right[y] && top[x] <= y && y <= bottom[x]);
  });
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @returns {number} the area of the convex hull of its pixels
 */
function measureHull(mask, width, height) {
  const [left, right] = [-1, 1].map((side) => {
    /** @type {[x: number, y: number][]} */
    const chain = []; // the hull on this side
    for (let y = 0; y < height; y++) {
      const row = mask.subarray(y * width, (y + 1) * width);
      const x = side < 0 ? row.indexOf(1) : row.lastIndexOf(1) + 1;
      if (!row.includes(1)) continue;
      for (const corner of [y, y + 1]) {
        while (chain.length > 1) {
          const [[x0, y0], [x1, y1]] = chain.slice(-2);
          if (((x1 - x0) * (corner - y0) - (x - x0) * (y1 - y0)) * side > 0) break;
          chain.pop();
        }
        chain.push([x, corner]);
      }
    }
    return chain.slice(1).reduce((sum, [x, y], at) => sum + ((x + chain[at][0]) / 2) * (y - chain[at][1]), 0);
  });
  return right - left;
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {number} reach pixels that are taken off its edges, at the image's border too
 * @returns {Uint8Array}
 */
function erode(mask, width, height, reach) {
  const inner = pickAround(mask, width, reach, "min");
  return inner.map((isSet, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    const isInside = x >= reach && y >= reach && x < width - reach && y < height - reach;
    return isInside ? isSet : 0;
  });
}

/**
 * Estimates how bright the paper is behind dark ink: the image closed, then smoothed. Beyond the border the image goes
 * on as a slope of light would.
 *
 * @param {Ink} coarse
 * @returns {Float64Array}
 */
function estimateLight({ width, height, pixels }) {
  const reach = Math.min(LIGHT_REACH, Math.min(width, height) - 1);
  if (reach < 1) return Float64Array.from(pixels);
  const wideWidth = width + 2 * reach;
  const wide = new Float64Array(wideWidth * (height + 2 * reach));
  const at = (/** @type {number} */ x, /** @type {number} */ y) => (y + reach) * wideWidth + x + reach;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) wide[at(x, y)] = pixels[y * width + x];
    for (let step = 1; step <= reach; step++) {
      const [first, last] = [wide[at(x, 0)], wide[at(x, height - 1)]];
      wide[at(x, -step)] = Math.min(2 * first - wide[at(x, step)], first);
      wide[at(x, height - 1 + step)] = Math.min(2 * last - wide[at(x, height - 1 - step)], last);
    }
  }
  for (let y = -reach; y < height + reach; y++) {
    const [first, last] = [wide[at(0, y)], wide[at(width - 1, y)]];
    for (let step = 1; step <= reach; step++) {
      wide[at(-step, y)] = Math.min(2 * first - wide[at(step, y)], first);
      wide[at(width - 1 + step, y)] = Math.min(2 * last - wide[at(width - 1 - step, y)], last);
    }
  }
  const closed = pickAround(pickAround(wide, wideWidth, reach, "max"), wideWidth, reach, "min");
  const inner = Float64Array.from(pixels, (_, index) => closed[at(index % width, Math.floor(index / width))]);
  return blur(inner, width, SMOOTH_REACH);
}

/**
 * @param {Float64Array} light
 * @param {Ink} coarse
 * @returns {Float64Array} the light without its border, where it may be that of strokes which touch the border
 */
function leaveBorder(light, { width, height }) {
  const [columns, rows] = [width, height].map((length) =>
    Math.min(LIGHT_REACH + SMOOTH_REACH, Math.floor((length - 1) / 2)),
  );
  return light.filter((_, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    return x >= columns && x < width - columns && y >= rows && y < height - rows;
  });
}

/**
 * @param {Ink} coarse
 * @returns {boolean} whether what stands out most from the light around it is dark: most of the image is paper
 */
function hasDarkInk({ width, pixels }) {
  const around = blur(pixels, width, LIGHT_REACH);
  return pixels.reduce((total, value, at) => total + (value - around[at]) ** 3, 0) < 0;
}

/**
 * @param {Ink} gray dark ink
 * @param {number} factor pixels to a block
 * @param {Uint8Array | null} sheet where the coarse image shows paper; null for everywhere
 * @returns {Ink} on paper of any brightness: 255 x the fraction of the light that it takes
 */
function divideByLight(gray, factor, sheet) {
  const reduced = reduce(gray, factor);
  const coarse = sheet ? leavePaper(reduced, sheet) : reduced;
  const light = estimateLight(coarse);
  const columns = placeBlocks(gray.width, coarse.width, factor);
  const rows = placeBlocks(gray.height, coarse.height, factor);
  const pixels = new Uint8Array(gray.pixels.length);
  for (let y = 0, at = 0; y < gray.height; y++) {
    const [above, below, down] = rows[y];
    for (let x = 0; x < gray.width; x++, at++) {
      const [left, right, across] = columns[x];
      const [a, b] = [above * coarse.width + left, above * coarse.width + right];
      const [c, d] = [below * coarse.width + left, below * coarse.width + right];
      if (sheet && !(sheet[a] && (sheet[b] || !across) && (sheet[c] || !down) && (sheet[d] || !across || !down))) continue;
      const upper = light[a] + across * (light[b] - light[a]);
      const lower = light[c] + across * (light[d] - light[c]);
      const here = upper + down * (lower - upper);
      pixels[at] = (Math.max(here - gray.pixels[at], 0) * 255) / Math.max(here, 1) + 0.5;
    }
  }
  return { width: gray.width, height: gray.height, pixels };
}

/**
 * @param {number} length pixels
 * @param {number} blocks
 * @param {number} factor pixels to a block
 * @returns {[number, number, number][]} of each pixel the blocks between whose middles it lies, and how far beyond the
 *   first one's
 */
function placeBlocks(length, blocks, factor) {
  return Array.from({ length }, (_, pixel) => {
    const place = clamp((pixel + 0.5) / factor - 0.5, 0, blocks - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, blocks - 1), place - first];
  });
}

/** @param {Uint8Array} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * @param {Uint8Array} values
 * @param {(at: number) => boolean} isChosen
 */
function mean(values, isChosen) {
  const chosen = values.filter((_, at) => isChosen(at));
  return sum(chosen) / chosen.length;
}
