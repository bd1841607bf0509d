"""Files made to run code, to fill the memory or to reach out of their folder: refused in one line, within bounds."""

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from kanjinet.classes import ETL9G_SET
from kanjinet.data import etl_records
from kanjinet.data.dataset import ChunkInfo, Labels, read_chunk, read_chunk_infos, read_dataset_info, write_chunk
from kanjinet.data.drawings import read_drawings
from kanjinet.data.etl_files import find_etl_files
from kanjinet.data.image_files import MAX_SIDE, read_image
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.storage.checkpoint import load_checkpoint
from kanjinet.storage.files import MAX_JSON_BYTES, read_json, replace_on_success, write_json
from kanjinet.storage.locks import LOCK_NAME, lock_folder
from kanjinet.storage.model_card import ModelCard
from kanjinet.storage.zip_files import MAX_UNPACKED_BYTES
from kanjinet.training.history import HISTORY_NAME, read_history
from tests.conftest import ROOT, run_script
from tests.data.test_image_files import png_of_nothing
from tests.random_checkpoint import CARD, make_checkpoint, write_checkpoint
from tests.sample_files import write_file

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
MAX_GROWTH_MIB = 100  # of a process that reads the bombs, beyond what the same process takes without them
CHUNK = "etl9g_dataset_chunk_01.npz"
Member = tuple[str, bytes]


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["KANJINET_TEST_TRAP"],)


