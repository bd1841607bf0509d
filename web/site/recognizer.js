// The page's side of the worker that runs the network.

/** @import { Failure, Input, Mapping, Message, Prediction } from "./types.js" */

/**
 * @typedef {object} Listeners
 * @property {(mapping: Mapping) => void} ready the model is loaded
 * @property {(failure: Failure, detail: string) => void} failed it cannot be loaded
 * @property {(prediction: Prediction) => void} predicted for the newest input
 */

/** Reads one input at a time; of those that wait, only the newest. */
export class Recognizer {
  #worker;
  #newest = 0;
  #isBusy = true; // until the model is loaded
  /** @type {Input | null} */
  #waiting = null;

  /** @param {Listeners} listeners */
  constructor(listeners) {
    this.#worker = new Worker(new URL("./recognizer_worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault(); // the page shows it
      listeners.failed("runtime", event.message ?? "recognizer_worker.js");
    });
    this.#worker.addEventListener("message", (event) => {
      /** @type {Message} */
      const message = event.data;
      if (message.kind === "failed") {
        listeners.failed(message.failure, message.detail);
        return;
      }
      this.#isBusy = false;
      if (message.kind === "ready") listeners.ready(message.mapping);
      else if (message.id === this.#newest) listeners.predicted(message.prediction);
      this.#readNext();
    });
  }

  /** @param {Input} input */
  read(input) {
    this.#newest++;
    this.#waiting = input;
    this.#readNext();
  }

  /** Drops the waiting input and the prediction that is under way. */
  forget() {
    this.#newest++;
    this.#waiting = null;
  }

  #readNext() {
    if (this.#isBusy || !this.#waiting) return;
    this.#isBusy = true;
    this.#worker.postMessage({ id: this.#newest, ...this.#waiting });
    this.#waiting = null;
  }
}
