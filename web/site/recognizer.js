// The page's side of the worker that reads.

/** @import { Answer, Failure, Ink, Mapping, Message, Stroke } from "./types.js" */

/**
 * @typedef {object} Listeners
 * @property {(mapping: Mapping) => void} ready the model is there
 * @property {(failure: Failure, detail: string) => void} failed it will not come
 * @property {(answer: Answer) => void} answer to the newest question
 */

/** Asks one question at a time; of those that wait only the newest is asked. */
export class Recognizer {
  #worker;
  #newest = 0;
  #isBusy = true; // until the model is there
  /** @type {{ strokes: Stroke[] } | { ink: Ink } | null} */
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
      else if (message.id === this.#newest) listeners.answer(message.answer);
      this.#askNext();
    });
  }

  /** @param {{ strokes: Stroke[] } | { ink: Ink }} question */
  read(question) {
    this.#newest++;
    this.#waiting = question;
    this.#askNext();
  }

  /** Nothing is to be read any more: an answer that is under way comes too late. */
  forget() {
    this.#newest++;
    this.#waiting = null;
  }

  #askNext() {
    if (this.#isBusy || !this.#waiting) return;
    this.#isBusy = true;
    this.#worker.postMessage({ id: this.#newest, ...this.#waiting });
    this.#waiting = null;
  }
}
