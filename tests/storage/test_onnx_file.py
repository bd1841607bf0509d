"""One way to open a session: each device either computes or says what to do."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kanjinet.errors import KanjinetError
from kanjinet.storage.onnx_file import open_session, read_self_contained


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


def field(number: int, content: bytes, length: bytes | None = None) -> bytes:
    """A field of a Protocol Buffers message that holds bytes; `length` for an unusual form of their number."""
    size = len(content)
    return bytes([number << 3 | 2]) + (length or bytes([size & 127 | 128, size >> 7])) + content


@pytest.mark.parametrize("length", [b"\x08", b"\x88\x00", b"\x88\x80\x80\x80\x00"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_path_is_found_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: bytes, is_first: bool
) -> None:
    np.arange(9, dtype=np.float32).tofile(tmp_path / "other.bin")
    monkeypatch.chdir(tmp_path)
    key, value = field(1, b"location", length), field(2, b"other.bin", b"\x09")
    entry = field(13, key + value if is_first else value + key)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[9], data_location=TensorProto.EXTERNAL)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [9]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    initializer = field(5, tensor.SerializeToString() + entry)
    content = model.SerializeToString() + field(7, initializer)  # a second graph field is merged into the first
    (tmp_path / "m.onnx").write_bytes(content)
    assert open_session(content).run(None, {"x": np.zeros(9, np.float32)})[0][8] == 8  # what must not happen
    with pytest.raises(KanjinetError, match=rf"m\.onnx.* in another file, '{'other.bin' if is_first else ''}'"):
        read_self_contained(tmp_path / "m.onnx", "write it again")


def test_the_word_location_in_a_text_is_no_path(content: bytes, tmp_path: Path) -> None:
    text = field(6, b"its location\nlocation")  # ModelProto.doc_string
    (tmp_path / "m.onnx").write_bytes(content + text)
    assert read_self_contained(tmp_path / "m.onnx", "write it again") == content + text


def test_other_formats_of_onnxruntime_are_not_taken() -> None:
    with pytest.raises(Exception, match="protobuf parsing failed"):
        open_session(b"\0\0\0\0ORTM" + bytes(100))
