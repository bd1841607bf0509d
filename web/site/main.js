// The page: sends what is drawn to the recognizer and shows its predictions.

import { showBoxes } from "./boxes.js";
import { formatPercent, showCandidates } from "./candidates.js";
import { Drawing, decodeDataUrl } from "./drawing.js";
import { ENGINE } from "./engine.js";
import { hasInk } from "./gray.js";
import { LANGUAGES, chooseLanguage, rememberLanguage } from "./languages.js";
import { readImage } from "./image.js";
import { confidenceOf, firstOf, listScripts, rank } from "./rank.js";
import { Recognizer } from "./recognizer.js";
import { useStorage } from "./storage.js";

/** @import { Engine, Mapping, Prediction, Progress, Stroke } from "./types.js" */
/** @import { PageFailure, Texts } from "./languages.js" */
/** @import { Model } from "./recognizer.js" */

/**
 * @template {HTMLElement} Kind
 * @template {string} Id
 * @param {new () => Kind} kind
 * @param {Id[]} ids
 * @returns {Record<Id, Kind>} the elements of these ids
 */
function find(kind, ...ids) {
  const elements = ids.map((id) => {
    const element = document.getElementById(id);
    if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} with the id ${id}`);
    return [id, element];
  });
  return Object.fromEntries(elements);
}

const page = {
  ...find(HTMLElement, "sheet", "boxes", "progress", "candidates", "none", "unlike", "status", "model", "license"),
  ...find(HTMLElement, "failure", "failureText", "failureDetail"),
  ...find(HTMLButtonElement, "undo", "clear", "chooseImage", "language", "retry"),
  ...find(HTMLInputElement, "imageFile"),
  ...find(HTMLSelectElement, "strokeFilter", "script", "characters"),
  ...find(HTMLCanvasElement, "paper", "seen"),
};

const LONG_MS = 30_000; // to load
const KEPT_DRAWING = "drawing"; // key in the browser's storage for this tab
const KEPT_CHARACTERS = "characters"; // the same in its lasting storage, where it is not the page's first set

let language = chooseLanguage();
/** @type {Mapping | null} */
let mapping = null;
/** @type {Model[]} that can be chosen */
let offered = [];
/** The name of the character set that is loaded, or is being loaded. */
let chosen = useStorage("localStorage", (storage) => storage.getItem(KEPT_CHARACTERS)) ?? "";
/** @type {Prediction | null} for what is on the paper */
let prediction = null;
/** @type {number | null} which of several characters was tapped */
let tapped = null;
/** @type {{ failure: PageFailure, detail: string } | null} */
let failed = null;
/** The status line's text. @type {(texts: Texts) => string} */
let say = (texts) => texts.loading;

const drawing = new Drawing(page.paper, readDrawing);
const listeners = { listed, loading, ready, failed: fail, predicted };
let recognizer = new Recognizer(chosen, listeners, ENGINE);
let slowness = setTimeout(warnOfSlowness, LONG_MS);

page.undo.addEventListener("click", () => drawing.undo());
page.paper.addEventListener("pointerdown", (event) => {
  if (event.button === 0) page.boxes.replaceChildren(); // a stroke takes the image's place
});
page.clear.addEventListener("click", clear);
page.chooseImage.addEventListener("click", () => page.imageFile.click());
page.retry.addEventListener("click", () => window.location.reload());
page.strokeFilter.addEventListener("change", showPrediction);
page.script.addEventListener("change", showPrediction);
page.characters.addEventListener("change", changeCharacters);
page.language.addEventListener("click", () => {
  language = language === "en" ? "ja" : "en";
  rememberLanguage(language);
  showLanguage();
});
page.imageFile.addEventListener("change", () => {
  layImage(page.imageFile.files);
  page.imageFile.value = ""; // so that the same file can be chosen again
});
document.addEventListener("keydown", pressKey);
document.addEventListener("paste", (event) => layImage(event.clipboardData?.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  page.sheet.classList.add("drop");
});
document.addEventListener("dragleave", (event) => {
  // it left the window, and not only one of its elements
  if (!event.relatedTarget) page.sheet.classList.remove("drop");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  page.sheet.classList.remove("drop");
  layImage(event.dataTransfer?.files);
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.show());
window.addEventListener("pagehide", keepDrawing);
document.addEventListener("visibilitychange", keepDrawing); // on a phone the last event before the page is ended
showLanguage();
readDrawing();
restoreDrawing();
document.dispatchEvent(new Event("started")); // start.js has nothing more to say

/**
 * @param {Model[]} models that can be chosen
 * @param {string} name of the one that is being loaded
 */
function listed(models, name) {
  offered = models;
  chosen = name;
  showMapping();
}

/** @param {Progress} progress */
function loading({ loaded, total }) {
  page.progress.style.setProperty("--loaded", String(loaded / total));
  page.progress.classList.toggle("counted", total > 0);
  const [done, all] = [loaded, total].map((bytes) => (bytes / 1e6).toFixed(0));
  const sentence = (/** @type {Texts} */ texts) => texts.loadingBytes(done, total > 0 ? all : null);
  if (page.status.textContent !== sentence(LANGUAGES[language])) announce(sentence);
}

/** Says that loading takes long, if it does; it goes on. */
function warnOfSlowness() {
  if (mapping || failed) return;
  failed = { failure: "slow", detail: "" };
  showFailure();
}

/**
 * @param {Mapping} found
 * @param {Engine} engine
 */
function ready(found, engine) {
  mapping = found;
  failed = null; // it was slow
  useStorage("localStorage", (storage) => {
    if (chosen === offered[0].name) storage.removeItem(KEPT_CHARACTERS);
    else storage.setItem(KEPT_CHARACTERS, chosen);
  });
  page.sheet.classList.remove("loading");
  announce((texts) => (drawing.isEmpty ? texts.ready : ""));
  showFailure();
  showMapping();
  // It caches every file, so that the page opens offline; only by HTTPS and from localhost is there one.
  navigator.serviceWorker?.register("service_worker.js", { updateViaCache: "none" });
  if (engine === "tract") navigator.serviceWorker?.ready.then(({ active }) => active?.postMessage("fell back"));
}

/** @param {Prediction} found */
function predicted(found) {
  prediction = found;
  tapped = null;
  page.candidates.ariaBusy = "false";
  showPrediction();
}

/** Reads what is on the paper. */
function readDrawing() {
  const { image, isEmpty, strokes } = drawing;
  page.undo.disabled = page.clear.disabled = isEmpty;
  page.sheet.classList.toggle("empty", isEmpty);
  page.candidates.ariaBusy = String(!isEmpty && !failed);
  page.boxes.replaceChildren();
  recognizer.read(isEmpty ? null : { gray: image?.gray, strokes });
  if (!isEmpty) return;
  if (prediction) announce((texts) => texts.cleared);
  prediction = null;
  showPrediction();
}

/** Loads the model of another character set, and reads the paper again. */
function changeCharacters() {
  recognizer.close();
  clearTimeout(slowness);
  chosen = page.characters.value;
  mapping = prediction = failed = null;
  page.script.value = "";
  page.sheet.classList.add("loading");
  page.progress.classList.remove("counted");
  announce((texts) => texts.loading);
  showFailure();
  recognizer = new Recognizer(chosen, listeners, ENGINE);
  slowness = setTimeout(warnOfSlowness, LONG_MS);
  readDrawing();
  showPrediction();
}

/** Starts over. */
function clear() {
  page.strokeFilter.value = "";
  drawing.clear();
}

/** Keeps what is on the paper for when the page is loaded again. */
function keepDrawing() {
  useStorage("sessionStorage", (storage) => storage.setItem(KEPT_DRAWING, drawing.save()));
}

async function restoreDrawing() {
  const kept = useStorage("sessionStorage", (storage) => storage.getItem(KEPT_DRAWING));
  /** @type {(Stroke | string)[]} */
  const items = JSON.parse(kept ?? "[]");
  for (const item of items) drawing.add(typeof item === "string" ? await readImage(decodeDataUrl(item)) : item);
}

/** Shows the boxes of several characters, and of one the candidates that pass the filter and what the network saw. */
function showPrediction() {
  const texts = LANGUAGES[language];
  const characters = prediction?.characters ?? [];
  const firsts = mapping ? characters.map((each) => firstOf(each, /** @type {Mapping} */ (mapping), page.script.value)) : [];
  const isRead = page.candidates.ariaBusy === "false"; // else the prediction is for what was there before
  if (drawing.image && isRead) showBoxes(page.boxes, characters, drawing.image.gray, { tapped, firsts, texts, choose: tap });
  const shown = characters[tapped ?? 0];
  const candidates = shown && mapping ? rank(shown.probabilities, mapping, chosenStrokeCount(), page.script.value) : [];
  showCandidates(page.candidates, candidates, texts, copy);
  const threshold = mapping?.model_info.rejection_threshold ?? 0; // models without one never say so
  const isUnlike = shown !== undefined && mapping !== null && confidenceOf(shown, mapping) < threshold;
  page.unlike.hidden = !isUnlike || !candidates.length;
  page.none.hidden = candidates.length > 0;
  page.none.textContent = shown ? texts.noneOfCount : texts.noneYet;
  page.seen.parentElement?.classList.toggle("empty", !shown);
  if (!prediction) return;
  if (!shown) return announce((words) => words.blankImage);
  showSeen(shown.seen);
  const { unsure, elapsedMs } = prediction;
  const [best] = candidates;
  const milliseconds = Math.max(1, Math.round(elapsedMs));
  if (unsure) announce((words) => words.unsure[unsure]);
  else if (characters.length > 1 && tapped === null) announce((words) => words.readSeveral(firsts, milliseconds));
  else if (best && isUnlike) announce((words) => words.unlike);
  else if (best) announce((words) => words.read(best.character, formatPercent(best.probability), milliseconds));
}

/** @param {number} index of several characters */
function tap(index) {
  tapped = index;
  showPrediction();
}

/** @returns {number | null} null for any */
function chosenStrokeCount() {
  if (page.strokeFilter.value === "drawn") return drawing.image ? null : drawing.strokes.length;
  return page.strokeFilter.value ? Number(page.strokeFilter.value) : null;
}

/** @param {Uint8Array} seen row by row */
function showSeen(seen) {
  const side = Math.sqrt(seen.length);
  const image = new ImageData(side, side);
  seen.forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
  page.seen.width = page.seen.height = side;
  page.seen.getContext("2d")?.putImageData(image, 0, 0);
}

/** @param {string} character */
async function copy(character) {
  // A page that comes neither by HTTPS nor from localhost has no clipboard.
  const copying = navigator.clipboard?.writeText(character) ?? Promise.reject();
  const isCopied = await copying.then(() => true).catch(() => copyTheOldWay(character));
  announce((texts) => (isCopied ? texts.copied(character) : texts.notCopied));
}

/** @param {string} text */
function copyTheOldWay(text) {
  const focused = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  field.style.cssText = "position: fixed; top: 0"; // so that the page does not scroll to it
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return isCopied;
}

/** @param {FileList | null | undefined} files of which the first is taken */
async function layImage(files) {
  const file = files?.[0];
  if (!file) return;
  try {
    const image = await readImage(file);
    if (hasInk(image.gray)) drawing.add(image);
    else announce((texts) => texts.blankImage);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    announce((texts) => texts.notAnImage);
  }
}

/** @param {KeyboardEvent} event */
function pressKey(event) {
  if (event.altKey || event.target instanceof HTMLSelectElement) return;
  const isCommand = event.ctrlKey || event.metaKey;
  const buttons = page.candidates.querySelectorAll("button");
  if (isCommand && event.key.toLowerCase() === "z") drawing.undo();
  else if (!isCommand && event.key === "Escape") clear();
  else if (!isCommand && /^[0-9]$/.test(event.key)) buttons[(Number(event.key) + 9) % 10]?.click();
  else return;
  event.preventDefault();
}

/**
 * @param {PageFailure} failure
 * @param {string} detail
 */
function fail(failure, detail) {
  failed = { failure, detail };
  page.sheet.classList.remove("loading");
  page.candidates.ariaBusy = "false";
  say = () => "";
  showFailure();
}

function showFailure() {
  const texts = LANGUAGES[language];
  page.status.textContent = say(texts);
  page.failure.hidden = !failed;
  if (!failed) return;
  page.failureText.textContent = texts.failures[failed.failure];
  page.failureDetail.textContent = failed.detail;
}

/** @param {(texts: Texts) => string} sentence */
function announce(sentence) {
  say = sentence;
  page.status.textContent = say(LANGUAGES[language]);
}

function showLanguage() {
  const texts = LANGUAGES[language];
  document.documentElement.lang = language;
  document.title = texts.title;
  for (const [name, text] of Object.entries(texts)) {
    for (const element of document.querySelectorAll(`[data-text=${name}]`)) element.textContent = String(text);
  }
  page.language.lang = language === "en" ? "ja" : "en";
  showMapping();
  showPrediction();
  showFailure();
}

/** Shows the model, and the filter's choices: any number, as many as drawn, and each that some character has. */
function showMapping() {
  const texts = LANGUAGES[language];
  const characters = Object.values(mapping?.characters ?? {});
  const counts = new Set(characters.map((character) => character.stroke_count));
  const filtered = page.strokeFilter.value;
  page.strokeFilter.replaceChildren(
    new Option(texts.anyCount, ""),
    new Option(texts.countAsDrawn, "drawn"),
    ...[...counts].sort((one, other) => one - other).map((count) => new Option(texts.strokes(count), String(count))),
  );
  page.strokeFilter.value = filtered;
  const scripts = mapping ? listScripts(mapping) : [];
  const allowed = page.script.value;
  page.script.replaceChildren(new Option(texts.anyScript, ""), ...scripts.map((each) => new Option(texts.scripts[each], each)));
  page.script.value = allowed;
  page.characters.replaceChildren(
    ...offered.map(({ name, characters: count }) => new Option(texts.characterSet(name, count), name)),
  );
  page.characters.value = chosen;
  page.characters.parentElement?.toggleAttribute("hidden", offered.length < 2);
  if (!mapping) return;
  const { model_file: file, image_size: size, license } = mapping.model_info;
  page.model.textContent = texts.model(file, size, characters.length);
  page.license.textContent = `${license}.`;
}
