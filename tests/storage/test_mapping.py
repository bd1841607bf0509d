"""The character mapping against the euc_jp codec and stroke counts known by hand."""

from kanjinet.cli import run_script

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest

import generate_enhanced_mapping
from kanjinet.export import spec
from kanjinet.storage.checkpoint import load_checkpoint, save_checkpoint
from kanjinet.storage.model_card import Rejection
from kanjinet.storage.safetensors_file import serialize_checkpoint
from tests.conftest import read_schema
from tests.export.test_onnx_export import run_main
from tests.random_checkpoint import write_checkpoint
from tests.storage.test_safetensors import read_by_hand

ROOT = Path(__file__).parents[2]
STROKES = {"一": 1, "人": 2, "川": 3, "田": 5, "亜": 7, "山": 3, "木": 4, "竜": 10, "龍": 16, "腕": 12, "漢": 13}
STROKES |= {"あ": 3, "の": 1, "ん": 1, "が": 5, "ぱ": 4}


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("mapping")
    result = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "generate_enhanced_mapping.py"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert b"torch" not in result.stderr  # the list of imported modules
    out = result.stdout.decode("ascii", "replace")
    assert out.count("2080") == 1
    assert out.count('"201"') == 1
    assert [each.name for each in folder.iterdir()] == ["kanji_etl9g_enhanced_mapping.json"]
    text = (folder / "kanji_etl9g_enhanced_mapping.json").read_bytes().decode("utf-8")
    assert "\\u" not in text
    return json.loads(text)


def test_structure(mapping: dict[str, Any]) -> None:
    assert list(mapping) == ["model_info", "characters", "statistics"]
    assert {"dataset", "total_classes", "description"} <= mapping["model_info"].keys()
    assert (mapping["model_info"]["dataset"], mapping["model_info"]["total_classes"]) == ("ETL9G", 3036)
    assert "KanjiVG" in mapping["model_info"]["stroke_count_source"]
    assert list(mapping["characters"]) == [str(index) for index in range(3036)]
    assert all(list(each) == ["character", "jis_code", "stroke_count"] for each in mapping["characters"].values())


def test_characters_are_those_of_the_codec(mapping: dict[str, Any]) -> None:
    codes = []
    for entry in mapping["characters"].values():
        raw = entry["character"].encode("euc_jp")
        codes.append(f"{raw[0] & 0x7F:02X}{raw[1] & 0x7F:02X}")
        assert entry["jis_code"] == codes[-1]
    assert codes == sorted(set(codes))
    assert len(codes) == 3036
    known = {"0": ("あ", "2422"), "70": ("ん", "2473"), "71": ("亜", "3021"), "2080": ("田", "4544")}
    known |= {"3035": ("腕", "4F53")}
    for index, expected in known.items():
        entry = mapping["characters"][index]
        assert (entry["character"], entry["jis_code"]) == expected
    assert "rejection_threshold" not in mapping["model_info"]
    characters = {each["character"] for each in mapping["characters"].values()}
    assert not characters & set("鬱ぁゐゑっ")


def test_stroke_counts(mapping: dict[str, Any]) -> None:
    counts = {each["character"]: each["stroke_count"] for each in mapping["characters"].values()}
    assert {character: counts[character] for character in STROKES} == STROKES
    assert all(isinstance(count, int) and 1 <= count <= 30 for count in counts.values())


def test_statistics(mapping: dict[str, Any]) -> None:
    characters = mapping["characters"].values()
    hiragana = [each for each in characters if "ぁ" <= each["character"] <= "ん"]
    assert mapping["statistics"] == {
        "total_characters": len(characters),
        "hiragana_count": len(hiragana),
        "kanji_count": len(characters) - len(hiragana),
        "average_stroke_count": pytest.approx(
            sum(each["stroke_count"] for each in characters) / len(characters), abs=0.006
        ),
    }
    assert (mapping["statistics"]["hiragana_count"], mapping["statistics"]["kanji_count"]) == (71, 2965)


def test_unwritable_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["generate_enhanced_mapping.py", "--output-path", str(tmp_path / "file" / "m.json")]
    )
    with pytest.raises(SystemExit, match="1"):
        run_script(generate_enhanced_mapping.main)
    assert capsys.readouterr().err.startswith("error: ")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return read_schema("character_mapping")


def test_general_mapping_keeps_to_the_schema(
    mapping: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    validator.validate(mapping)
    for path, value in (
        (("characters", "0", "jis_code"), 9250),
        (("characters", "0", "stroke_count"), 0),
        (("characters", "3036"), {"character": "x", "jis_code": "2422", "stroke_count": 1}),
        (("statistics", "kanji_count"), 2964),
        (("model_info", "model_file"), "x.onnx"),  # without all that a model's mapping has besides
        (("more",), {}),
    ):
        changed = json.loads(json.dumps(mapping))
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert not validator.is_valid(changed), path


def test_mappings_checkpoint_and_files_say_the_same(
    mapping: dict[str, Any],
    validator: jsonschema.Draft202012Validator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(spec.MIN_AGREEMENT, "fp16", 0.5)  # random weights are more sensitive
    checkpoint_path = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    checkpoint = load_checkpoint(checkpoint_path)
    checkpoint.card = replace(checkpoint.card, rejection=Rejection(0.25, 0.01, 0.95, 3036))
    save_checkpoint(checkpoint_path, checkpoint)
    for name, *options in (
        ("plain", "--target-backend", "strict"),
        ("small", "--target-backend", "ort-tract", "--quantize", "fp16"),
    ):
        path = tmp_path / f"{name}.onnx"
        run_main(
            monkeypatch, "--model-path", checkpoint_path, "--onnx-path", path, "--data-dir", tmp_path, *options
        )  # fmt: skip
        found = json.loads((tmp_path / f"{name}_mapping.json").read_text(encoding="utf-8"))
        validator.validate(found)
        assert (found["characters"], found["statistics"]) == (mapping["characters"], mapping["statistics"])
        info = found["model_info"]
        assert mapping["model_info"].items() <= info.items()
        assert info["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        checkpoint = load_checkpoint(checkpoint_path)
        inside = {each.key: each.value for each in onnx.load(path).metadata_props}
        header, _ = read_by_hand(serialize_checkpoint(checkpoint))
        assert "".join(each["character"] for each in found["characters"].values()) == inside["class_table"]
        for key in ("class_table_sha256", "preprocessing", "preprocessing_contract", "model_version", "license"):
            assert info[key] == inside[key] == header[key], key
        assert checkpoint.card.preprocessing == info["preprocessing"]
        assert info["rejection_threshold"] == 0.25 == json.loads(inside["training"])["rejection"]["threshold"]
        assert {"test": asdict(checkpoint.card.metrics["test"])}.items() <= info["accuracy"].items()
        assert info["accuracy"] == json.loads(inside["accuracy"]) == json.loads(header["accuracy"])
        assert checkpoint.card.synthetic == info["synthetic"] == json.loads(inside["synthetic"])
        for key in ("target_backend", "quantization", "pooling_type"):
            assert info[key] == inside[key], key
