// The candidates as buttons.

/** @import { Candidate } from "./types.js" */
/** @import { Texts } from "./languages.js" */

/**
 * @param {number} probability 0-1
 * @returns {string} such as "98.3 %"; what is not certain is never shown as 100 %
 */
export function formatPercent(probability) {
  const percent = probability * 100;
  if (percent < 0.05) return "< 0.1 %";
  return `${Math.min(percent, 99.9).toFixed(1)} %`;
}

/**
 * Show candidates as buttons; those that are there already stay, and with them the keyboard's focus.
 *
 * @param {HTMLElement} list
 * @param {Candidate[]} candidates
 * @param {Texts} texts
 * @param {(character: string) => void} choose
 */
export function showCandidates(list, candidates, texts, choose) {
  while (list.children.length > candidates.length) list.lastElementChild?.remove();
  candidates.forEach((candidate, index) => {
    if (index >= list.children.length) list.append(makeCandidate());
    const button = /** @type {HTMLButtonElement} */ (list.children[index].firstElementChild);
    const parts = [
      candidate.character,
      formatPercent(candidate.probability),
      `${texts.jis} ${candidate.jis_code}`,
      texts.strokes(candidate.stroke_count),
    ];
    parts.forEach((text, part) => (button.children[part].textContent = text));
    button.style.setProperty("--probability", String(candidate.probability));
    button.value = candidate.character;
    button.onclick = () => choose(candidate.character);
  });
}

/** @returns {HTMLLIElement} */
function makeCandidate() {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "candidate";
  for (const name of ["character", "probability", "code", "count"]) {
    const part = document.createElement("span");
    part.className = name;
    if (name === "character") part.lang = "ja"; // or else a browser may show the Chinese shape of a kanji
    button.append(part);
  }
  item.append(button);
  return item;
}
