// Types of the package, which the page's modules share.

/** A gray image, row by row; where it is no photograph, ink bright on dark paper. */
export interface Ink {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/** Left, top, right, bottom: pixels, the last two one past the end. */
export type Box = [number, number, number, number];

/** A stroke's points: x, y, x, y, ... as fractions of the paper's side, y down. */
export type Stroke = number[];

/** One of the mapping's characters. */
export interface Character {
  character: string;
  jis_code: string;
  stroke_count: number;
}

/** A character that the network may have seen. */
export type Candidate = Character & { probability: number };

/** The part of a mapping file that is used here. */
export interface Mapping {
  model_info: {
    model_file: string;
    image_size: number;
    preprocessing: string;
    license: string;
    /** groups of characters that cannot be told apart when one alone is written */
    twins?: string[];
    /** of the largest probability of a character with its twins (`confidenceOf`): below it an image shows none of them */
    rejection_threshold?: number;
  };
  characters: Record<string, Character>;
}

/** onnxruntime-web, or tract compiled to WebAssembly. */
export type Engine = "onnxruntime" | "tract";

/** What `load` takes. */
export interface LoadOptions {
  /** an ONNX file of the toolkit: its address, relative to the page's, or its bytes */
  model: string | URL | ArrayBuffer;
  /** the _mapping.json beside it: its address, or its content */
  mapping: string | URL | Mapping;
  /** auto, as by default: onnxruntime, and tract where that does not start */
  engine?: "auto" | Engine;
  loading?: (progress: Progress) => void;
}

/** Bytes of the model and the runtime; the total is NaN where the server does not tell. */
export interface Progress {
  loaded: number;
  total: number;
}

/** What could not be loaded, or why. */
export type Failure = "webassembly" | "memory" | "network" | "runtime" | "mapping" | "model" | "preprocessing";

/** What the network reads: an image, or else strokes. */
export type Input = { gray?: Ink; strokes: Stroke[] };

/** To the worker, first. */
export type LoadRequest = { model: string | ArrayBuffer; mapping: string | Mapping };

/** To the worker, later. */
export type ReadRequest = { id: number } & Input;

/** From the worker. */
export type Message =
  | ({ kind: "progress" } & Progress)
  | { kind: "ready"; mapping: Mapping }
  | { kind: "failed"; failure: Failure; detail: string }
  | { kind: "refused"; id: number; detail: string }
  | { kind: "prediction"; id: number; prediction: Prediction };

/** A network that is ready to run: it takes what `preprocess` returns, and returns the probability of each class. */
export type Network = (seen: Uint8Array) => Promise<Float32Array>;

/** What cannot be told in an image: whether lines are a frame or strokes; what so many pieces of ink are. */
export type Doubt = "frame" | "pieces";

/** What the network predicts for a character. */
export interface Reading {
  /** of each class, 0-1; they sum to 1 */
  probabilities: Float32Array;
  /** the image that the network saw, row by row */
  seen: Uint8Array;
}

/** What is predicted for an input. */
export interface Prediction {
  /** in reading order; none where no ink stands out, and strokes have no box */
  characters: (Reading & { box?: Box })[];
  unsure: Doubt | null;
  elapsedMs: number;
}

/** What `read` returns. */
export interface Result extends Prediction {
  /** of each at most ten candidates, the most probable first */
  characters: (Prediction["characters"][number] & { candidates: Candidate[] })[];
}
