// Packs the page's recognizer with both engines: npm run pack writes kanji-reader-VERSION.tgz into this folder.

import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = dirname(fileURLToPath(import.meta.url));
const OUT = process.argv[2] ?? WEB; // where the package goes
const PACKAGE = join(OUT, "package");
const RUNTIME = join(WEB, "node_modules/onnxruntime-web/dist");
const TARGET = process.env.CARGO_TARGET_DIR ?? join(WEB, "../examples/rust/target");
const TRACT = [join(WEB, "tract.wasm"), join(TARGET, "wasm32-unknown-unknown/wasm/kanji_reader.wasm")].find(existsSync);

if (!TRACT) fail("tract.wasm is not there: run cargo wasm in examples/rust, or download it into web/");
if (!existsSync(RUNTIME)) fail("onnxruntime-web is not there: run npm ci in web/");
rmSync(PACKAGE, { recursive: true, force: true });
cpSync(join(WEB, "reader"), PACKAGE, { recursive: true });
rmSync(join(PACKAGE, "onnxruntime.d.ts")); // the worker's alone
copyFileSync(join(WEB, "../LICENSE"), join(PACKAGE, "LICENSE"));
copyFileSync(TRACT, join(PACKAGE, "tract.wasm"));
const runtime = readFileSync(join(RUNTIME, "ort.wasm.bundle.min.mjs"), "utf8");
writeFileSync(join(PACKAGE, "onnxruntime.js"), runtime.replace(/^\/\/# sourceMappingURL=.*/m, "")); // its map is not packed
copyFileSync(join(RUNTIME, "ort-wasm-simd-threaded.wasm"), join(PACKAGE, "ort-wasm-simd-threaded.wasm"));
const types = ["--declaration", "--emitDeclarationOnly", "--noEmit", "false", "--outDir", PACKAGE];
execFileSync(process.execPath, [join(WEB, "node_modules/typescript/bin/tsc"), "-p", join(WEB, "tsconfig.types.json"), ...types]);
console.log(execFileSync("npm", ["pack", PACKAGE, "--pack-destination", OUT, "--silent"], { encoding: "utf8", shell: process.platform === "win32" }).trim());

/** @param {string} message */
function fail(message) {
  console.error(message);
  process.exit(1);
}
