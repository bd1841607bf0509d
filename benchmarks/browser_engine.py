"""Runs ONNX files in onnxruntime-web, as WebAssembly in a headless Chromium, from Python.

Needs the packages playwright (PyPI; without its own browser) and onnxruntime-web (npm), and a Chromium.
"""

import common  # noqa: F401  (puts the toolkit on the path)

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.errors import KanjinetError

RUNTIME = "ort.wasm.bundle.min.mjs"
ORIGIN = "http://localhost"  # no request leaves the browser: all are fulfilled from the folder dist/
CONTENT_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}

PAGE = """<!doctype html><script type="module">
import * as ort from "./ort.wasm.bundle.min.mjs";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {wasm: "./ort-wasm-simd-threaded.wasm"};
ort.env.logLevel = "error";
const toBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const toText = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
const toTensor = (shape, text) => new ort.Tensor("float32", new Float32Array(toBytes(text).buffer), shape);
let session;
window.load = async (text) => {
  const start = performance.now();
  session = await ort.InferenceSession.create(toBytes(text), {executionProviders: ["wasm"]});
  return performance.now() - start;
};
window.run = async (shape, text) => toText((await session.run({input: toTensor(shape, text)})).output.data);
window.time = async (shape, text, repeats) => {
  const input = toTensor(shape, text), times = [];
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await session.run({input});
    times.push(performance.now() - start);
  }
  return times;
};
window.version = ort.env.versions.web;
</script>"""

FloatArray = npt.NDArray[np.float32]


class BrowserEngine:
    """Represents a page that holds one file at a time."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.version: str = page.evaluate("window.version")

    def load(self, content: bytes) -> float:
        """Makes a session of a file's bytes; returns how long that took, ms."""
        return float(self._evaluate("window.load(text)", text=_encode(content)))

    def run(self, inputs: FloatArray, batch: int) -> FloatArray:
        """Returns the logits (n, classes) of inputs (n, 1, size, size), computed `batch` at a time."""
        parts = []
        for start in range(0, len(inputs), batch):
            part = inputs[start : start + batch]
            text = self._evaluate("window.run(shape, text)", **_describe(part))
            parts.append(np.frombuffer(base64.b64decode(text), dtype=np.float32).reshape(len(part), -1))
        return np.concatenate(parts)

    def time(self, inputs: FloatArray, repeats: int) -> list[float]:
        """Measures how long each of several runs on the same inputs takes, ms."""
        return list(self._evaluate("window.time(shape, text, repeats)", repeats=repeats, **_describe(inputs)))

    def _evaluate(self, call: str, **values: object) -> Any:
        from playwright.sync_api import Error

        try:
            return self._page.evaluate(f"({{{', '.join(values)}}}) => {call}", values)
        except Error as error:
            raise KanjinetError(f"onnxruntime-web {self.version}: {error}") from error


def _describe(inputs: FloatArray) -> dict[str, object]:
    return {"shape": list(inputs.shape), "text": _encode(inputs.tobytes())}


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


@contextmanager
def open_browser_engine(dist: Path) -> Iterator[BrowserEngine]:
    """Starts a headless Chromium with onnxruntime-web, without any connection to a network.

    Args:
        dist: the folder dist/ of the npm package onnxruntime-web.

    Raises:
        KanjinetError: playwright, the runtime or the browser is missing.
    """
    try:
        from playwright.sync_api import Route

        from tests.browser import CHROMIUM_REMEDY, find_chromium, open_browser
    except ImportError as error:
        raise KanjinetError("the package playwright is missing", "python -m pip install playwright") from error
    if not (dist / RUNTIME).is_file():
        raise KanjinetError(f"{dist / RUNTIME}: not found", "npm install onnxruntime-web, and name its folder dist/")
    chromium = find_chromium()
    if chromium is None:
        raise KanjinetError(CHROMIUM_REMEDY)

    def fulfill(route: Route) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        path = dist / name
        if not name:
            route.fulfill(body=PAGE, content_type="text/html")
        elif path.parent == dist and path.is_file():
            route.fulfill(body=path.read_bytes(), content_type=CONTENT_TYPES.get(path.suffix, "text/plain"))
        else:
            route.abort()

    with open_browser(chromium) as browser:
        page = browser.new_page()
        page.route("**/*", fulfill)
        page.goto(f"{ORIGIN}/")
        page.wait_for_function("window.version")
        yield BrowserEngine(page)
