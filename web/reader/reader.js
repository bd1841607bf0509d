// Loads a model of the toolkit in a thread of its own, and reads strokes and images with it.

import { readImage } from "./image.js";
import { confidenceOf, rank } from "./rank.js";

/** @import { Box, Engine, Failure, Ink, Input, LoadOptions, Mapping, Message, Prediction } from "./types.js" */
/** @import { ReadRequest, Result, Stroke } from "./types.js" */

export { confidenceOf, rank };

/** What keeps onnxruntime from starting, and may not keep tract, which takes less memory and imports nothing. */
const ENGINE_FAILURES = ["runtime", "memory", "webassembly"];

/** Thrown by `load`; `failure` tells what failed. */
export class LoadError extends Error {
  name = "LoadError";

  /**
   * @param {Failure} failure
   * @param {string} detail for developers
   */
  constructor(failure, detail) {
    super(detail);
    this.failure = failure;
  }
}

/**
 * Loads a model and its mapping.
 *
 * @param {LoadOptions} options
 * @returns {Promise<Reader>}
 * @throws {LoadError}
 */
export async function load({ engine = "auto", ...files }) {
  if (typeof WebAssembly === "undefined") throw new LoadError("webassembly", "WebAssembly is not defined");
  if (engine !== "auto") return start(engine, files);
  try {
    return await start("onnxruntime", files);
  } catch (error) {
    if (!(error instanceof LoadError && ENGINE_FAILURES.includes(error.failure))) throw error;
    return start("tract", files).catch((another) => {
      throw new LoadError(error.failure, `${error.message}; tract: ${another.message}`);
    });
  }
}

/**
 * @param {Engine} engine
 * @param {Omit<LoadOptions, "engine">} files
 * @returns {Promise<Reader>}
 */
function start(engine, { model, mapping, loading }) {
  const worker = startWorker(engine);
  return new Promise((ready, failed) => {
    /** @type {(failure: Failure, detail: string) => void} */
    const fail = (failure, detail) => {
      worker.terminate();
      failed(new LoadError(failure, detail));
    };
    worker.onerror = (event) => {
      event.preventDefault(); // who called shows it
      fail("runtime", event.message ?? `${engine}_worker.js`);
    };
    worker.onmessage = ({ data }) => {
      /** @type {Message} */
      const message = data;
      if (message.kind === "progress") loading?.(message);
      else if (message.kind === "failed") fail(message.failure, message.detail);
      else if (message.kind === "ready") ready(new Reader(worker, engine, message.mapping));
    };
    worker.postMessage({ model: resolve(model), mapping: resolve(mapping) });
  });
}

/**
 * @param {Engine} engine
 * @returns {Worker} bundlers find the files by these very words
 */
function startWorker(engine) {
  if (engine === "tract") return new Worker(new URL("./tract_worker.js", import.meta.url), { type: "module" });
  return new Worker(new URL("./onnxruntime_worker.js", import.meta.url), { type: "module" });
}

/**
 * @template File
 * @param {File} file an address, relative to the page's, or what is in memory already
 */
function resolve(file) {
  return typeof file === "string" || file instanceof URL ? new URL(file, document.baseURI).href : file;
}

/** Reads characters with a loaded model. */
export class Reader {
  #worker;
  #count = 0;
  /** Why it reads no more. */
  #ended = "";
  /** @type {Map<number, { done: (prediction: Prediction) => void, failed: (error: Error) => void }>} */
  #waiting = new Map();

  /**
   * @param {Worker} worker which has loaded the model
   * @param {Engine} engine
   * @param {Mapping} mapping
   */
  constructor(worker, engine, mapping) {
    this.engine = engine;
    this.mapping = mapping;
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      const { done, failed } = this.#waiting.get(data.id) ?? {};
      this.#waiting.delete(data.id);
      if (data.kind === "prediction") done?.(data.prediction);
      else failed?.(new Error(data.detail));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#endAll(event.message ?? "the worker failed");
    };
  }

  /**
   * Reads the strokes of one character, or an image of one or several.
   *
   * @param {Stroke[] | ImageData | Blob | Ink} input
   * @returns {Promise<Result>}
   * @throws {DOMException} the Blob is no image, or one that the browser does not read
   */
  async read(input) {
    const { scale, ...taken } = await toInput(input);
    const { characters, ...rest } = await this.predict(taken);
    const ranked = characters.map(({ box, ...reading }) => ({
      ...reading,
      box: /** @type {Box | undefined} */ (box?.map((side) => Math.round(side / scale))),
      candidates: rank(reading.probabilities, this.mapping, null),
    }));
    return { ...rest, characters: ranked };
  }

  /**
   * Reads the same, and leaves the choice of candidates to the caller.
   *
   * @param {Input} input
   * @returns {Promise<Prediction>}
   */
  predict(input) {
    if (this.#ended) return Promise.reject(new Error(this.#ended));
    const id = ++this.#count;
    /** @type {ReadRequest} */
    const request = { id, ...input };
    return new Promise((done, failed) => {
      this.#waiting.set(id, { done, failed });
      this.#worker.postMessage(request);
    });
  }

  /** Ends the thread and gives its memory back. */
  close() {
    this.#worker.terminate();
    this.#endAll("the reader was closed");
  }

  /** @param {string} reason */
  #endAll(reason) {
    this.#ended = reason;
    for (const { failed } of this.#waiting.values()) failed(new Error(reason));
    this.#waiting.clear();
  }
}

/**
 * @param {Stroke[] | ImageData | Blob | Ink} input
 * @returns {Promise<Input & { scale: number }>} and how much smaller it is than what was given
 */
async function toInput(input) {
  if (Array.isArray(input)) return { strokes: input, scale: 1 };
  const { gray, scale } = "pixels" in input ? { gray: input, scale: 1 } : await readImage(input);
  return { strokes: [], gray, scale };
}
