// Which pieces of an image's ink are a character: the same, step by step, as kanjinet/evaluation/page.py.

import { MIN_INK, makeInkBright } from "./gray.js";
import { MAX_ALONG, cutOut, findPieces, findTextLines, groupBySquares, measureLonger, unite } from "./layout.js";
import { evenLight } from "./photographs.js";
import { maxOf, preprocess } from "./preprocess.js";
import { removeRuling } from "./rules.js";

/** @import { Ink, Prediction, Reading } from "./types.js" */
/** @import { Pieces, TextLine } from "./layout.js" */
/** @import { Ruling } from "./rules.js" */

const MAX_ASPECT = 3; // of a single character's box, or 1 / that, where its parts lie apart
const MAX_SIZES = 3.2; // of its largest piece's: the same
const SURE = 0.8; // of all ink together: then it is one character
const [COMPACT_ASPECT, COMPACT_SURE] = [1.4, 0.25]; // the same where the box is nearly a square
const MIN_ALIKE = 0.45; // of the largest one's longer side: characters of a word have no smaller ones
const EACH = 1.5; // what each character costs, in units of the negative logarithm of its probability
const LENGTHS = [0.5, 1.1]; // of the size of the line's characters: shorter and longer ones cost more
const [NARROW, LONG] = [4, 6]; // how much, on each size
const MIN_PROBABILITY = 1e-3;
const MAX_PIECES = 4000; // of ink: a page of 600 characters has 3,000

/**
 * @typedef {object} InkImage
 * @property {Ink} gray the image itself
 * @property {Pieces} pieces
 * @property {Ruling} ruling
 * @property {boolean} isPlain it shows nothing but ink on evenly lit paper
 */
/** @typedef {(group: number[]) => Promise<number>} Judge the probability of a group's best character, with its twins */

/**
 * Finds and reads the characters of a gray image.
 *
 * @param {Ink} gray
 * @param {number} size side of what the network sees
 * @param {(seen: Uint8Array) => Promise<Float32Array>} read returns the probability of each class
 * @param {(reading: Reading) => number} confidenceOf returns the largest probability, with those of twins
 * @returns {Promise<Pick<Prediction, "characters" | "unsure">>} in reading order
 */
export async function readPage(gray, size, read, confidenceOf) {
  const image = takeInk(gray);
  if (!image) return { characters: [], unsure: null };
  const { pieces, ruling } = image;
  /** @type {Map<string, Reading>} */
  const known = new Map();
  const readGroup = async (/** @type {number[]} */ group) => {
    const key = group.toSorted((one, other) => one - other).join();
    let reading = known.get(key);
    if (!reading) {
      const seen = prepare(image, size, group);
      reading = { seen, probabilities: await read(seen) };
      known.set(key, reading);
    }
    return reading;
  };
  const judge = async (/** @type {number[]} */ group) => confidenceOf(await readGroup(group));
  const isTooMany = pieces.boxes.length > MAX_PIECES;
  const groups = isTooMany
    ? [[...pieces.boxes.keys()]]
    : (groupBySquares(pieces, ruling) ?? (await chooseGroups(pieces, ruling, judge)));
  const characters = [];
  for (const group of groups) {
    characters.push({ ...(await readGroup(group)), box: unite(group.map((index) => pieces.boxes[index])) });
  }
  return { characters, unsure: isTooMany ? "pieces" : ruling.isUnsure ? "frame" : null };
}

/**
 * @param {Ink} gray
 * @returns {InkImage | null} null where no ink stands out
 */
function takeInk(gray) {
  const even = evenLight(gray);
  if (maxOf(even.ink.pixels) < MIN_INK) return null;
  const { ink, ruling } = removeRuling(even.ink);
  const pieces = findPieces(ink, ruling);
  return pieces.boxes.length ? { gray, pieces, ruling, isPlain: even.isEven && ink === even.ink } : null;
}

