// Runs the network in a thread of its own, so that drawing never stutters.

import "./memory.js"; // before the runtime, which reserves memory as it loads
import * as ort from "./onnxruntime.js";
import { readPage } from "./page.js";
import { PREPROCESSING, preprocess } from "./preprocess.js";
import { rasterize } from "./rasterize.js";

/** @import { Failure, Mapping, Message, ReadRequest, Stroke } from "./types.js" */

const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const FOLDER = new URL("./", import.meta.url).href;

let loaded = 0; // bytes of the model and the runtime
/** @type {number[]} bytes of each, once it is known; NaN: the server does not tell */
const sizes = [];

const loading = load().catch((error) => {
  send({ kind: "failed", failure: error.cause ?? "runtime", detail: String(error.message ?? error) });
});

worker.addEventListener("message", async (event) => {
  /** @type {ReadRequest} */
  const request = event.data;
  const network = await loading;
  if (!network) return;
  const start = performance.now();
  const { gray, strokes } = request;
  const found = gray ? await readPage(gray, network.size, network.read) : await readStrokes(strokes, network);
  send({ kind: "prediction", id: request.id, prediction: { ...found, elapsedMs: performance.now() - start } });
});

/**
 * @param {Stroke[]} strokes of one character
 * @param {Awaited<ReturnType<typeof load>>} network
 */
async function readStrokes(strokes, network) {
  const seen = preprocess(rasterize(strokes), network.size);
  return { characters: [{ seen, probabilities: await network.read(seen) }], unsure: null };
}

/** @param {Message} message */
function send(message) {
  worker.postMessage(message);
}

/** Loads mapping and model, and runs the network once, so that the first drawing does not wait. */
async function load() {
  const [mapping, model, program] = await Promise.all([
    fetchFile("mapping", "mapping.json", (response) => /** @type {Promise<Mapping>} */ (response.json())),
    fetchFile("model", "model.bin", readBytes),
    fetchFile("runtime", "onnxruntime.wasm", readBytes),
  ]);
  const { image_size: size, preprocessing } = mapping.model_info;
  if (preprocessing !== PREPROCESSING) throw makeError("preprocessing", `${preprocessing}, not ${PREPROCESSING}`);
  ort.env.wasm.wasmBinary = program; // which works with any type that a server gives the file
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
    const detail = error instanceof Error ? error.message : String(error);
    if (/RangeError|memory allocation|out of memory|allocate|OOM/i.test(detail)) throw makeError("memory", detail);
    if (/SIMD/.test(detail)) throw makeError("webassembly", detail);
    throw makeError(/backend|wasm/i.test(detail) ? "runtime" : "model", detail);
  }
}

/**
 * Reads a file of some megabytes, and tells the page how much has come.
 *
 * @param {Response} response
 */
function readBytes(response) {
  // What is compressed on its way has a size that is not told.
  sizes.push(response.headers.has("Content-Encoding") ? NaN : Number(response.headers.get("Content-Length") ?? NaN));
  const counter = new TransformStream({
    transform(/** @type {Uint8Array} */ piece, out) {
      loaded += piece.length;
      send({ kind: "progress", loaded, total: sizes.length < 2 ? NaN : sizes[0] + sizes[1] });
      out.enqueue(piece);
    },
  });
  return new Response(response.body?.pipeThrough(counter)).arrayBuffer();
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
    const response = await fetch(FOLDER + name, { cache: "no-cache" }); // a server need not say how long a file is good
    if (response.ok) return await read(response);
    problem = `HTTP ${response.status}`;
  } catch (error) {
    problem = error;
  }
  // fetch throws a TypeError where no response comes, or only the beginning of one
  throw makeError(problem instanceof TypeError ? "network" : failure, `${name}: ${problem}`);
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
