"""One changed bit of a weight is noticed in every kind of model file; files from before there were checksums load."""

import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper

from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.storage.checkpoint import hash_tensors, load_checkpoint, save_checkpoint
from kanjinet.storage.model_card import find_git_revision
from kanjinet.storage.onnx_file import check_seal, seal
from kanjinet.storage.safetensors_file import load_safetensors, serialize_checkpoint
from kanjinet.training.history import HISTORY_NAME, read_history, write_history
from tests.conftest import require
from tests.random_checkpoint import CARD, make_checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.pth and m.safetensors."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint = make_checkpoint("1.0", 32)
    save_checkpoint(folder / "m.pth", checkpoint)
    (folder / "m.safetensors").write_bytes(serialize_checkpoint(checkpoint))
    return folder


LOADERS: dict[str, Callable[[Path], object]] = {"m.pth": load_checkpoint, "m.safetensors": load_safetensors}


@pytest.mark.parametrize("name", LOADERS)
def test_one_bit_of_a_weight_is_noticed(files: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((files / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KanjinetError, match=rf"{name}: .*damaged"):
        LOADERS[name](tmp_path / name)


def test_weights_that_were_changed_in_a_whole_archive_are_noticed(files: Path, tmp_path: Path) -> None:
    content = torch.load(files / "m.pth", weights_only=True)
    content["state_dict"]["classifier.4.bias"][5] += 1
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(KanjinetError, match=r"m\.pth: damaged, its weights are not those of its checksum: use a best_"):
        load_checkpoint(tmp_path / "m.pth")


def test_both_formats_carry_the_same_checksum_of_weights_by_its_definition(files: Path) -> None:
    content = torch.load(files / "m.pth", weights_only=True)
    digest = hashlib.sha256()
    for name in sorted(content["state_dict"]):
        array = content["state_dict"][name].numpy()
        digest.update(f"{name} torch.{array.dtype} {array.shape}\n".encode() + array.tobytes())
    assert content["weights_sha256"] == digest.hexdigest()
    assert digest.hexdigest().encode() in (files / "m.safetensors").read_bytes()


def test_the_same_network_gives_the_same_bytes(files: Path) -> None:
    """The package safetensors itself orders a header's metadata again each time."""
    contents = {serialize_checkpoint(make_checkpoint("1.0", 32)) for _ in range(3)}
    assert contents == {(files / "m.safetensors").read_bytes()}


def test_layout_in_memory_does_not_change_the_checksum() -> None:
    weight = torch.arange(120.0).reshape(2, 3, 4, 5)
    other = weight.contiguous(memory_format=torch.channels_last)
    assert hash_tensors({"w": weight}) == hash_tensors({"w": other}) != hash_tensors({"w": weight.reshape(3, 2, 4, 5)})


def test_a_changed_working_copy_is_not_taken_for_its_commit(tmp_path: Path) -> None:
    require(shutil.which("git"), "install git")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=writer", "-c", "user.email=writer@example.org"]
    (tmp_path / "code.py").write_text("first", encoding="utf-8")
    for words in (["init", "-q"], ["add", "code.py"], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert find_git_revision(tmp_path) == commit
    (tmp_path / "code.py").write_text("second", encoding="utf-8")
    assert find_git_revision(tmp_path) == f"{commit}-dirty"


def test_files_from_before_there_were_checksums_load(files: Path, tmp_path: Path) -> None:
    content = torch.load(files / "m.pth", weights_only=True)
    del content["weights_sha256"]
    torch.save(content, tmp_path / "m.pth")
    assert load_checkpoint(tmp_path / "m.pth").card.synthetic


def test_a_state_with_a_changed_number_is_noticed(tmp_path: Path) -> None:
    """PyTorch does not compare an archive's CRC-32."""
    from kanjinet.training.resume import STATE_FORMAT, read_state

    path = tmp_path / "training_state.pth"
    torch.save({"format": STATE_FORMAT, "options": {}, "trainer": {}, "run": {"best_accuracy": 0.7071}}, path)
    assert read_state(path)["run"]["best_accuracy"] == 0.7071
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("training_state/data.pkl")
        pickled = archive.read(place)
    content = bytearray(path.read_bytes())
    number = content.index(pickled) + pickled.index(b"G", pickled.index(b"best_accuracy")) + 3
    content[number] ^= 1
    path.write_bytes(content)
    assert torch.load(io.BytesIO(content), weights_only=True)["run"]["best_accuracy"] != 0.7071
    with pytest.raises(KanjinetError, match=r"training_state\.pth: .*damaged.*delete it"):
        read_state(path)


def test_a_history_with_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / HISTORY_NAME
    epoch = {"epoch": 1, "train_loss": 6.5, "train_accuracy": 0.5, "validation_loss": 6, "validation_accuracy": 0.25}
    write_history(path, asdict(CARD.options), [epoch], synthetic=True)
    assert read_history(tmp_path / "m.pth", CARD.options) == [epoch]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("6.5", "6.4"), encoding="utf-8")
    with pytest.raises(KanjinetError, match=r"training_progress\.json: damaged, its content_sha256 .*: remove it"):
        read_history(tmp_path / "m.pth", CARD.options)
    content = json.loads(text)
    del content["content_sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_history(tmp_path / "m.pth", CARD.options) == [epoch]


def make_onnx() -> bytes:
    """A file that a name and a checker take, with a weight."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "w"], ["output"])],
        "g",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [2])],
        [helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [0.5, 0.25])],
        value_info=[value],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7).SerializeToString()


def test_every_bit_of_a_sealed_onnx_file_counts() -> None:
    content = seal(make_onnx())
    model = onnx.load_model_from_string(content)
    assert [entry.key for entry in model.metadata_props] == ["content_sha256"]
    assert model.SerializeToString() == content
    onnx.checker.check_model(content, full_check=True)
    check_seal(content, Path("m.onnx"), "x")
    for place in range(len(make_onnx())):
        changed = bytearray(content)
        changed[place] ^= 4
        with pytest.raises(KanjinetError, match=r"m\.onnx: damaged or changed, its content_sha256 .*: write it again"):
            check_seal(bytes(changed), Path("m.onnx"), "write it again")


def test_a_changed_onnx_file_is_refused_and_an_unsealed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    changed = bytearray(seal(make_onnx()))
    changed[changed.index(b"\x00\x00\x00?")] ^= 1  # 0.5
    path.write_bytes(changed)
    with pytest.raises(KanjinetError, match=r"m\.onnx: damaged or changed"):
        load_recognizer(path)
    path.write_bytes(make_onnx())
    with pytest.raises(KanjinetError, match=r"m\.onnx: not a model of this toolkit"):
        load_recognizer(path)


@pytest.mark.parametrize(
    "content", [b"", seal(make_onnx()).replace(b"content_sha256", b"content\xff\xff\xff\xff\xff\xff\xff")]
)
def test_a_file_without_a_graph_and_one_with_a_damaged_key_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(KanjinetError, match=r"m\.onnx: onnxruntime does not take it .*: write it again"):
        load_recognizer(path)
