"""One way to open a session: each device either computes or says what to do."""

import sys

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kanjinet.errors import KanjinetError
from kanjinet.storage.onnx_file import open_session


@pytest.fixture
def content() -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7).SerializeToString()


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_session_computes(content: bytes, device: str) -> None:
    found = open_session(content, device=device, threads=1).run(None, {"x": np.float32([-1, 2])})[0]
    assert found.tolist() == [0, 2]


def test_apple_s_device_is_refused(content: bytes) -> None:
    with pytest.raises(KanjinetError, match="mps: ONNX files run on cpu or cuda"):
        open_session(content, device="mps")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is CUDA")
def test_cuda_is_refused_where_it_cannot_be_used(content: bytes) -> None:
    with pytest.raises(KanjinetError, match=r"cuda.*onnxruntime-gpu"):
        open_session(content, device="cuda")


def test_a_missing_package_is_named(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(KanjinetError, match="python -m pip install onnxruntime"):
        open_session(content)
