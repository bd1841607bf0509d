// Runs the network in onnxruntime-web, in a thread of its own, so that drawing never stutters.

import "./memory.js"; // before the runtime, which reserves memory as it loads
import * as ort from "./onnxruntime.js";
import { makeError } from "./failure.js";
import { serve } from "./worker.js";

/** @import { Network } from "./types.js" */

serve(new URL("./ort-wasm-simd-threaded.wasm", import.meta.url), start);

/**
 * @param {ArrayBuffer} model
 * @param {ArrayBuffer} program
 * @param {number} size of the images that the network takes, pixels a side
 * @returns {Promise<Network>}
 */
async function start(model, program, size) {
  ort.env.wasm.wasmBinary = program; // which works with any type that a server gives the file
  ort.env.wasm.numThreads = 1; // one image is too little work for several
  ort.env.logLevel = "error";
  const session = await createSession(model);
  return async (seen) => {
    const input = new ort.Tensor("float32", Float32Array.from(seen, (value) => value / 255), [1, 1, size, size]);
    const outputs = await session.run({ [session.inputNames[0]]: input });
    return softmax(/** @type {Float32Array} */ (outputs[session.outputNames[0]].data));
  };
}

/** @param {ArrayBuffer} model */
async function createSession(model) {
  try {
    return await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    if (/RangeError|memory allocation|out of memory|allocate|OOM/i.test(detail)) throw makeError("memory", detail);
    if (/SIMD/.test(detail)) throw makeError("webassembly", detail);
    throw makeError(/backend|wasm/i.test(detail) ? "runtime" : "model", detail);
  }
}

/**
 * @param {Float32Array} logits
 * @returns {Float32Array} probabilities that sum to 1
 */
function softmax(logits) {
  const max = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - max));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((power) => power / sum);
}
