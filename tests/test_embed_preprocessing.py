"""Preprocessing inside an ONNX file against the toolkit's own, in both engines."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import tract
from onnx import TensorProto, helper

from kanjinet.check_pictures import draw_raw_pictures
from kanjinet.embed_preprocessing import describe_raw_input, embed_preprocessing
from kanjinet.errors import KanjinetError
from kanjinet.preprocess import preprocess
from kanjinet.recognizer import load_recognizer
from tests.random_checkpoint import compute_scores, make_network, write_checkpoint
from tests.test_onnx_export import assert_opset_is_true, run_main

NORMALIZED = "even-lines-2"


def make_identity(size: int, opset: int) -> onnx.ModelProto:
    """A network that gives its input back, flattened, so that what reaches it can be seen."""
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["output"], axis=1)],
        "identity",
        [values("input", TensorProto.FLOAT, ["batch", 1, size, size])],
        [values("output", TensorProto.FLOAT, ["batch", size * size])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)


def draw_cases(height: int, width: int) -> np.ndarray:
    """(n, height, width) uint8: characters, and pictures at the limits of what a picture can be."""
    drawn = draw_raw_pictures(height, width)[:40]
    odd = np.zeros((7, height, width), dtype=np.uint8)
    odd[1, height // 3, width // 2] = 200  # a single pixel
    odd[2] = 255  # ink everywhere
    odd[3, 10:12, 5:-5] = 90  # one flat stroke
    odd[4, 5:-5, 20:23] = 90  # one upright stroke
    odd[5, 8:-8:6, 8:-8] = 255  # many lines
    odd[6, 15:30, 15:30] = np.arange(15) * 17  # grey
    return np.concatenate([drawn, odd])


def add_fragments(cells: np.ndarray) -> np.ndarray:
    """The same with a piece of ink at one edge of each, parted from the character by blank lines, or not."""
    cells = np.where(cells >= 17, cells // 17 * 17, 0).astype(np.uint8)
    for index, cell in enumerate(cells):
        side, depth = index % 4, 3 + index % 9
        edge = (cell, cell[::-1], cell.T, cell.T[::-1])[side]
        edge[:depth, 40:60] = 119
    return cells


def run_both_engines(model: onnx.ModelProto, pictures: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "model.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pinned = tract.onnx().load(path)
    pinned.set_input_fact(0, ",".join(map(str, (1, *pictures.shape[1:]))) + ",u8")
    runnable = pinned.into_model().into_runnable()
    dynamic = tract.onnx().load(path).into_model().into_runnable()
    return {
        "onnxruntime": session.run(None, {"input": pictures})[0],
        "tract": np.concatenate([runnable.run([picture[None]])[0].to_numpy() for picture in pictures]),
        "tract, dynamic": dynamic.run([pictures])[0].to_numpy(),
    }


@pytest.mark.parametrize(
    ("kind", "size", "opset"), [("cell", 64, 12), ("cell", 32, 11), ("picture", 64, 13), ("picture", 128, 11)]
)
def test_graph_does_what_the_toolkit_does(tmp_path: Path, kind: str, size: int, opset: int) -> None:
    raw = describe_raw_input(kind, size)
    assert (raw.height, raw.width) == ((127, 128) if kind == "cell" else (size, size))
    pictures = draw_cases(raw.height, raw.width)
    if kind == "cell":
        pictures = add_fragments(pictures)
    else:
        noise = np.random.default_rng(3).integers(0, 12, pictures.shape)
        pictures = np.concatenate([pictures, np.clip(pictures * 0.7 + 30 + noise, 0, 255).astype(np.uint8)])
    expected = preprocess(pictures, size, NORMALIZED, cells=kind == "cell")
    assert len({picture.tobytes() for picture in expected}) > 40
    model = embed_preprocessing(make_identity(size, opset), raw, NORMALIZED)
    onnx.checker.check_model(model, full_check=True)
    for engine, found in run_both_engines(model, pictures, tmp_path).items():
        difference = np.abs(found.reshape(expected.shape) * 255 - expected)  # levels
        assert difference.max() < 1.01, (engine, np.argwhere(difference > 1.01)[:5])
        assert (difference < 0.01).mean() > 0.999, engine


def test_fragments_of_neighbours_are_really_erased() -> None:
    plain = draw_cases(127, 128)[:40]
    plain = np.where(plain >= 17, plain // 17 * 17, 0).astype(np.uint8)
    expected = preprocess(plain, 64, NORMALIZED, cells=True)
    restored = preprocess(add_fragments(plain.copy()), 64, NORMALIZED, cells=True)
    same = (expected == restored).all(axis=(1, 2)).mean()
    assert 0.3 < same < 1  # or the fragments of the test above would be no test


def test_exported_file_takes_raw_cells_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    options = ("--target-backend", "ort-tract", "--embed-preprocessing", "--data-dir", tmp_path)
    run_main(monkeypatch, "--model-path", checkpoint, *options)
    path = tmp_path / "kanji_model_etl9g_32x32_3036classes_ort-tract_cell.onnx"
    model = onnx.load(path)
    assert_opset_is_true(model, 11)
    assert not {node.op_type for node in model.graph.node} & {
        "Shape",
        "Gather",
        "Reshape",
        "If",
        "Loop",
        "TopK",
        "Where",
    }
    assert "uint8 (batch, 127, 128)" in capsys.readouterr().out
    cells = draw_raw_pictures(127, 128)[:8]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": cells})[0].argmax(axis=1)
    pictures = preprocess(cells, 32, NORMALIZED, cells=True)[:, None].astype(np.float32) / 255

    assert found.tolist() == compute_scores(make_network("1.0", 32), torch.from_numpy(pictures)).argmax(axis=1).tolist()
    properties = session.get_modelmeta().custom_metadata_map
    assert properties["embedded_preprocessing"] == "cell"
    assert "stay" in properties["preprocessing_difference"]
    info = json.loads(path.with_name(f"{path.stem}_mapping.json").read_text(encoding="utf-8"))["model_info"]
    assert info["input"] == {"name": "input", "type": "uint8", "shape": ["batch", 127, 128]}
    with pytest.raises(KanjinetError, match="without --embed-preprocessing"):
        load_recognizer(path)


def test_another_preprocessing_is_not_embedded() -> None:
    with pytest.raises(KanjinetError, match="trained with plain-1"):
        embed_preprocessing(make_identity(32, 11), describe_raw_input("cell", 32), "plain-1")
