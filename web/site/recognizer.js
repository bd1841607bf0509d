// The page's queue before the reader.

import { LoadError, load } from "./reader.js";

/** @import { Reader } from "./reader.js" */
/** @import { Engine, Failure, Input, LoadOptions, Mapping, Prediction, Progress } from "./types.js" */

/** Reads one input at a time; of those that wait, only the newest. */
export class Recognizer {
  #listeners;
  #newest = 0;
  #isBusy = false;
  /** @type {Reader | null} */
  #reader = null;
  /** @type {Input | null} */
  #waiting = null;

  /**
   * @param {object} listeners
   * @param {(progress: Progress) => void} listeners.loading
   * @param {(mapping: Mapping, engine: Engine) => void} listeners.ready the model is loaded
   * @param {(failure: Failure, detail: string) => void} listeners.failed it cannot be loaded, or has stopped
   * @param {(prediction: Prediction) => void} listeners.predicted for the newest input
   * @param {LoadOptions["engine"]} engine
   */
  constructor(listeners, engine) {
    const { loading, ready, failed } = listeners;
    this.#listeners = listeners;
    load({ model: "model.bin", mapping: "mapping.json", engine, loading }).then(
      (reader) => {
        this.#reader = reader;
        ready(reader.mapping, reader.engine);
        this.#readNext();
      },
      (error) => failed(error instanceof LoadError ? error.failure : "runtime", error.message),
    );
  }

  /** @param {Input | null} input instead of those before, whose predictions are not awaited any more */
  read(input) {
    this.#newest++;
    this.#waiting = input;
    this.#readNext();
  }

  #readNext() {
    if (this.#isBusy || !this.#waiting || !this.#reader) return;
    const [id, input] = [this.#newest, this.#waiting];
    this.#isBusy = true;
    this.#waiting = null;
    const { predicted, failed } = this.#listeners;
    const reading = this.#reader.predict(input).finally(() => (this.#isBusy = false));
    reading
      .then(
        (prediction) => id === this.#newest && predicted(prediction),
        (error) => failed("runtime", error.message),
      )
      .finally(() => this.#readNext());
  }
}
