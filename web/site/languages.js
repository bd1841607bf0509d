// The page's texts, in each of its languages.

import { useStorage } from "./storage.js";

/** @import { Doubt, Failure } from "./types.js" */

/** @typedef {typeof ENGLISH} Texts */
/** @typedef {"en" | "ja"} Language */
/** @typedef {Failure | "slow"} PageFailure for each of which the page says what to do */

const SHOWN = 30; // characters of a page in the status line

const ENGLISH = {
  title: "Kanji reader",
  lead: "Draw one character: it is read on this device and goes nowhere.",
  otherLanguage: "日本語",
  paper: "Paper to draw on",
  boxes: "Characters in the image",
  start: "Draw a character here",
  startImage: "or drop or paste an image",
  drop: "Drop the image here",
  undo: "Undo",
  clear: "Clear",
  chooseImage: "Image",
  candidates: "Candidates",
  strokeFilter: "Strokes",
  anyCount: "any number",
  characterSets: "Reads",
  /** @type {(name: string, count: number) => string} */
  characterSet: (name, count) =>
    name === "japanese" ? `also katakana, digits, rare kanji (${count.toLocaleString("en")})` : `kanji, hiragana (${count.toLocaleString("en")})`,
  script: "Script",
  anyScript: "all",
  /** @type {Record<string, string>} */
  scripts: { kanji: "kanji", kana: "kana", hiragana: "hiragana", katakana: "katakana", digits: "digits", latin: "Latin letters" },
  countAsDrawn: "as drawn",
  seen: "What the network sees",
  keys: "Ctrl+Z undoes, Esc clears, 1 to 9 and 0 copy a candidate, Ctrl+V pastes an image.",
  loading: "Loading the reader …",
  /** @type {(loaded: string, total: string | null) => string} */
  loadingBytes: (loaded, total) => `Loading the reader … ${total ? `${loaded} of ${total} MB` : `${loaded} MB`}`,
  ready: "Ready",
  cleared: "The paper is empty",
  copyHint: "Click a candidate to copy it",
  notCopied: "The browser did not let the character be copied",
  notAnImage: "The browser cannot read this file as an image",
  blankImage: "Nothing stands out in this image",
  noneYet: "The ten likeliest characters appear here as you draw.",
  unlike: "Perhaps none of the characters that it knows. The nearest:",
  noneOfCount: "None of the characters has this number of strokes.",
  retry: "Try again",
  jis: "JIS",
  /** @type {(count: number) => string} */
  strokes: (count) => (count === 1 ? "1 stroke" : `${count} strokes`),
  /** @type {(character: string) => string} */
  copied: (character) => `Copied ${character}`,
  /** @type {(character: string, percent: string, milliseconds: number) => string} */
  read: (character, percent, milliseconds) => `${character}, ${percent}, read in ${milliseconds} ms`,
  /** @type {(firsts: string[], milliseconds: number) => string} */
  readSeveral: (firsts, milliseconds) =>
    `${shorten(firsts)}: ${firsts.length} characters, read in ${milliseconds} ms. Choose one in the image for its candidates.`,
  /** @type {(place: number, first: string) => string} */
  box: (place, first) => `Character ${place}: ${first}`,
  /** @type {Record<Doubt, string>} */
  unsure: {
    frame: "Unsure: the lines around may be a printed frame or strokes.",
    pieces: "Unsure: there are more pieces of ink than a page of characters has.",
  },
  /** @type {(model: string, size: number, characters: number) => string} */
  model: (model, size, characters) => `${model} · ${size} × ${size} pixels · ${characters.toLocaleString("en")} characters`,
  /** @type {Record<PageFailure, string>} */
  failures: {
    webassembly: "This browser has no WebAssembly, or an old one, and the reader needs it: allow it, or use a newer browser.",
    memory: "The browser has too little memory for the reader: close other tabs or apps, then try again.",
    network: "The network failed while the reader was loading: check the connection, then try again.",
    slow: "Loading takes long, and goes on. If nothing more comes, check the connection, then try again.",
    runtime: "The program that runs the network could not be loaded: run serve_web.py again, then reload this page.",
    mapping: "The table of characters could not be loaded: run serve_web.py again, then reload this page.",
    model: "The model could not be loaded: run serve_web.py again, with an ONNX file of this toolkit, then reload this page.",
    preprocessing: "The model was trained on images made in another way than this page makes them: use another model.",
  },
};

