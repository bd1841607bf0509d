// The paper: what is drawn and laid on it, and how it shows.

/** @import { Ink, Stroke } from "./types.js" */

/** @typedef {{ canvas: HTMLCanvasElement, gray: Ink }} LaidImage */

const PEN_WIDTH = 0.03; // of the paper's side
const MIN_STEP = 0.004; // of the paper's side: closer points are left out

export class Drawing {
  /** @type {(Stroke | LaidImage)[]} in the order in which they came */
  #items = [];
  /** @type {{ id: number, stroke: Stroke } | null} the stroke that the pen is drawing */
  #pen = null;
  #canvas;
  #changed;

  /**
   * @param {HTMLCanvasElement} canvas a square
   * @param {() => void} changed called after each stroke, image, undo and clear
   */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.#touch(event));
    // The whole window listens, so that a stroke may leave the paper and come back.
    window.addEventListener("pointermove", (event) => this.#move(event));
    window.addEventListener("pointerup", (event) => this.#lift(event));
    window.addEventListener("pointercancel", (event) => this.#lift(event));
    new ResizeObserver(() => this.show()).observe(canvas);
  }

  /** The strokes drawn since the last image was laid on the paper. */
  get strokes() {
    const image = this.#items.findLastIndex((item) => !Array.isArray(item));
    return /** @type {Stroke[]} */ (this.#items.slice(image + 1));
  }

  /** The image, where it came last. */
  get image() {
    const last = this.#items.at(-1);
    return Array.isArray(last) ? undefined : last;
  }

  get isEmpty() {
    return this.#items.length === 0;
  }

  /** @param {Stroke | LaidImage} item */
  add(item) {
    this.#items.push(item);
    this.#finish();
  }

  undo() {
    this.#items.pop();
    this.#finish();
  }

  /** What shows, as text: the last image, and the strokes since. */
  save() {
    const image = this.#items.findLastIndex((item) => !Array.isArray(item));
    const items = this.#items.slice(Math.max(0, image));
    return JSON.stringify(items.map((item) => (Array.isArray(item) ? item : item.canvas.toDataURL())));
  }

  clear() {
    this.#items = [];
    this.#finish();
  }

  /** Paints the paper again, at the screen's resolution. */
  show() {
    const canvas = this.#canvas;
    const side = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.clearRect(0, 0, side, side);
    if (this.image && !this.#pen) {
      const source = this.image.canvas;
      const scale = side / Math.max(source.width, source.height);
      const [width, height] = [source.width * scale, source.height * scale];
      context.drawImage(source, (side - width) / 2, (side - height) / 2, width, height);
      return;
    }
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = PEN_WIDTH * side;
    context.lineCap = context.lineJoin = "round";
    const strokes = this.#pen ? [...this.strokes, this.#pen.stroke] : this.strokes;
    for (const stroke of strokes) paintStroke(context, stroke, side);
  }

  /** @param {PointerEvent} event */
  #touch(event) {
    if (this.#pen || event.button !== 0) return; // a second finger, or another button, draws nothing
    this.#pen = { id: event.pointerId, stroke: this.#place(event) }; // it takes an image's place
    this.show();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (event.pointerId !== this.#pen?.id) return;
    const { stroke } = this.#pen;
    const steps = event.getCoalescedEvents?.() ?? []; // missing where the page does not come by HTTPS or from localhost
    for (const step of steps.length ? steps : [event]) {
      const [x, y] = this.#place(step);
      if (Math.hypot(x - stroke[stroke.length - 2], y - stroke[stroke.length - 1]) >= MIN_STEP) stroke.push(x, y);
    }
    this.show();
  }

  /** @param {PointerEvent} event */
  #lift(event) {
    if (event.pointerId === this.#pen?.id) this.add(this.#pen.stroke);
  }

  #finish() {
    this.#pen = null;
    this.show();
    this.#changed();
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]} fractions of the paper's side
   */
  #place(event) {
    const paper = this.#canvas.getBoundingClientRect();
    return [(event.clientX - paper.left) / paper.width, (event.clientY - paper.top) / paper.height];
  }
}

/**
 * A smooth line through the middles between the points.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke} stroke
 * @param {number} side of the canvas, pixels
 */
function paintStroke(context, stroke, side) {
  const at = (/** @type {number} */ index) => stroke[index] * side;
  const last = stroke.length - 2;
  context.beginPath();
  context.moveTo(at(0), at(1));
  for (let point = 2; point < last; point += 2) {
    const middleX = (at(point) + at(point + 2)) / 2;
    const middleY = (at(point + 1) + at(point + 3)) / 2;
    context.quadraticCurveTo(at(point), at(point + 1), middleX, middleY);
  }
  context.lineTo(at(last), at(last + 1)); // of a single point: a dot, by the round cap
  context.stroke();
}

/**
 * @param {string} url of an image in what `save` returned; fetching it is forbidden to the page
 * @returns {Blob}
 */
export function decodeDataUrl(url) {
  return new Blob([Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0))]);
}
