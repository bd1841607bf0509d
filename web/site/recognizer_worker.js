// Runs the network in a thread of its own, so that drawing never stutters.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { PREPROCESSING, preprocess } from "./preprocess.js";
import { rasterize } from "./rasterize.js";

/** @import { Failure, Mapping, Message, ReadRequest } from "./types.js" */

const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const FOLDER = new URL("./", import.meta.url).href;

const loading = load().catch((error) => {
  send({ kind: "failed", failure: error.cause ?? "runtime", detail: String(error.message ?? error) });
});

worker.addEventListener("message", async (event) => {
  /** @type {ReadRequest} */
  const request = event.data;
  const network = await loading;
  if (!network) return;
  const start = performance.now();
  const seen = preprocess(request.ink ?? rasterize(request.strokes), network.size);
  const probabilities = await network.read(seen);
  const prediction = { probabilities, seen, elapsedMs: performance.now() - start };
  send({ kind: "prediction", id: request.id, prediction });
});

/** @param {Message} message */
function send(message) {
  worker.postMessage(message);
}

/** Loads mapping and model, and runs the network once, so that the first drawing does not wait. */
async function load() {
  const [mapping, model] = await Promise.all([
    fetchFile("mapping", "mapping.json", (response) => /** @type {Promise<Mapping>} */ (response.json())),
    fetchFile("model", "model.onnx", (response) => response.arrayBuffer()),
  ]);
  const { image_size: size, preprocessing } = mapping.model_info;
  if (preprocessing !== PREPROCESSING) throw makeError("preprocessing", `${preprocessing}, not ${PREPROCESSING}`);
  ort.env.wasm.wasmPaths = { wasm: `${FOLDER}ort-wasm-simd-threaded.wasm` };
  ort.env.wasm.numThreads = 1; // one image is too little work for several
  ort.env.logLevel = "error";
  const session = await createSession(model);
  const network = {
    size,
    /** @param {Uint8Array} seen */
    async read(seen) {
      const input = new ort.Tensor("float32", Float32Array.from(seen, (value) => value / 255), [1, 1, size, size]);
      const outputs = await session.run({ [session.inputNames[0]]: input });
      return softmax(/** @type {Float32Array} */ (outputs[session.outputNames[0]].data));
    },
  };
  await network.read(new Uint8Array(size * size));
  send({ kind: "ready", mapping });
  return network;
}

/** @param {ArrayBuffer} model */
async function createSession(model) {
  try {
    return await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    // the runtime's own files are the only thing that it fetches
    const detail = error instanceof Error ? error.message : String(error);
    throw makeError(/backend|wasm/i.test(detail) ? "runtime" : "model", detail);
  }
}

/**
 * @template T
 * @param {Failure} failure reported when the file cannot be fetched or read
 * @param {string} name
 * @param {(response: Response) => Promise<T>} read
 */
async function fetchFile(failure, name, read) {
  let problem;
  try {
    const response = await fetch(FOLDER + name);
    if (response.ok) return await read(response);
    problem = `HTTP ${response.status}`;
  } catch (error) {
    problem = error;
  }
  throw makeError(failure, `${name}: ${problem}`);
}

/**
 * @param {Failure} failure
 * @param {string} detail for developers
 */
function makeError(failure, detail) {
  return new Error(detail, { cause: failure });
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
