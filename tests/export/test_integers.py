"""The 8-bit file computes the same on every CPU: no sum of its products can saturate where VNNI is missing."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from kanjinet.contract import NORMALIZE
from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from kanjinet.export.onnx_export import export_network
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.sample_inputs import load_sample_inputs
from tests.export.integer_reference import list_weight_codes, run_in_integers
from tests.random_checkpoint import draw_images, make_network

MAX_PAIR = 255 * 128  # of two u8 x s8 products whose weights have 7 bits


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_sample_inputs(Path("no dataset"), 64, NORMALIZE).inputs[::32]


@pytest.fixture(scope="module")
def pretrained() -> bytes:
    return PRETRAINED_PATH.read_bytes()


def run_onnxruntime(content: bytes, images: np.ndarray, *, optimized: bool) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images})[0]


@pytest.mark.parametrize("name", ["pretrained", "1.0", "2.1", "3.0"])
def test_no_pair_of_products_leaves_16_bits(name: str, pretrained: bytes) -> None:
    content = pretrained
    if name != "pretrained":
        exported = export_network(make_network(name, 32, "fixed_avg"), "strict").model
        content = quantize_int8(exported, draw_images(32).numpy()).SerializeToString()
    layers = list_weight_codes(content)
    assert len(layers) > 8
    for codes in layers:  # whatever the order in which an engine pairs the products of a sum
        largest = np.sort(np.abs(codes.astype(np.int64)).reshape(len(codes), -1), axis=1)[:, -2:].sum(axis=1)
        assert largest.max() * 255 <= MAX_PAIR <= 32767


def test_onnxruntime_computes_what_exact_integers_do(pretrained: bytes, images: np.ndarray) -> None:
    exact = run_in_integers(pretrained, images)
    for optimized in (False, True):
        found = run_onnxruntime(pretrained, images, optimized=optimized)
        differences = np.abs(found - exact).max(axis=1)
        assert (differences < 1e-3).sum() >= len(images) - 3  # a code at a rounding tie may differ by one step
        assert differences.max() < 2.0
        assert (found.argmax(axis=1) == exact.argmax(axis=1)).all()


def test_saturating_sums_change_nothing(pretrained: bytes, images: np.ndarray) -> None:
    np.testing.assert_array_equal(
        run_in_integers(pretrained, images, saturating=True), run_in_integers(pretrained, images)
    )


def test_saturating_sums_would_change_weights_of_eight_bits(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kanjinet.export.quantization.MAX_CODE", 127)
    exported = export_network(make_network("3.0", 64, "fixed_avg"), "strict").model
    content = quantize_int8(exported, draw_images(64).numpy()).SerializeToString()
    exact = run_in_integers(content, images[:2])
    assert np.abs(run_in_integers(content, images[:2], saturating=True) - exact).max() > 0.1
