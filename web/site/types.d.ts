// What the page's modules hand to each other.

/** A gray image, row by row, ink bright on dark paper. */
export interface Ink {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/** The pen's way from touching the paper to leaving it: x, y, x, y, ... as shares of the paper's side, y down. */
export type Stroke = number[];

/** One of the characters that the network knows, as the mapping has it. */
export interface Character {
  character: string;
  jis_code: string;
  stroke_count: number;
}

/** The part of a mapping file that the page uses. */
export interface Mapping {
  model_info: { model_file: string; model_version: string; image_size: number; preprocessing: string; license: string };
  characters: Record<string, Character>;
}

/** What was not to be had: the page says for each what to do. */
export type Failure = "webassembly" | "runtime" | "mapping" | "model" | "preprocessing";

/** To the worker: read these strokes, or this image. */
export type Question = { id: number } & ({ strokes: Stroke[] } | { ink: Ink });

/** From the worker. */
export type Message =
  | { kind: "ready"; mapping: Mapping }
  | { kind: "failed"; failure: Failure; detail: string }
  | { kind: "answer"; id: number; answer: Answer };

/** What the network makes of a drawing. */
export interface Answer {
  /** of each class, 0-1; they sum to 1 */
  probabilities: Float32Array;
  /** the image that the network saw, row by row */
  seen: Uint8Array;
  elapsedMs: number;
}
