// What the workers of both engines share: they load files, then read what they are asked to.

import { makeError } from "./failure.js";
import { readPage } from "./page.js";
import { PREPROCESSING, preprocess } from "./preprocess.js";
import { confidenceOf } from "./rank.js";
import { rasterize } from "./rasterize.js";

/** @import { Failure, Input, LoadRequest, Mapping, Message, Network, Prediction, ReadRequest } from "./types.js" */
/** @import { Reading, Stroke } from "./types.js" */

const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));

let loaded = 0; // bytes of the model and the runtime
/** @type {number[]} bytes of each, once it is known; NaN: the server does not tell */
const sizes = [];

/**
 * Loads a model and reads what the page asks for.
 *
 * @param {URL} runtime where the engine's program is
 * @param {(model: ArrayBuffer, program: ArrayBuffer, size: number) => Promise<Network>} start
 */
export function serve(runtime, start) {
  /** @type {(input: Input) => ReturnType<typeof readPage>} */
  let read;
  worker.addEventListener("message", ({ data }) => {
    if ("model" in data) load(data).catch(reportFailure);
    else respond(data);
  });

  /** @param {LoadRequest} request */
  async function load({ model, mapping }) {
    const [table, content, program] = await Promise.all([
      fetchFile("mapping", mapping, (response) => /** @type {Promise<Mapping>} */ (response.json())),
      fetchFile("model", model, readBytes),
      fetchFile("runtime", runtime.href, readBytes),
    ]);
    const { image_size: size, preprocessing } = table.model_info;
    if (preprocessing !== PREPROCESSING) throw makeError("preprocessing", `${preprocessing}, not ${PREPROCESSING}`);
    const network = await start(content, program, size);
    const judge = (/** @type {Reading} */ reading) => confidenceOf(reading, table);
    read = ({ gray, strokes }) => (gray ? readPage(gray, size, network, judge) : readStrokes(strokes, size, network));
    await network(new Uint8Array(size * size)); // so that the first drawing does not wait
    send({ kind: "ready", mapping: table });
  }

  /** @param {ReadRequest} request */
  async function respond({ id, ...input }) {
    try {
      const start = performance.now();
      const found = await read(input);
      send({ kind: "prediction", id, prediction: { ...found, elapsedMs: performance.now() - start } });
    } catch (error) {
      send({ kind: "refused", id, detail: error instanceof Error ? error.message : String(error) });
    }
  }
}

/**
 * @param {Stroke[]} strokes of one character
 * @param {number} size side of what the network sees
 * @param {Network} network
 * @returns {Promise<Pick<Prediction, "characters" | "unsure">>}
 */
async function readStrokes(strokes, size, network) {
  const coordinates = strokes.flat();
  if (!coordinates.every(Number.isFinite)) throw new Error("a stroke has a coordinate that is no number");
  if (!coordinates.length) return { characters: [], unsure: null };
  const seen = preprocess(rasterize(strokes), size);
  return { characters: [{ seen, probabilities: await network(seen) }], unsure: null };
}

/** @param {any} error whose cause tells what failed */
function reportFailure(error) {
  send({ kind: "failed", failure: error.cause ?? "runtime", detail: String(error.message ?? error) });
}

/** @param {Message} message */
function send(message) {
  worker.postMessage(message);
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
 * @param {string | T} file its address, or what is in memory already
 * @param {(response: Response) => Promise<T>} read
 */
async function fetchFile(failure, file, read) {
  if (typeof file !== "string") return file;
  let problem;
  try {
    const response = await fetch(file, { cache: "no-cache" }); // a server need not say how long a file is good
    if (response.ok) return await read(response);
    problem = `HTTP ${response.status}`;
  } catch (error) {
    problem = error;
  }
  const name = file.slice(file.lastIndexOf("/") + 1);
  // fetch throws a TypeError where no response comes, or only the beginning of one
  throw makeError(problem instanceof TypeError ? "network" : failure, `${name}: ${problem}`);
}
