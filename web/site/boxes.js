// The characters found in an image, as buttons that lie on it.

/** @import { Ink, Prediction } from "./types.js" */
/** @import { Texts } from "./languages.js" */

/**
 * Shows a button for each of several characters; those that are there already stay, and with them the keyboard's focus.
 *
 * @param {HTMLElement} sheet a square, in whose middle the image lies
 * @param {Prediction["characters"]} characters
 * @param {Ink} image
 * @param {object} settings
 * @param {number | null} settings.tapped whose candidates are shown; null for the first one's
 * @param {string[]} settings.firsts the most probable character of each
 * @param {Texts} settings.texts
 * @param {(index: number) => void} settings.choose
 */
export function showBoxes(sheet, characters, { width, height }, { tapped, firsts, texts, choose }) {
  const side = Math.max(width, height);
  const boxes = characters.flatMap(({ box }) => (box && characters.length > 1 ? [box] : []));
  while (sheet.children.length > boxes.length) sheet.lastElementChild?.remove();
  boxes.forEach(([left, top, right, bottom], index) => {
    if (index >= sheet.children.length) sheet.append(makeBox());
    const button = /** @type {HTMLButtonElement} */ (sheet.children[index]);
    const [x, y] = [left + (side - width) / 2, top + (side - height) / 2];
    [button.style.left, button.style.top] = [x, y].map((place) => `${(100 * place) / side}%`);
    [button.style.width, button.style.height] = [right - left, bottom - top].map((length) => `${(100 * length) / side}%`);
    button.ariaLabel = texts.box(index + 1, firsts[index]);
    button.ariaPressed = String(index === (tapped ?? 0));
    button.onclick = () => choose(index);
  });
}

/** @returns {HTMLButtonElement} */
function makeBox() {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "box";
  return button;
}
