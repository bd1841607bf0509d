// The most probable characters, and how they are told apart.

import { maxOf } from "./preprocess.js";

/** @import { Candidate, Character, Mapping } from "./types.js" */

const SHOWN = 10;
const SCRIPTS = ["kanji", "kana", "hiragana", "katakana", "digits", "latin"];

/**
 * @param {Float32Array} probabilities of each class
 * @param {Mapping} mapping
 * @param {number | null} strokeCount only characters with this many strokes; null for all
 * @param {string} [script] only characters of a script, one of SCRIPTS; empty for all
 * @returns {Candidate[]} at most ten, the most probable first; characters that cannot be told apart follow each other
 */
export function rank(probabilities, mapping, strokeCount, script = "") {
  const allowed = restrict(probabilities, mapping, script);
  const { groups, totals } = sumTwins(allowed, mapping);
  return Array.from(allowed, (probability, index) => ({ ...mapping.characters[index], probability, index }))
    .filter((each) => isOf(each, script) && (strokeCount === null || each.stroke_count === strokeCount))
    .sort(
      (one, other) =>
        totals[groups[other.index]] - totals[groups[one.index]] ||
        groups[one.index] - groups[other.index] ||
        other.probability - one.probability,
    )
    .slice(0, SHOWN)
    .map(({ index: _, ...candidate }) => candidate);
}

/**
 * The probabilities if only a script's characters are allowed: the softmax over these alone gives their fractions.
 *
 * @param {Float32Array} probabilities
 * @param {Mapping} mapping
 * @param {string} script empty for all
 * @returns {Float32Array} 0 for the others
 */
function restrict(probabilities, mapping, script) {
  if (!script) return probabilities;
  const allowed = probabilities.map((each, index) => (isOf(mapping.characters[index], script) ? each : 0));
  const sum = allowed.reduce((total, each) => total + each, 0);
  return sum > 0 ? allowed.map((each) => each / sum) : allowed;
}

/**
 * @param {Character} character
 * @param {string} script one of SCRIPTS; empty for any
 */
function isOf({ jis_code: code }, script) {
  const row = code.slice(0, 2);
  const isKatakana = row === "25" || code === "213C"; // ー
  if (script === "hiragana") return row === "24";
  if (script === "katakana") return isKatakana;
  if (script === "kana") return row === "24" || isKatakana;
  if (script === "digits") return row === "23" && code < "2340";
  if (script === "latin") return row === "23" && code > "2340";
  return script !== "kanji" || !(["23", "24"].includes(row) || isKatakana);
}

/**
 * @param {Mapping} mapping
 * @returns {string[]} the scripts to which candidates can be restricted: without those of none or all of the
 * characters, and without kana where there are no katakana
 */
export function listScripts(mapping) {
  const characters = Object.values(mapping.characters);
  const count = (/** @type {string} */ script) => characters.filter((each) => isOf(each, script)).length;
  return SCRIPTS.filter(
    (script) => ![0, characters.length].includes(count(script)) && (script !== "kana" || count("katakana") > 0),
  );
}

/** @type {WeakMap<Mapping, number[]>} */
const knownGroups = new WeakMap();

/**
 * @param {Mapping} mapping
 * @returns {number[]} for each class, the first class of those that cannot be told from it
 */
function findTwins(mapping) {
  let groups = knownGroups.get(mapping);
  if (!groups) {
    const characters = Object.keys(mapping.characters).map((_, index) => mapping.characters[index].character);
    groups = characters.map((_, index) => index);
    for (const twins of mapping.model_info.twins ?? []) {
      const members = characters.flatMap((character, index) => (twins.includes(character) ? [index] : []));
      for (const index of members) groups[index] = members[0];
    }
    knownGroups.set(mapping, groups);
  }
  return groups;
}

/**
 * @param {Float32Array} probabilities
 * @param {Mapping} mapping
 * @returns {{ groups: number[], totals: Float32Array }} the group of each class, and the probability of all of each group
 */
function sumTwins(probabilities, mapping) {
  const groups = findTwins(mapping);
  const totals = new Float32Array(probabilities.length);
  probabilities.forEach((each, index) => (totals[groups[index]] += each));
  return { groups, totals };
}

/**
 * @param {{ probabilities: Float32Array }} reading
 * @param {Mapping} mapping
 * @returns {number} the largest probability of a character, together with those that cannot be told from it
 */
export function confidenceOf({ probabilities }, mapping) {
  return maxOf(sumTwins(probabilities, mapping).totals);
}

/**
 * @param {{ probabilities: Float32Array }} reading
 * @param {Mapping} mapping
 * @param {string} script empty for any
 * @returns {string} the most probable character
 */
export function firstOf({ probabilities }, mapping, script) {
  const allowed = restrict(probabilities, mapping, script);
  const { groups, totals } = sumTwins(allowed, mapping);
  const group = totals.indexOf(maxOf(totals));
  const best = allowed.map((each, index) => (groups[index] === group ? each : -1));
  return mapping.characters[best.indexOf(maxOf(best))].character;
}
