// Reads gray images in tract.wasm: node read_in_wasm.mjs TRACT_JS TRACT_WASM MODEL < images.json > results.json

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [script, program, model] = process.argv.slice(2);
const { startTract } = await import(pathToFileURL(script));
const readBytes = (path) => Uint8Array.from(readFileSync(path)).buffer;
const network = await startTract(readBytes(model), readBytes(program));
const results = [];
for (const [width, height, text] of JSON.parse(readFileSync(0, "utf8"))) {
  const found = await network.read({ strokes: [], ink: { width, height, pixels: Buffer.from(text, "base64") } });
  results.push(found && [Buffer.from(found.seen).toString("base64"), Buffer.from(found.probabilities.buffer).toString("base64")]);
}
console.log(JSON.stringify({ results, imports: WebAssembly.Module.imports(new WebAssembly.Module(readBytes(program))) }));
