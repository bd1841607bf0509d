// The most probable characters.

/** @import { Candidate, Mapping } from "./types.js" */

const SHOWN = 10;

/**
 * @param {Float32Array} probabilities of each class
 * @param {Mapping} mapping
 * @param {number | null} strokeCount only characters with this many strokes; null for all
 * @returns {Candidate[]} at most ten, the most probable first
 */
export function rank(probabilities, mapping, strokeCount) {
  return Array.from(probabilities, (probability, index) => ({ ...mapping.characters[index], probability }))
    .filter((candidate) => strokeCount === null || candidate.stroke_count === strokeCount)
    .sort((one, other) => other.probability - one.probability)
    .slice(0, SHOWN);
}
