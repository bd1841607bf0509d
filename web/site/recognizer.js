// The page's queue before the reader.

import { LoadError, load } from "./reader.js";

/** @import { Reader } from "./reader.js" */
/** @import { Engine, Failure, Input, LoadOptions, Mapping, Prediction, Progress } from "./types.js" */

/**
 * A model that the page can use, as models.json lists them: of a character set of this name, with so many characters.
 *
 * @typedef {{ name: string, characters: number, model: string, mapping: string }} Model
 */

/** Reads one input at a time; of those that wait, only the newest. */
export class Recognizer {
  #listeners;
  #newest = 0;
  #isBusy = false;
  #isClosed = false;
  /** @type {Reader | null} */
  #reader = null;
  /** @type {Input | null} */
  #waiting = null;

  /**
   * @param {string} characters the name of a character set; empty for the page's first one
   * @param {object} listeners
   * @param {(progress: Progress) => void} listeners.loading
   * @param {(models: Model[], name: string) => void} listeners.listed the models, and of which set it loads one
   * @param {(mapping: Mapping, engine: Engine) => void} listeners.ready the model is loaded
   * @param {(failure: Failure, detail: string) => void} listeners.failed it cannot be loaded, or has stopped
   * @param {(prediction: Prediction) => void} listeners.predicted for the newest input
   * @param {LoadOptions["engine"]} engine
   */
  constructor(characters, listeners, engine) {
    const { listed, loading, ready, failed } = listeners;
    this.#listeners = listeners;
    this.#load(characters, { engine, loading: (progress) => this.#isClosed || loading(progress) }, listed).then(
      (reader) => {
        if (this.#isClosed) return reader.close();
        this.#reader = reader;
        ready(reader.mapping, reader.engine);
        this.#readNext();
      },
      (error) => this.#isClosed || failed(error instanceof LoadError ? error.failure : "runtime", error.message),
    );
  }

  /** @param {Input | null} input instead of those before, whose predictions are not awaited any more */
  read(input) {
    this.#newest++;
    this.#waiting = input;
    this.#readNext();
  }

  /** Ends it: nothing is heard of it any more. */
  close() {
    this.#isClosed = true;
    this.#waiting = null;
    this.#reader?.close();
  }

  /**
   * @param {string} characters the name of a character set; of the page's first model where none has it
   * @param {Pick<LoadOptions, "engine" | "loading">} options
   * @param {(models: Model[], name: string) => void} listed
   */
  async #load(characters, options, listed) {
    const models = await listModels();
    const { name, model, mapping } = models.find((each) => each.name === characters) ?? models[0];
    if (!this.#isClosed) listed(models, name);
    return load({ model, mapping, ...options });
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
        (prediction) => id === this.#newest && !this.#isClosed && predicted(prediction),
        (error) => this.#isClosed || failed("runtime", error.message),
      )
      .finally(() => this.#readNext());
  }
}

/** @returns {Promise<Model[]>} */
async function listModels() {
  const response = await fetch("models.json", { cache: "no-cache" }).catch((error) => {
    throw new LoadError("network", `models.json: ${error}`);
  });
  if (!response.ok) throw new LoadError("mapping", `models.json: HTTP ${response.status}`);
  return response.json().catch((error) => {
    throw new LoadError("mapping", `models.json: ${error}`);
  });
}