def pack(members: Sequence[Member], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def save_array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def promise_array(header: str, content: bytes = b"") -> bytes:
    """An NPY file whose header is this text."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + content


def describe_array(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def read_as_chunk(folder: Path, content: bytes, names: tuple[str, ...] = ("y",), records: int = 3) -> dict[str, Any]:
    """The content as the only chunk of a dataset whose chunk_info.json is right about it."""
    (folder / CHUNK).write_bytes(content)
    info = ChunkInfo(CHUNK, records, hashlib.sha256(content).hexdigest(), "ETL9G_01", 1, "", False)
    return read_chunk(folder, info, names)


def assert_one_line(error: pytest.ExceptionInfo[KanjinetError]) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600, message


# Datasets


def test_the_writer_s_own_chunk_is_read(tmp_path: Path) -> None:
    file, numbers = io.BytesIO(), np.arange(1, 4)
    labels = Labels(numbers.astype(np.uint16), numbers.astype(np.uint8), numbers.astype(np.uint8))
    write_chunk(file, labels, 32, [np.ones((3, 32, 32), np.uint8)])
    found = read_as_chunk(tmp_path, file.getvalue(), ("X", "y", "data_set", "sheet"))
    assert found["y"].tolist() == [1, 2, 3]
    assert found["X"].sum() == 3 * 32 * 32


@pytest.mark.parametrize(
    "member",
    [
        ("y", b"abc"),  # numpy hands such a member out as bytes
        ("y.npy", save_array(np.array(3, np.uint16))),
        ("y.npy", save_array(np.array(["a", "b", "c"]))),
        ("y.npy", save_array(np.array([-1, 2, 3]))),
        ("y.npy", save_array(np.zeros((3, 2), np.uint16))),
        ("y.npy", save_array(np.zeros(3, np.uint16))[:-1]),
        ("y.npy", promise_array(describe_array("'<u2'", f"({10**15},)"))),
        ("y.npy", promise_array(describe_array("'<u2'", "(-3,)"))),
        ("y.npy", promise_array(describe_array("'|V0'", "(3,)"))),
        ("y.npy", promise_array(describe_array("',,'", "(3,)"))),
        ("y.npy", promise_array(describe_array("'<u2'", "(((("))),
        ("y.npy", promise_array("-" * 9000 + "1")),
        ("y.npy", promise_array(" \n\t1\n  2")),
        ("y.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff"),
    ],
    ids=lambda member: repr(member[1][:90]),
)
def test_arrays_that_are_none_of_a_chunk_are_refused(tmp_path: Path, member: Member) -> None:
    with pytest.raises(KanjinetError, match=f"{CHUNK}: .*prepare_etl9g_dataset") as error:
        read_as_chunk(tmp_path, pack([member]))
    assert_one_line(error)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_ways_of_packing_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    content = pack([("y.npy", save_array(np.zeros(3, np.uint16)))], method)
    with pytest.raises(KanjinetError, match="packed in another way"):
        read_as_chunk(tmp_path, content)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    content = bytearray(pack([("y.npy", save_array(np.zeros(3, np.uint16)))]))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(KanjinetError, match="encrypted"):
        read_as_chunk(tmp_path, bytes(content))


def test_a_directory_of_a_million_members_is_refused_before_it_is_read(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 9, 1, *[0] * 6) + b"x"
    count = (1 << 20) // len(entry) + 1
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, count * len(entry), 0, 0)
    with pytest.raises(KanjinetError, match="directory is too large"):
        read_as_chunk(tmp_path, entry * count + end)


def test_objects_in_arrays_are_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setenv("KANJINET_TEST_TRAP", str(trap))
    content = pack([(f"{name}.npy", save_array(np.array([RunsCode()]))) for name in ("y", "images", "characters")])
    with pytest.raises(KanjinetError):
        read_as_chunk(tmp_path, content)
    with pytest.raises(KanjinetError):
        read_drawings(tmp_path / CHUNK)
    assert not trap.exists()
    np.load(io.BytesIO(content), allow_pickle=True)["y"]
    assert trap.exists()  # it was armed


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etl9g_dataset_chunk_01.npz"},
        {"name": "/dev/zero"},
        {"name": "etl9g_dataset_chunk_01.npz/../../x"},
        {"name": "etl9g_dataset_chunk_０１.npz"},  # full-width digits
        {"name": ["etl9g_dataset_chunk_01.npz"]},
        {"records": 10**30},
        {"records": -1},
        {"records": True},
        {"more": 1},
    ],
    ids=str,
)
def test_chunk_info_names_nothing_but_chunks_of_its_folder(tmp_path: Path, change: dict[str, Any]) -> None:
    entry = asdict(ChunkInfo(CHUNK, 3, "", "ETL9G_01", 1, "", False)) | change
    write_json(tmp_path / "chunk_info.json", {"settings": {}, "chunks": [entry]})
    with pytest.raises(KanjinetError, match=r"chunk_info\.json") as error:
        read_chunk_infos(tmp_path)
    assert_one_line(error)


@POSIX
@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_chunks_and_descriptions_that_never_end_are_refused(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / CHUNK).symlink_to(target)
    with pytest.raises(KanjinetError, match="missing chunk"):
        read_chunk(tmp_path, ChunkInfo(CHUNK, 3, "", "ETL9G_01", 1, "", False))
    (tmp_path / "chunk_info.json").symlink_to(target)
    with pytest.raises(KanjinetError, match="a pipe or a device"):
        read_chunk_infos(tmp_path)


def test_numbers_without_end_in_a_description_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "chunk_info.json", {"settings": {}, "chunks": []})
    fields = '"preprocessing": {"version": "even-lines-2"}, "synthetic": true, "dataset_sha256": ""'
    (tmp_path / "metadata.json").write_text(f'{{"image_size": 1e999, {fields}}}')
    with pytest.raises(KanjinetError, match=r"metadata\.json"):
        read_dataset_info(tmp_path)
    (tmp_path / HISTORY_NAME).write_text('{"options": {}, "epochs": [{"epoch": 1e999}]}')
    with pytest.raises(KanjinetError, match=HISTORY_NAME):
        read_history(tmp_path / "m.pth", CARD.options)


@pytest.mark.parametrize(
    "content", [b"9" * 5000, b"[" * 200_000, b"{" + b" " * MAX_JSON_BYTES + b"}"], ids=lambda content: content[:3]
)
def test_json_of_any_size_and_depth_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(KanjinetError, match=r"x\.json: .*do this") as error:
        read_json(tmp_path / "x.json", "do this")
    assert_one_line(error)


# ETL9G files


def test_digits_of_another_script_name_no_etl9g_file(tmp_path: Path) -> None:
    for name in ("ETL9G_01", "ETL9G_０１"):  # else both would be file 1
        write_file(tmp_path / name, [1], [0x3021])
    assert [file.path.name for file in find_etl_files(tmp_path)] == ["ETL9G_01"]


@POSIX
def test_pipes_among_etl9g_files_are_passed_over(tmp_path: Path) -> None:
    write_file(tmp_path / "ETL9G_01", [1], [0x3021])
    for name in ("ETL9G_02", "ETL9INFO"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "ETL9G_03").symlink_to("ETL9G_03")
    assert len(find_etl_files(tmp_path)) == 1
    assert not etl_records.is_synthetic(find_etl_files(tmp_path)[0])


# Output folders


@POSIX
@pytest.mark.parametrize("name", ["result.json.part", "result.json"])
def test_nothing_is_written_through_a_link_that_lies_in_wait(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    write_json(tmp_path / "out" / "result.json", {})
    assert (tmp_path / "precious").read_text() == "keep"
    assert stat.S_ISREG((tmp_path / "out" / "result.json").lstat().st_mode)


@POSIX
def test_a_pipe_in_wait_keeps_no_writer_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.part")
    with replace_on_success(tmp_path / "x") as file:
        file.write(b"content")
    assert (tmp_path / "x").read_bytes() == b"content"


@POSIX
def test_a_lock_makes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=LOCK_NAME), lock_folder(tmp_path / "out", "test"):
        pass
    assert not (tmp_path / "elsewhere").exists()


# Checkpoints and models


def save_variant(path: Path, **changes: Any) -> Path:
    """A checkpoint with other contents."""
    torch.save({**torch.load(write_checkpoint(path, "1.0", 32), weights_only=True), **changes}, path)
    return path


def make_endless_list(depth: int = 30) -> list[Any]:
    """Ten references to ten references to ...: a few bytes in a pickle, 10 ** depth words where it is written out."""
    values: list[Any] = ["word"] * 10
    for _ in range(depth):
        values = [values] * 10
    return values


@pytest.mark.parametrize(
    "name", ["format", "preprocessing", "synthetic", "training", "dataset_sha256", "environment", "config"]
)
def test_endless_lists_in_checkpoints_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    endless = make_endless_list()
    path = save_variant(tmp_path / "m.pth", **{name: {"version": endless} if name == "config" else endless})
    with pytest.raises(KanjinetError, match=r"m\.pth") as error:
        load_checkpoint(path)
    assert_one_line(error)


@pytest.mark.parametrize(
    "training",
    [{"x": make_endless_list()}, {"x": 1 << 70}, {1: 2}, {"x": torch.zeros(1)}],
    ids=["list", "int", "key", "tensor"],
)
def test_what_json_cannot_say_of_a_training_is_refused(tmp_path: Path, training: dict[Any, Any]) -> None:
    with pytest.raises(KanjinetError, match=r"m\.pth: its parts do not fit together \(training has"):
        load_checkpoint(save_variant(tmp_path / "m.pth", training={**CARD.to_dict()["training"], **training}))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_features": 10**9},
        {"hidden_features": 60_000, "channels": [32, 64, 128, 60_000]},
        {"hidden_features": 0, "classifier_rank": 60_000},
        {"classifier_rank": 192},
        {"depths": [10**9, 1, 1, 1]},
        {"depths": [0, 1, 1, 1]},
        {"channels": []},
        {"channels": ["a"] * 4},
        {"image_size": 16 * 10**6},
        {"image_size": "64"},
        {"num_classes": 10},
    ],
    ids=str,
)
def test_absurd_networks_are_refused_without_building_them(tmp_path: Path, change: dict[str, Any]) -> None:
    config = make_checkpoint("1.0", 32).config.to_dict() | change
    with pytest.raises(KanjinetError, match=r"m\.pth: its parts do not fit") as error:
        load_checkpoint(save_variant(tmp_path / "m.pth", config=config))
    assert_one_line(error)


@pytest.mark.parametrize("kind", ["few bytes for many", "of no memory", "another type"])
def test_tensors_that_are_not_what_they_promise_are_refused(tmp_path: Path, kind: str) -> None:
    network = make_checkpoint("1.0", 32).model
    tensors = dict(network.state_dict())
    name = "classifier.4.weight"
    if kind == "few bytes for many":
        tensors[name] = torch.zeros(1).expand(3036, 1 << 40)
    elif kind == "of no memory":
        tensors[name] = tensors[name].to("meta")
    else:
        tensors[name] = tensors[name].double()
    with pytest.raises(KanjinetError, match=r"m\.pth: its parts do not fit .*classifier\.4\.weight"):
        load_checkpoint(save_variant(tmp_path / "m.pth", state_dict=tensors))


def test_a_network_without_its_starting_weights_loads_no_compiler(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m.pth", "3.0", 32)
    code = "import sys; from pathlib import Path; from kanjinet.storage.checkpoint import load_checkpoint; "
    code += "load_checkpoint(Path(sys.argv[1])); assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.pth")], cwd=ROOT, check=True)


def make_onnx(tmp_path: Path, nodes: list[onnx.NodeProto], inputs: int = 1, **properties: str) -> Path:
    """A model of the toolkit, as its metadata says, with these nodes."""
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 64, 64])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [value][:inputs], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    said = {**CARD.to_strings(), "class_table_sha256": ETL9G_SET.sha256, "image_size": "64"}
    helper.set_model_props(model, {**said, **properties})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


IDENTITY = helper.make_node("Identity", ["input"], ["output"])


@pytest.mark.parametrize(
    "properties",
    [
        {"image_size": str(10**9)},
        {"training": "3"},
        {"training": "[" * 100_000},
        {"preprocessing": "x" * 10_000},
        {"synthetic": "9" * 5000},
    ],
    ids=lambda properties: next(iter(properties)),
)
def test_contradictory_onnx_files_are_refused(tmp_path: Path, properties: dict[str, str]) -> None:
    with pytest.raises(KanjinetError, match=r"m\.onnx") as error:
        load_recognizer(make_onnx(tmp_path, [IDENTITY], **properties))
    assert_one_line(error)


@pytest.mark.parametrize(
    "change",
    [{"split": "none"}, {"seed": -1}, {"seed": 1 << 32}, {"seed": "0"}, {"sample_limit": 0}, {"dataset_sha256": None}],
    ids=str,
)
def test_models_that_do_not_say_how_their_images_were_divided_are_refused(change: dict[str, Any]) -> None:
    card = CARD.to_dict()
    assert ModelCard.from_dict(card) == CARD
    with pytest.raises(ValueError, match=next(iter(change))):
        ModelCard.from_dict({**card, "training": {**card["training"], **change}})


def test_evaluation_refuses_a_model_that_says_nothing_of_its_training(workplace: Path, tmp_path: Path) -> None:
    path = make_onnx(tmp_path, [IDENTITY], training="{}")
    done = run_script(["evaluate_model.py", "--model", path, "--output-dir", tmp_path / "out"], workplace, check=False)
    assert done.stderr.startswith("error: ")
    assert "m.onnx: not a model of this toolkit (it does not say the split by which" in done.stderr
    assert not (tmp_path / "out").exists()


def test_onnx_files_that_compute_something_else_are_refused(tmp_path: Path) -> None:
    for nodes in (
        [IDENTITY],
        [
            helper.make_node("Constant", [], ["n"], value_ints=[3, 5]),
            helper.make_node("Reshape", ["input", "n"], ["output"]),
        ],
    ):
        recognizer = load_recognizer(make_onnx(tmp_path, nodes))
        with pytest.raises(KanjinetError, match=r"m\.onnx: (does not return|onnxruntime cannot run it)") as error:
            recognizer.compute_logits(np.zeros((1, 64, 64), np.uint8))
        assert_one_line(error)
    constant = helper.make_node("Constant", [], ["output"], value_floats=[1.0])
    with pytest.raises(KanjinetError, match="takes no images"):
        load_recognizer(make_onnx(tmp_path, [constant], inputs=0))


# Images


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)])
def test_threads_of_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(KanjinetError, match=f"sides of more than {MAX_SIDE:,}"):
        read_image(io.BytesIO(png_of_nothing(*size)), "thread")


def test_images_that_are_gone_over_without_end_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(
        file, "JPEG", progressive=True
    )
    content = file.getvalue()
    assert 2 < content.count(b"\xff\xda") < 20
    trailing = b"\xff\xda" * 1000  # a video, say, after the image's end
    assert read_image(io.BytesIO(content + trailing), "x").shape == (40, 40)
    last_scan = content[content.rindex(b"\xff\xda") : -2]
    with pytest.raises(KanjinetError, match="more than 100 scans"):
        read_image(io.BytesIO(content[:-2] + last_scan * 100 + content[-2:]), "x")


@POSIX
@pytest.mark.parametrize("name", ["pipe.png", "/dev/zero"])
def test_images_that_never_end_are_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(KanjinetError, match="a pipe or a device where a file is needed"):
        read_image(tmp_path / name, name)


def test_gigantic_files_are_refused_by_their_length(tmp_path: Path) -> None:
    with open(tmp_path / "x.webp", "wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8L")
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(KanjinetError, match="more than 400 MB"):
        read_image(tmp_path / "x.webp", "x.webp")


# Bombs: what they would unpack to never gets into the memory


def write_bombs(folder: Path) -> None:
    unpacked = bytes(MAX_UNPACKED_BYTES + 1)
    (folder / "chunk.npz").write_bytes(pack([("y.npy", promise_array(describe_array("'|u1'", "(3,)"), unpacked))]))
    (folder / "header.npz").write_bytes(pack([("y.npy", b"\x93NUMPY\2\0" + struct.pack("<L", 1 << 31) + unpacked)]))
    with zipfile.ZipFile(write_checkpoint(folder / "m.pth", "1.0", 32)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    replaced = [(name, unpacked if name.endswith("/data/0") else content) for name, content in members]
    (folder / "tensor.pth").write_bytes(pack(replaced))
    save_variant(folder / "endless.pth", training={"x": make_endless_list()})
    save_variant(
        folder / "config.pth", config=make_checkpoint("1.0", 32).config.to_dict() | {"hidden_features": 60_000}
    )
    with open(folder / "sparse.json", "wb") as file:
        file.truncate(1 << 40)
    with open(folder / "sparse.safetensors", "wb") as file:
        file.truncate(1 << 40)
    (folder / "text.png").write_bytes(png_with_text(bytes(1 << 27)))


def png_with_text(text: bytes) -> bytes:
    """An image of one pixel with a compressed comment."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    comment = b"zTXtComment\0\0" + zlib.compress(text, 9)
    chunk = struct.pack(">L", len(comment) - 4) + comment + struct.pack(">L", zlib.crc32(comment))
    return file.getvalue()[:33] + chunk + file.getvalue()[33:]


READ_ALL = """
import hashlib, resource, sys
from pathlib import Path
if "--limit" in sys.argv:
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
from kanjinet.storage.checkpoint import load_checkpoint
from kanjinet.data.dataset import ChunkInfo, read_chunk
from kanjinet.data.drawings import read_drawings
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import read_json
from kanjinet.data.image_files import read_image
from kanjinet.storage.safetensors_file import load_safetensors
import safetensors
load_checkpoint(Path("m.pth"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def as_chunk(path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    Path("etl9g_dataset_chunk_01.npz").write_bytes(path.read_bytes())
    return read_chunk(Path(), ChunkInfo("etl9g_dataset_chunk_01.npz", 3, sha256, "", 1, "", False), ("y",))

readers = {
    ".npz": [as_chunk, read_drawings],
    ".pth": [load_checkpoint],
    ".json": [lambda path: read_json(path, "do this")],
    ".safetensors": [load_safetensors],
    ".png": [lambda path: read_image(path, "x")],
}
for path in sorted(Path().iterdir()):
    for read in readers.get(path.suffix, ()) if path.name not in ("m.pth", "etl9g_dataset_chunk_01.npz") else ():
        try:
            read(path)
        except KanjinetError as error:
            print(f"refused {path.name} {error}")
        else:
            print(f"read {path.name}")
print("grown", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@POSIX
def test_bombs_do_not_go_off(tmp_path: Path) -> None:
    write_bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, "--limit"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) == 10, done.stdout
    for line in lines:
        assert line.startswith("refused") or "text.png" in line, line
        assert len(line) < 600
    assert int(last.split()[1]) < MAX_GROWTH_MIB, done.stdout