/** @type {Texts} */
const JAPANESE = {
  title: "漢字リーダー",
  lead: "文字をひとつ書いてください。認識はこの端末の中だけで行われます。",
  otherLanguage: "English",
  paper: "文字を書く紙",
  boxes: "画像の中の文字",
  start: "ここに文字を書く",
  startImage: "画像のドロップや貼り付けもできます",
  drop: "ここに画像をドロップ",
  undo: "一画戻す",
  clear: "消す",
  chooseImage: "画像",
  candidates: "候補",
  strokeFilter: "画数",
  anyCount: "すべて",
  characterSets: "文字",
  characterSet: (name, count) =>
    name === "japanese" ? `カタカナ・数字・難しい漢字も（${count.toLocaleString("ja")}字）` : `漢字とひらがな（${count.toLocaleString("ja")}字）`,
  script: "種類",
  anyScript: "すべて",
  scripts: { kanji: "漢字", kana: "かな", hiragana: "ひらがな", katakana: "カタカナ", digits: "数字", latin: "英字" },
  countAsDrawn: "書いた画数",
  seen: "ネットワークが見た画像",
  keys: "Ctrl+Z で一画戻す、Esc で消す、1〜9 と 0 で候補をコピー、Ctrl+V で画像を貼り付け。",
  loading: "読み込み中…",
  loadingBytes: (loaded, total) => `読み込み中… ${total ? `${loaded} / ${total} MB` : `${loaded} MB`}`,
  ready: "準備ができました",
  cleared: "紙は白紙です",
  copyHint: "候補をクリックするとコピーします",
  notCopied: "ブラウザーがコピーを許可しませんでした",
  notAnImage: "ブラウザーで読み込めない画像です",
  blankImage: "この画像には文字が見当たりません",
  noneYet: "書くと、ここに候補が十字まで出ます。",
  unlike: "知らない文字かもしれません。近い文字：",
  noneOfCount: "この画数の文字はありません。",
  retry: "もう一度試す",
  jis: "JIS",
  strokes: (count) => `${count}画`,
  copied: (character) => `「${character}」をコピーしました`,
  read: (character, percent, milliseconds) => `${character}、${percent}、${milliseconds}ミリ秒で認識`,
  readSeveral: (firsts, milliseconds) =>
    `${shorten(firsts)}：${firsts.length}文字、${milliseconds}ミリ秒で認識。画像の中の文字を選ぶと候補が出ます。`,
  box: (place, first) => `${place}字目：${first}`,
  unsure: {
    frame: "まわりの線が、印刷された枠か文字の画か、見分けられません。",
    pieces: "文字のページにしては、線や点が多すぎます。",
  },
  model: (model, size, characters) => `${model} · ${size}×${size} ピクセル · ${characters.toLocaleString("ja")} 文字`,
  failures: {
    webassembly: "このブラウザーでは WebAssembly が使えないか、古すぎます。許可するか、新しいブラウザーを使ってください。",
    memory: "メモリーが足りません。ほかのタブやアプリを閉じてから、もう一度試してください。",
    network: "読み込み中に通信が途切れました。接続を確かめてから、もう一度試してください。",
    slow: "読み込みに時間がかかっています。このまま続きますが、進まないときは接続を確かめてから、もう一度試してください。",
    runtime: "ネットワークを動かすプログラムを読み込めません。serve_web.py を実行し直してから、再読み込みしてください。",
    mapping: "文字の表を読み込めません。serve_web.py を実行し直してから、再読み込みしてください。",
    model: "モデルを読み込めません。このツールキットの ONNX ファイルで serve_web.py を実行し直してから、再読み込みしてください。",
    preprocessing: "このモデルの学習に使われた画像は、このページとは別の方法で作られています。別のモデルを使ってください。",
  },
};

/** @type {Record<Language, Texts>} */
export const LANGUAGES = { en: ENGLISH, ja: JAPANESE };

/** @param {string[]} characters */
function shorten(characters) {
  return characters.slice(0, SHOWN).join("") + (characters.length > SHOWN ? "…" : "");
}

const REMEMBERED = "language"; // key in the browser's storage

/** @returns {Language} the one chosen earlier, else the browser's own where the page speaks it */
export function chooseLanguage() {
  const remembered = useStorage("localStorage", (storage) => storage.getItem(REMEMBERED));
  if (remembered === "en" || remembered === "ja") return remembered;
  return navigator.language.toLowerCase().startsWith("ja") ? "ja" : "en";
}

/** @param {Language} language */
export function rememberLanguage(language) {
  useStorage("localStorage", (storage) => storage.setItem(REMEMBERED, language));
}
