"""SafeTensors files, read by the tests' own code: 8 bytes of header length, JSON, raw tensors."""

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import convert_to_safetensors
from kanjinet.classes import CHARACTERS, ETL9G_SET
from kanjinet.contract import CONTRACTS
from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import load_checkpoint
from kanjinet.storage.safetensors_file import compare_tensors, load_safetensors, serialize_checkpoint
from tests.random_checkpoint import CARD, compute_logits, draw_images, make_checkpoint, write_checkpoint

NUMPY_TYPES = {"F32": np.float32, "I64": np.int64}
NAME = "kanji_model_etl9g_32x32_3036classes.safetensors"


def read_by_hand(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    data = content[8 + length :]
    properties = header.pop("__metadata__")
    tensors = {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
    return properties, tensors


def write_by_hand(path: Path, content: bytes, changes: dict[str, str | None]) -> Path:
    """The same file with other metadata, as whole as one of an older version, which had no checksum of them."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    header["__metadata__"] = {
        key: value
        for key, value in {**header["__metadata__"], "header_sha256": None, **changes}.items()
        if value is not None
    }
    encoded = json.dumps(header).encode("utf-8")
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])
    return path


@pytest.fixture(scope="module")
def content() -> bytes:
    return serialize_checkpoint(make_checkpoint("2.1", 32))


def run_main(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["convert_to_safetensors.py", *map(str, options)])
    convert_to_safetensors.main()


def test_script_writes_every_tensor_and_a_header_of_strings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "3.0", 32)
    run_main(monkeypatch, "--model-path", checkpoint, "--verify")
    properties, tensors = read_by_hand((tmp_path / NAME).read_bytes())
    expected = load_checkpoint(checkpoint).model.state_dict()
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].tobytes() == tensor.numpy().tobytes(), name
    assert all(isinstance(value, str) for value in properties.values())
    assert properties["class_table"] == CHARACTERS
    assert properties["class_table_sha256"] == ETL9G_SET.sha256
    assert (properties["num_classes"], properties["image_size"]) == ("3036", "32")
    assert (properties["model_version"], properties["pooling_type"]) == ("3.0", "adaptive_avg")
    assert properties["preprocessing_contract"] == CONTRACTS[properties["preprocessing"]]
    assert json.loads(properties["config"])["channels"] == [32, 64, 128, 256, 512]
    assert json.loads(properties["training"]) == CARD.to_dict()["training"]
    assert json.loads(properties["accuracy"])["validation"]["top1"] == 0.5
    assert json.loads(properties["synthetic"]) is True
    assert json.loads(properties["environment"])["torch"] == "2.14.1"
    floats = sum(tensor.size for name, tensor in tensors.items() if "running" not in name and "num_" not in name)
    assert int(properties["parameters"]) == floats
    out = capsys.readouterr().out
    assert f"{len(expected)} tensors equal bit by bit" in out
    assert "synthetic sample" in out
    assert {each.name for each in tmp_path.iterdir()} == {"m.pth", NAME}


def test_network_is_rebuilt_from_the_file_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    loaded, original = load_safetensors(tmp_path / "m.safetensors"), make_checkpoint("2.1", 32)
    assert replace(loaded, model=original.model) == original
    inputs = draw_images(32)[:8]
    np.testing.assert_array_equal(compute_logits(loaded.model, inputs), compute_logits(original.model, inputs))


def test_shared_and_strided_tensors_survive(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("2.0", 32)
    checkpoint.model.to(memory_format=torch.channels_last)
    classifier = checkpoint.model.classifier
    classifier[1].weight = torch.nn.Parameter(classifier[1].weight.t().contiguous().t())
    classifier[4].bias = torch.nn.Parameter(torch.arange(4000.0)[500:3536])
    checkpoint.model.stages[0][0][1].bias = checkpoint.model.stages[0][0][1].weight  # one tensor, two names
    (tmp_path / "m.safetensors").write_bytes(serialize_checkpoint(checkpoint))
    _, tensors = read_by_hand((tmp_path / "m.safetensors").read_bytes())
    for name, tensor in checkpoint.model.state_dict().items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())
    assert compare_tensors(checkpoint.model, load_safetensors(tmp_path / "m.safetensors").model) == len(tensors)


def test_comparison_sees_one_bit() -> None:
    before, after = make_checkpoint("1.0", 32).model, make_checkpoint("1.0", 32).model
    compare_tensors(before, after)
    with torch.no_grad():
        bias = after.classifier[4].bias
        bias[17] = torch.nextafter(bias[17], bias[17] + 1)
    with pytest.raises(KanjinetError, match=r"classifier\.4\.bias"):
        compare_tensors(before, after)


def test_failed_verification_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    other = serialize_checkpoint(make_checkpoint("1.0", 32, seed=1))
    monkeypatch.setattr(convert_to_safetensors, "serialize_checkpoint", lambda *_args: other)
    with pytest.raises(KanjinetError, match="differs after reloading"):
        run_main(monkeypatch, "--model-path", checkpoint, "--verify")
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: np.random.default_rng(0).bytes(3000),
        lambda content: content[: len(content) // 2],
        lambda content: struct.pack("<Q", 1 << 60) + content[8:],
        lambda content: struct.pack("<Q", 3) + content[8:],
        lambda content: content + b"more",
    ],
    ids=["empty", "random", "truncated", "absurd header length", "short header", "bytes after the end"],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, damage: object) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(damage(content))
    with pytest.raises(KanjinetError, match=r"m\.safetensors.*convert_to_safetensors\.py"):
        load_safetensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [-1]},
        {"dtype": "F1024"},
        {"data_offsets": [0, 1 << 62]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [4, 20]},  # overlaps the next tensor
    ],
    ids=str,
)
def test_absurd_tensor_entries_are_refused(tmp_path: Path, content: bytes, entry: dict[str, object]) -> None:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    name = min((key for key in header if key != "__metadata__"), key=lambda key: header[key]["data_offsets"])
    header[name] |= entry
    encoded = json.dumps(header).encode("utf-8")
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])
    with pytest.raises(KanjinetError, match=r"m\.safetensors.*convert_to_safetensors\.py"):
        load_safetensors(path)


def test_a_changed_header_is_noticed(tmp_path: Path, content: bytes) -> None:
    changed = content.replace(b'"top1\\": 0.5', b'"top1\\": 0.9', 1)
    assert changed != content
    path = tmp_path / "m.safetensors"
    path.write_bytes(changed)
    with pytest.raises(KanjinetError, match=r"m\.safetensors: damaged, its header_sha256"):
        load_safetensors(path)


def test_deeply_nested_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    encoded = b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    with pytest.raises(KanjinetError, match=r"m\.safetensors.*convert_to_safetensors\.py"):
        load_safetensors(path)
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(KanjinetError, match=r"m\.safetensors"):
        load_safetensors(write_by_hand(path, content, {"config": deep}))


def test_tensors_of_a_type_that_numpy_lacks_are_refused(tmp_path: Path, content: bytes) -> None:
    properties, tensors = read_by_hand(content)
    halves = {name: torch.from_numpy(tensor.copy()).to(torch.bfloat16) for name, tensor in tensors.items()}
    (tmp_path / "m.safetensors").write_bytes(safetensors.torch.save(halves, metadata=properties))
    with pytest.raises(KanjinetError, match=r"m\.safetensors: its tensors do not fit its header \(.*BFloat16"):
        load_safetensors(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"kanjinet_format": None},
        {"class_table": CHARACTERS[::-1]},
        {"config": "{"},
        {"config": None},
        {"config": json.dumps({"version": "2.1"})},
        {"training": "3"},
        {"preprocessing": "unknown-9"},
        {"synthetic": None},
    ],
    ids=str,
)
def test_contradictory_headers_are_refused(tmp_path: Path, content: bytes, changes: dict[str, str | None]) -> None:
    with pytest.raises(KanjinetError, match=r"m\.safetensors"):
        load_safetensors(write_by_hand(tmp_path / "m.safetensors", content, changes))


def test_config_of_another_network_is_refused_without_building_it(tmp_path: Path, content: bytes) -> None:
    properties, _ = read_by_hand(content)
    config = json.loads(properties["config"]) | {"hidden_features": 10**9}  # 12 TB of weights
    with pytest.raises(KanjinetError, match="do not fit its header"):
        load_safetensors(write_by_hand(tmp_path / "m.safetensors", content, {"config": json.dumps(config)}))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--output-path", "m.pth"], KanjinetError),
        (["--output-path", "m.pth/x.safetensors"], (KanjinetError, OSError)),
        (["--model-path", "absent.pth"], KanjinetError),
        (["--verify", "yes"], SystemExit),
    ],
)
def test_silly_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], error: type[BaseException]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("m.pth"), "1.0", 32)
    with pytest.raises(error):
        run_main(monkeypatch, "--model-path", "m.pth", *options)
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]
