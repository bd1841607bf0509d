// The typed side of examples/rust, compiled to WebAssembly; it runs in any thread, in browsers and in Node.

import { makeError } from "./failure.js";

/** @import { Ink, Network, Reading, Stroke } from "./types.js" */

/**
 * What examples/rust/src/wasm.rs exports; addresses and sizes in bytes.
 *
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {(size: number) => number} reserve
 * @property {(address: number, size: number) => void} release
 * @property {(model: number, size: number) => number} load
 * @property {(pixels: number, width: number, height: number) => number} read_gray bright on dark, or dark on bright
 * @property {(points: number, lengths: number, count: number) => number} read_strokes
 * @property {(pixels: number, size: number) => number} run
 * @property {() => number} seen
 * @property {() => number} image_size
 * @property {() => number} probabilities
 * @property {() => number} class_count
 * @property {() => number} message
 * @property {() => number} message_size
 */

const FAILED = 1;
const BLANK = 2;

/**
 * @typedef {object} Tract a loaded model
 * @property {(strokes: Stroke[]) => Reading | null} readStrokes null where no character stands out
 * @property {(gray: Ink) => Reading | null} readGray of one character, dark on light or light on dark
 * @property {Network} run
 */

/**
 * Starts the program with a model.
 *
 * @param {ArrayBuffer} model an ONNX file of the toolkit
 * @param {ArrayBuffer} program
 * @returns {Promise<Tract>}
 */
export async function startTract(model, program) {
  const { instance } = await WebAssembly.instantiate(program, {});
  const wasm = /** @type {Exports} */ (/** @type {unknown} */ (instance.exports));

  /** @type {(address: number, size: number) => Uint8Array<ArrayBuffer>} */
  const copy = (address, size) => new Uint8Array(wasm.memory.buffer, address, size).slice();
  const copyProbabilities = () => new Float32Array(copy(wasm.probabilities(), 4 * wasm.class_count()).buffer);
  /** @type {(status: number) => Reading | null} */
  const copyReading = (status) =>
    status === BLANK ? null : { seen: copy(wasm.seen(), wasm.image_size() ** 2), probabilities: copyProbabilities() };

  /**
   * @param {ArrayBufferView[]} arrays which a function gets the addresses of
   * @param {(...addresses: number[]) => number} call
   * @returns {number} the status, unless the call failed
   */
  const pass = (arrays, call) => {
    const blocks = arrays.map(({ buffer, byteOffset, byteLength }) => {
      const address = wasm.reserve(byteLength);
      new Uint8Array(wasm.memory.buffer, address, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength));
      return { address, byteLength };
    });
    const status = call(...blocks.map(({ address }) => address));
    for (const { address, byteLength } of blocks) wasm.release(address, byteLength);
    if (status === FAILED) throw makeError("model", new TextDecoder().decode(copy(wasm.message(), wasm.message_size())));
    return status;
  };

  try {
    pass([new Uint8Array(model)], (address) => wasm.load(address, model.byteLength));
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw makeError("model", "the model is damaged");
    throw error;
  }
  return {
    readStrokes: (strokes) =>
      copyReading(pass(packStrokes(strokes), (points, lengths) => wasm.read_strokes(points, lengths, strokes.length))),
    readGray: ({ width, height, pixels }) =>
      copyReading(pass([pixels], (address) => wasm.read_gray(address, width, height))),
    async run(seen) {
      pass([seen], (address) => wasm.run(address, seen.length));
      return copyProbabilities();
    },
  };
}

/**
 * @param {Stroke[]} strokes
 * @returns {[Float64Array, Uint32Array]} all points, and how many each stroke has
 */
function packStrokes(strokes) {
  return [new Float64Array(strokes.flat()), Uint32Array.from(strokes, (stroke) => stroke.length / 2)];
}
