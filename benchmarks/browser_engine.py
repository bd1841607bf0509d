"""ONNX files in onnxruntime-web, as WebAssembly in a headless Chromium, from Python.

Needs the packages playwright (PyPI; without its own browser) and onnxruntime-web (npm), and a Chromium.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.errors import KanjinetError

DEFAULT_DIST = Path("web/node_modules/onnxruntime-web/dist")
DEFAULT_CHROMIUM = Path("/usr/bin/chromium")
RUNTIME = "ort.wasm.bundle.min.mjs"
_ORIGIN = "http://localhost"  # never asked: every request is answered from here
_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
# Chromium refuses a sandbox to the root user, whom containers often are.
_ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
_BATCH = 64

_PAGE = """<!doctype html><script type="module">
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
const toTensor = (type, shape, text) => {
  const bytes = toBytes(text);
  return new ort.Tensor(type, type === "uint8" ? bytes : new Float32Array(bytes.buffer), shape);
};
let session;
window.load = async (text) => {
  const start = performance.now();
  session = await ort.InferenceSession.create(toBytes(text), {executionProviders: ["wasm"]});
  return performance.now() - start;
};
window.run = async (type, shape, text) =>
  toText((await session.run({input: toTensor(type, shape, text)})).output.data);
window.time = async (type, shape, text, repeats) => {
  const input = toTensor(type, shape, text), times = [];
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await session.run({input});
    times.push(performance.now() - start);
  }
  return times;
};
window.version = ort.env.versions.web;
</script>"""


class BrowserEngine:
    """One page, with one file at a time in it."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.version: str = page.evaluate("window.version")

    def load(self, content: bytes) -> float:
        """Make a session of a file's bytes; returns how long that took, ms."""
        return float(self._evaluate("window.load(text)", text=base64.b64encode(content).decode("ascii")))

    def run(
        self, inputs: npt.NDArray[np.float32] | npt.NDArray[np.uint8], batch: int = _BATCH
    ) -> npt.NDArray[np.float32]:
        """Scores (n, classes) of inputs as the file takes them, `batch` at a time."""
        parts = []
        for start in range(0, len(inputs), batch):
            part = inputs[start : start + batch]
            text = self._evaluate("window.run(type, shape, text)", **_describe(part))
            parts.append(np.frombuffer(base64.b64decode(text), dtype=np.float32).reshape(len(part), -1))
        return np.concatenate(parts)

    def time(self, inputs: npt.NDArray[np.float32] | npt.NDArray[np.uint8], repeats: int) -> list[float]:
        """How long each of several runs on the same inputs takes, ms."""
        return list(self._evaluate("window.time(type, shape, text, repeats)", repeats=repeats, **_describe(inputs)))

    def _evaluate(self, call: str, **values: object) -> Any:
        from playwright.sync_api import Error

        try:
            return self._page.evaluate(f"({{{', '.join(values)}}}) => {call}", values)
        except Error as error:
            raise KanjinetError(f"onnxruntime-web {self.version}: {error}") from error


def _describe(inputs: npt.NDArray[np.float32] | npt.NDArray[np.uint8]) -> dict[str, object]:
    text = base64.b64encode(np.ascontiguousarray(inputs).tobytes()).decode("ascii")
    return {"type": str(inputs.dtype), "shape": list(inputs.shape), "text": text}


@contextmanager
def open_browser_engine(dist: Path = DEFAULT_DIST, chromium: Path = DEFAULT_CHROMIUM) -> Iterator[BrowserEngine]:
    """Start a headless Chromium with onnxruntime-web, without any connection to a network.

    Args:
        dist: the folder dist/ of the npm package onnxruntime-web.
        chromium: the browser's program.

    Raises:
        KanjinetError: playwright, the runtime or the browser is missing.
    """
    try:
        from playwright.sync_api import Route, sync_playwright
    except ImportError as error:
        raise KanjinetError("the package playwright is missing", "python -m pip install playwright") from error
    if not (dist / RUNTIME).is_file():
        raise KanjinetError(f"{dist / RUNTIME}: not found", "npm install onnxruntime-web, and name its folder dist/")
    if not chromium.is_file():
        raise KanjinetError(f"{chromium}: not found", "install Chromium (Debian: apt-get install chromium), or name it")

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix(f"{_ORIGIN}/")
        path = dist / name
        if not name:
            route.fulfill(body=_PAGE, content_type="text/html")
        elif path.parent == dist and path.is_file():
            route.fulfill(body=path.read_bytes(), content_type=_TYPES.get(path.suffix, "text/plain"))
        else:
            route.abort()

    with sync_playwright() as playwright:
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS, chromium_sandbox=not is_root)
        try:
            page = browser.new_page()
            page.route("**/*", answer)
            page.goto(f"{_ORIGIN}/")
            page.wait_for_function("window.version")
            yield BrowserEngine(page)
        finally:
            browser.close()
