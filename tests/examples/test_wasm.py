"""examples/rust as WebAssembly, in Node: its preprocessing and its predictions beside Python's."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kanjinet.classes import CHARACTERS
from kanjinet.contract import NORMALIZE
from kanjinet.data.image_files import make_ink_bright, to_network_input
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.web.bundle import NODE_REMEDY
from tests.browser import write_with_jitter
from tests.conftest import ROOT, require
from tests.drawn_images import ImageArray, draw_image, list_odd_images


@pytest.fixture(scope="module")
def wasm_path(tract_wasm: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("node"), NODE_REMEDY)
    path = tmp_path_factory.mktemp("wasm") / "tract.wasm"
    path.write_bytes(tract_wasm)
    return path


def read_all(wasm_path: Path, images: list[ImageArray], drawings: list[Any] | None = None) -> dict[str, Any]:
    packed = [[each.shape[1], each.shape[0], base64.b64encode(each.tobytes()).decode()] for each in images]
    paths = [Path(__file__).with_name("read_in_wasm.mjs"), ROOT / "web" / "reader", wasm_path, PRETRAINED_PATH]
    inputs = json.dumps({"images": packed, "drawings": drawings or []})
    command = ["node", *map(str, paths)]
    return json.loads(subprocess.run(command, input=inputs, stdout=subprocess.PIPE, text=True, check=True).stdout)


def prepare(image: ImageArray) -> ImageArray | None:
    return to_network_input(make_ink_bright(image), 64, NORMALIZE)


def test_it_imports_nothing_and_prepares_images_as_python_does(wasm_path: Path) -> None:
    images = list_odd_images()
    found = read_all(wasm_path, images)
    assert found["imports"] == []
    expected = [prepare(each) for each in images]
    assert [each is None for each in found["readings"]] == [each is None for each in expected]
    num_different = 0
    for reading, seen in zip(found["readings"], expected, strict=True):
        if seen is not None:
            differences = np.abs(np.frombuffer(base64.b64decode(reading[0]), np.uint8) - seen.ravel().astype(int))
            assert differences.max() <= 1
            num_different += (differences > 0).sum()
    assert num_different < 1e-4 * 64 * 64 * len(images)


def test_its_best_classes_are_onnxruntimes(wasm_path: Path) -> None:
    images = [draw_image(CHARACTERS[index]) for index in range(0, 3036, 24)]
    readings = read_all(wasm_path, images)["readings"]
    found = np.stack([np.frombuffer(base64.b64decode(text), np.float32) for _, text in readings])
    seen = np.stack([prepare(each) for each in images])
    best = load_recognizer().find_best(seen, 1)
    assert (found.argmax(axis=1) == best.classes[:, 0]).all()
    assert np.abs(found.max(axis=1) - best.probabilities[:, 0]).max() < 0.02
    assert np.allclose(found.sum(axis=1), 1, atol=1e-4)


def test_strokes_are_prepared_as_the_page_does(wasm_path: Path) -> None:
    rng = np.random.default_rng(11)
    characters = rng.choice(list(CHARACTERS), 60, replace=False)
    drawings = [[stroke.ravel().tolist() for stroke in write_with_jitter(each, rng)] for each in characters]
    found = read_all(wasm_path, [], [*drawings, [[0.5, 0.5]], [[0.1, 0.2, 0.9, 0.2]]])
    assert found["apart"] <= 1
    assert found["blank"] is None
    assert "no number" in found["complaints"][0]
    assert len(found["complaints"]) == 2