/**
 * @param {InkImage} image
 * @param {number} size
 * @param {number[]} group
 * @returns {Uint8Array} what the network sees of some pieces: all those of a plain image as they are
 */
function prepare({ gray, pieces, isPlain }, size, group) {
  if (!isPlain || group.length < pieces.boxes.length) return preprocess(cutOut(pieces, group), size);
  return preprocess({ ...gray, pixels: makeInkBright(gray.pixels, gray.width, gray.height) }, size);
}

/**
 * Chooses what of each line of text is a character: the way to divide it that the network finds most probable.
 *
 * @param {Pieces} pieces
 * @param {Ruling} ruling
 * @param {Judge} judge
 * @returns {Promise<number[][]>}
 */
async function chooseGroups(pieces, ruling, judge) {
  const everything = [...pieces.boxes.keys()];
  const [left, top, right, bottom] = unite(pieces.boxes);
  const aspect = (right - left) / (bottom - top);
  const largest = Math.max(...pieces.boxes.map(measureLonger));
  const isWithin = (/** @type {number} */ limit) => 1 / limit <= aspect && aspect <= limit;
  const isOneSize = Math.max(right - left, bottom - top) <= MAX_SIZES * largest && isWithin(MAX_ASPECT);
  if (everything.length === 1) return [everything];
  const enough = isWithin(COMPACT_ASPECT) ? COMPACT_SURE : SURE;
  if (isOneSize && (await judge(everything)) >= enough) return [everything];
  const groups = [];
  for (const line of findTextLines(pieces, ruling)) groups.push(...(await divideLine(line, judge)));
  const sides = groups.map((group) => measureLonger(unite(group.map((index) => pieces.boxes[index]))));
  return isOneSize && Math.min(...sides) < MIN_ALIKE * Math.max(...sides) ? [everything] : groups;
}

/**
 * Finds the cheapest way to divide a line's groups.
 *
 * @param {TextLine} line
 * @param {Judge} judge
 * @returns {Promise<number[][]>}
 */
async function divideLine(line, judge) {
  const { groups, starts, ends, size } = line;
  const best = [0, ...groups.map(() => Infinity)]; // of the first so many groups: what they cost
  const start = [0, ...groups.map(() => 0)]; // where the last character of them starts
  for (let first = 0; first < groups.length; first++) {
    for (let last = first + 1; last <= groups.length; last++) {
      const length = ends[last - 1] - starts[first];
      if (last > first + 1 && Math.max(...ends.slice(first, last)) - starts[first] > MAX_ALONG * size) break;
      const chosen = groups.slice(first, last).flat();
      const probability = isSettled(line, first, last) ? 1 : await judge(chosen);
      const cost = weigh(length / size, probability);
      if (best[first] + cost < best[last]) [best[last], start[last]] = [best[first] + cost, first];
    }
  }
  const divided = [];
  for (let last = groups.length; last; last = start[last]) divided.unshift(groups.slice(start[last], last).flat());
  return divided;
}

/**
 * @param {number} length of the size of the line's characters
 * @param {number} probability
 * @returns {number} what it costs to take neighbors in a line for a character
 */
function weigh(length, probability) {
  const cost = EACH - Math.log(Math.max(MIN_PROBABILITY, probability));
  return cost + LONG * Math.max(0, length - LENGTHS[1]) + NARROW * Math.max(0, LENGTHS[0] - length);
}

/**
 * @param {TextLine} line
 * @param {number} first
 * @param {number} last
 * @returns {boolean} whether a group of pieces is too far from both neighbors to be a character with one of them
 */
function isSettled({ groups, starts, ends, size }, first, last) {
  if (last > first + 1) return false;
  const isFarBefore = first === 0 || ends[first] - starts[first - 1] > MAX_ALONG * size;
  return isFarBefore && (last === groups.length || ends[last] - starts[first] > MAX_ALONG * size);
}
