// The page's side of the worker that runs the network.

/** @import { Failure, Input, Mapping, Message, Prediction, Progress } from "./types.js" */

/** Reads one input at a time; of those that wait, only the newest. */
export class Recognizer {
  #worker;
  #newest = 0;
  #isBusy = true; // until the model is loaded
  /** @type {Input | null} */
  #waiting = null;

  /**
   * @param {object} listeners
   * @param {(progress: Progress) => void} listeners.loading
   * @param {(mapping: Mapping) => void} listeners.ready the model is loaded
   * @param {(failure: Failure, detail: string) => void} listeners.failed it cannot be loaded
   * @param {(prediction: Prediction) => void} listeners.predicted for the newest input
   */
  constructor({ loading, ready, failed, predicted }) {
    this.#worker = new Worker(new URL("./recognizer_worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault(); // the page shows it
      failed("runtime", event.message ?? "recognizer_worker.js");
    });
    this.#worker.addEventListener("message", (event) => {
      /** @type {Message} */
      const message = event.data;
      if (message.kind === "progress") return loading(message);
      if (message.kind === "failed") return failed(message.failure, message.detail);
      this.#isBusy = false;
      if (message.kind === "ready") ready(message.mapping);
      else if (message.id === this.#newest) predicted(message.prediction);
      this.#readNext();
    });
  }

  /** @param {Input | null} input instead of those before, whose predictions are not awaited any more */
  read(input) {
    this.#newest++;
    this.#waiting = input;
    this.#readNext();
  }

  #readNext() {
    if (this.#isBusy || !this.#waiting) return;
    this.#isBusy = true;
    this.#worker.postMessage({ id: this.#newest, ...this.#waiting });
    this.#waiting = null;
  }
}
