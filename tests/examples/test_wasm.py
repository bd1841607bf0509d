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
from kanjinet.data.image_files import to_network_input
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.web.bundle import NODE_REMEDY
from tests.conftest import ROOT, require
from tests.drawn_images import ImageArray, draw_image, list_odd_images


@pytest.fixture(scope="module")
def wasm_path(tract_wasm: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("node"), NODE_REMEDY)
    path = tmp_path_factory.mktemp("wasm") / "tract.wasm"
    path.write_bytes(tract_wasm)
    return path


def read_all(wasm_path: Path, images: list[ImageArray]) -> dict[str, Any]:
    packed = [[each.shape[1], each.shape[0], base64.b64encode(each.tobytes()).decode()] for each in images]
    paths = [Path(__file__).with_name("read_in_wasm.mjs"), ROOT / "web" / "reader" / "tract.js", wasm_path]
    command = ["node", *map(str, paths), str(PRETRAINED_PATH)]
    result = subprocess.run(command, input=json.dumps(packed), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def test_it_imports_nothing_and_prepares_images_as_python_does(wasm_path: Path) -> None:
    images = list_odd_images()
    found = read_all(wasm_path, images)
    assert found["imports"] == []
    expected = [to_network_input(each, 64, NORMALIZE) for each in images]
    assert [each is None for each in found["results"]] == [each is None for each in expected]
    num_different = 0
    for result, seen in zip(found["results"], expected, strict=True):
        if seen is not None:
            differences = np.abs(np.frombuffer(base64.b64decode(result[0]), np.uint8) - seen.ravel().astype(int))
            assert differences.max() <= 1
            num_different += (differences > 0).sum()
    assert num_different < 1e-4 * 64 * 64 * len(images)


def test_its_best_classes_are_onnxruntimes(wasm_path: Path) -> None:
    images = [draw_image(CHARACTERS[index]) for index in range(0, 3036, 24)]
    results = read_all(wasm_path, images)["results"]
    found = np.stack([np.frombuffer(base64.b64decode(text), np.float32) for _, text in results])
    seen = np.stack([to_network_input(each, 64, NORMALIZE) for each in images])
    best = load_recognizer().find_best(seen, 1)
    assert (found.argmax(axis=1) == best.classes[:, 0]).all()
    assert np.abs(found.max(axis=1) - best.probabilities[:, 0]).max() < 0.02
    assert np.allclose(found.sum(axis=1), 1, atol=1e-4)
