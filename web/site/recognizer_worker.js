// Runs the network in a thread of its own, so that drawing never stutters.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { PREPROCESSING, preprocess } from "./preprocess.js";
import { rasterize } from "./rasterize.js";

/** @import { Failure, Mapping, Message, ReadRequest } from "./types.js" */

const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const FOLDER = new URL("./", import.meta.url).href;
const MAPPING = "mapping.json";
const MODEL = "model.onnx";
const RUNTIME = "ort-wasm-simd-threaded.wasm";

/** Something that the page needs could not be loaded. */
class LoadError extends Error {
  /**
   * @param {Failure} failure
   * @param {string} detail for developers
   */
  constructor(failure, detail) {
    super(detail);
    this.failure = failure;
  }
}

const loading = load().catch((error) => {
  const failure = error instanceof LoadError ? error.failure : "runtime";
  send({ kind: "failed", failure, detail: String(error.message ?? error) });
  return null;
});

worker.addEventListener("message", async (event) => {
  /** @type {ReadRequest} */
  const request = event.data;
  const network = await loading;
  if (!network) return;
  const start = performance.now();
  const seen = preprocess("ink" in request ? request.ink : rasterize(request.strokes), network.size);
  const probabilities = await network.read(seen);
  send({
    kind: "prediction",
    id: request.id,
    prediction: { probabilities, seen, elapsedMs: performance.now() - start },
  });
});

/** @param {Message} message */
function send(message) {
  worker.postMessage(message);
}

/** Loads mapping and model, and runs the network once, so that the first drawing does not wait. */
async function load() {
  const [mapping, model] = await Promise.all([fetchMapping(), fetchFile("model", MODEL)]);
  const { image_size: size, preprocessing } = mapping.model_info;
  if (preprocessing !== PREPROCESSING) throw new LoadError("preprocessing", `${preprocessing}, not ${PREPROCESSING}`);
  ort.env.wasm.wasmPaths = { wasm: FOLDER + RUNTIME };
  ort.env.wasm.numThreads = 1; // one image is too little work for several
  ort.env.logLevel = "error";
  const session = await createSession(new Uint8Array(await model.arrayBuffer()));
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

/** @param {Uint8Array} model */
async function createSession(model) {
  try {
    return await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    // the runtime's own files are the only thing that it fetches
    const detail = error instanceof Error ? error.message : String(error);
    throw new LoadError(/backend|wasm/i.test(detail) ? "runtime" : "model", detail);
  }
}

/** @returns {Promise<Mapping>} */
async function fetchMapping() {
  const response = await fetchFile("mapping", MAPPING);
  try {
    return await response.json();
  } catch (error) {
    throw new LoadError("mapping", `${MAPPING}: ${error}`);
  }
}

/**
 * @param {Failure} failure reported when the file cannot be fetched
 * @param {string} name
 */
async function fetchFile(failure, name) {
  let response;
  try {
    response = await fetch(FOLDER + name);
  } catch (error) {
    throw new LoadError(failure, `${name}: ${error}`);
  }
  if (!response.ok) throw new LoadError(failure, `${name}: HTTP ${response.status}`);
  return response;
}

/**
 * @param {Float32Array} logits
 * @returns {Float32Array} probabilities that sum to 1
 */
function softmax(logits) {
  const max = logits.reduce((one, other) => Math.max(one, other), -Infinity);
  const powers = logits.map((logit) => Math.exp(logit - max));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((power) => power / sum);
}
