"""The recognizer as an npm package, from its packed file, in an app that Vite builds and serves."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from kanjinet.web.bundle import NODE_REMEDY, find_npm, install_packages
from tests.browser import PATIENCE_MS, write_with_jitter
from tests.conftest import ROOT, require
from tests.drawn_images import draw_image
from tests.web.test_engines import open_engine

APP = ROOT / "examples" / "vite"
# What the app's window.reader makes of strokes, of an image that is dark on white, and of white on nothing.
READ = """async (strokes, width, pixels) => {
  while (!window.reader) await new Promise((done) => setTimeout(done, 20));
  const draw = (color) => {
    const image = new ImageData(width, pixels.length / width);
    pixels.forEach((ink, at) => image.data.set(color(ink), 4 * at));
    return image;
  };
  const dark = draw((ink) => [255 - ink, 255 - ink, 255 - ink, 255]);
  const white = draw((ink) => [255, 255, 255, ink]);
  const inputs = [strokes, dark, white, new ImageData(30, 20)];
  const readings = [];
  for (const input of inputs) readings.push(await window.reader.read(input));
  const join = ({ characters }) => characters.map(({ candidates }) => candidates[0].character).join("");
  return [window.reader.engine, ...readings.map(join)];
}"""


@pytest.fixture(scope="module")
def npm() -> str:
    path = find_npm()
    require(path, NODE_REMEDY)
    return str(path)


def run(command: list[str], cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def app(npm: str, tract_wasm: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app with the packed package and a model, built by Vite."""
    install_packages(ROOT / "web")
    folder = tmp_path_factory.mktemp("app")
    name = run(["node", "pack.js", str(folder)], ROOT / "web").strip()
    shutil.copytree(APP, folder, dirs_exist_ok=True)
    public = folder / "public"
    public.mkdir()
    shutil.copy(PRETRAINED_PATH, public / "model.onnx")
    shutil.copy(PRETRAINED_PATH.with_name(f"{PRETRAINED_PATH.stem}_mapping.json"), public / "model_mapping.json")
    run([npm, "ci", "--no-audit", "--no-fund"], folder)
    run([npm, "install", "--no-save", "--no-audit", "--no-fund", str(folder / name)], folder)
    output = run([npm, "run", "build"], folder)
    assert "warn" not in output.lower()
    assert "doesn't exist" not in output
    return folder


@contextmanager
def serve_app(folder: Path, server: str = "preview") -> Iterator[str]:
    """Serves the built app by `vite preview`, or by `vite dev`, which bundles nothing; yields the address."""
    command = ["node", "node_modules/vite/bin/vite.js", server, "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, "NO_COLOR": "1"}  # under CI Vite colors the address
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout
            lines = iter(process.stdout.readline, "")
            yield next(found[0] for line in lines if (found := re.search(r"http://[\d.]+:\d+/", line)))
        finally:
            process.terminate()


def list_inputs() -> list[Any]:
    strokes = [stroke.ravel().tolist() for stroke in write_with_jitter("語", np.random.default_rng(5))]
    ink = draw_image("字")
    return [strokes, ink.shape[1], ink.ravel().tolist()]


@pytest.mark.parametrize("engine", ["onnxruntime", "tract"])
@pytest.mark.parametrize("server", ["preview", "dev"])
def test_chromium_reads(browser: Browser, app: Path, server: str, engine: str) -> None:
    with serve_app(app, server) as home:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{home}?engine={engine}")
        assert page.evaluate(f"(inputs) => ({READ})(...inputs)", list_inputs()) == [engine, "語", "字", "字", ""]
        assert complaints == []
        page.close()


# What it finds in an image that is larger than what is looked at, as pixels and as a file.
READ_LARGE = """async (width, pixels) => {
  while (!window.reader) await new Promise((done) => setTimeout(done, 20));
  const image = new ImageData(width, pixels.length / width);
  pixels.forEach((gray, at) => image.data.set([gray, gray, gray, 255], 4 * at));
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const readings = [await window.reader.read(image), await window.reader.read(await canvas.convertToBlob())];
  return readings.map(({ characters, unsure }) =>
    [unsure, ...characters.map(({ box, candidates }) => [candidates[0].character, ...box])]);
}"""


def test_boxes_lie_in_the_image_that_was_given(browser: Browser, app: Path) -> None:
    words = np.hstack([np.full((420, 420), 255, np.uint8), *(255 - draw_image(each, 420) for each in "手書")])
    with serve_app(app) as home:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(home)
        found = page.evaluate(f"(inputs) => ({READ_LARGE})(...inputs)", [words.shape[1], words.ravel().tolist()])
        page.close()
    for unsure, *characters in found:
        assert unsure is None
        assert [character for character, *_ in characters] == list("手書")
        for place, (_, left, top, right, bottom) in enumerate(characters, start=1):
            columns = np.flatnonzero((words[:, 420 * place : 420 * (place + 1)] < 128).any(axis=0)) + 420 * place
            assert abs(left - columns[0]) <= 6
            assert abs(right - columns[-1]) <= 6
            assert 0 <= top < bottom <= 420


@pytest.mark.parametrize("name", ["Firefox", "WebKit"])
def test_other_engines_read(name: str, app: Path) -> None:
    with open_engine(name) as driver, serve_app(app) as home:
        for engine in ("onnxruntime", "tract"):
            driver.open(f"{home}?engine={engine}")
            assert driver.call(READ, *list_inputs()) == [engine, "語", "字", "字", ""]


def test_its_types_are_sound(app: Path) -> None:
    (app / "use.ts").write_text(
        """import { load, type LoadError } from "kanji-reader";
export async function read(image: ImageData): Promise<string | undefined> {
  const reader = await load({ model: "m.onnx", mapping: "m.json", engine: "tract", loading: ({ total }) => total });
  const { characters } = await reader.read(image);
  return characters[0]?.candidates[0].character;
}
export const explain = (error: LoadError): "network" | string => error.failure;
// @ts-expect-error: no such engine
load({ model: "m.onnx", mapping: "m.json", engine: "other" });
""",
        encoding="utf-8",
    )
    options = ["--noEmit", "--strict", "--module", "es2022", "--moduleResolution", "bundler", "--target", "es2022"]
    run(["node", str(ROOT / "web" / "node_modules" / "typescript" / "bin" / "tsc"), *options, "use.ts"], app)


def test_the_package_holds_its_files_alone(app: Path) -> None:
    folder = app / "node_modules" / "kanji-reader"
    names = {path.name for path in folder.iterdir()}
    assert {"reader.js", "reader.d.ts", "types.d.ts", "tract.wasm", "onnxruntime.js", "LICENSE", "README.md"} <= names
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    assert package["license"] == "MIT"
    assert "dependencies" not in package
