// Reads gray images and strokes in tract.wasm: node read_in_wasm.mjs READER TRACT_WASM MODEL < inputs.json > found.json

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [reader, program, model] = process.argv.slice(2);
const [{ startTract }, { preprocess }, { rasterize }] = await Promise.all(
  ["tract.js", "preprocess.js", "rasterize.js"].map((name) => import(new URL(name, pathToFileURL(`${reader}/`)))),
);
const readBytes = (path) => Uint8Array.from(readFileSync(path)).buffer;
const encode = (array) => Buffer.from(array.buffer).toString("base64");
const tract = await startTract(readBytes(model), readBytes(program));
const { images, drawings } = JSON.parse(readFileSync(0, "utf8"));

const readings = images.map(([width, height, text]) => {
  const reading = tract.readGray({ width, height, pixels: Buffer.from(text, "base64") });
  return reading && [encode(reading.seen), encode(reading.probabilities)];
});
let apart = 0; // at most, between what the program makes of strokes and what the page does
for (const strokes of drawings) {
  const { seen, probabilities } = tract.readStrokes(strokes);
  const own = preprocess(rasterize(strokes), Math.sqrt(seen.length));
  own.forEach((value, at) => (apart = Math.max(apart, Math.abs(value - seen[at]))));
  const again = await tract.run(seen);
  if (again.some((value, at) => value !== probabilities[at])) throw new Error("two runs differ");
}
const complaints = [];
for (const fail of [() => tract.readStrokes([[0, NaN]]), () => tract.run(new Uint8Array(5))]) {
  try {
    await fail();
  } catch (error) {
    complaints.push(error.message);
  }
}
const imports = WebAssembly.Module.imports(new WebAssembly.Module(readBytes(program)));
console.log(JSON.stringify({ readings, apart, blank: tract.readStrokes([]), complaints, imports }));
