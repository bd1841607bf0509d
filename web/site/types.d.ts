// Types that the page's modules share.

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

/** The part of a mapping file that the page uses. */
export interface Mapping {
  model_info: {
    model_file: string;
    image_size: number;
    preprocessing: string;
    license: string;
    /** of the largest probability: below it an image shows none of the characters */
    rejection_threshold?: number;
  };
  characters: Record<string, Character>;
}

/** Bytes of the model and the runtime; the total is NaN where the server does not tell. */
export interface Progress {
  loaded: number;
  total: number;
}

/** What could not be loaded, or why; the page says for each what to do. */
export type Failure =
  | "webassembly"
  | "memory"
  | "network"
  | "slow"
  | "runtime"
  | "mapping"
  | "model"
  | "preprocessing";

/** What the network reads: an image, or else strokes. */
export type Input = { gray?: Ink; strokes: Stroke[] };

/** To the worker. */
export type ReadRequest = { id: number } & Input;

/** From the worker. */
export type Message =
  | ({ kind: "progress" } & Progress)
  | { kind: "ready"; mapping: Mapping }
  | { kind: "failed"; failure: Failure; detail: string }
  | { kind: "prediction"; id: number; prediction: Prediction };

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
