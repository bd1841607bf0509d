// Draws strokes on a canvas and shows what the reader makes of them.

import { load } from "kanji-reader";

const canvas = document.querySelector("#paper");
const pen = canvas.getContext("2d");
const candidates = document.querySelector("#candidates");
const engine = new URLSearchParams(location.search).get("engine") ?? "auto";
let strokes = [];

const reader = await load({ model: "model.onnx", mapping: "model_mapping.json", engine });
candidates.textContent = `ready: ${reader.engine}`;
pen.lineWidth = 8;
pen.lineCap = "round";

canvas.addEventListener("pointerdown", (event) => strokes.push(locate(event)));
canvas.addEventListener("pointermove", (event) => {
  if (!event.buttons || !strokes.length) return;
  const stroke = strokes.at(-1);
  const [fromX, fromY] = stroke.slice(-2);
  stroke.push(...locate(event));
  pen.beginPath();
  pen.moveTo(fromX * canvas.width, fromY * canvas.height);
  pen.lineTo(event.offsetX, event.offsetY);
  pen.stroke();
});
canvas.addEventListener("pointerup", async () => {
  const { characters } = await reader.read(strokes);
  candidates.textContent = characters[0].candidates.map(({ character }) => character).join(" ");
});
document.querySelector("#clear").addEventListener("click", () => {
  strokes = [];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  candidates.textContent = "";
});

/** Where an event is on the paper, as fractions of its side. */
function locate(event) {
  return [event.offsetX / canvas.width, event.offsetY / canvas.height];
}

window.reader = reader; // to try it in the browser's console
