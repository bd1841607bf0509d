"""Evaluation and the look at a dataset, through the real scripts."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from kanjinet.evaluation.image_grid import GAP, TILE, draw_image_grid
from tests.conftest import run_script
from tests.sample_files import RECORD_8G, draw_ink, list_jis_codes, pack_cell, write_file


@pytest.fixture(scope="module")
def exported(workplace: Path) -> Path:
    run_script(["convert_to_onnx.py", "--target-backend", "strict"], workplace)
    run_script(["convert_to_safetensors.py"], workplace)
    return workplace


MODELS = (
    "best_kanji_model.pth",
    "kanji_model_etl9g_64x64_3036classes.safetensors",
    "kanji_model_etl9g_64x64_3036classes_strict.onnx",
)


def test_every_format_gives_the_metrics_that_onnxruntime_gives(exported: Path, tmp_path: Path) -> None:
    records = 2 * 152  # two sheets
    (tmp_path / "ETL9G").mkdir()
    with (exported / "ETL9G" / "ETL9G_01").open("rb") as source:
        (tmp_path / "ETL9G" / "ETL9G_01").write_bytes(source.read(records * 8199))
    run_script(["prepare_etl9g_dataset.py", "--allow-partial"], tmp_path)
    chunk = np.load(tmp_path / "dataset" / "etl9g_dataset_chunk_01.npz")
    session = onnxruntime.InferenceSession(str(exported / MODELS[2]))
    right = 0
    for image, label in zip(chunk["X"][:, None, None], chunk["y"], strict=True):
        right += int(session.run(None, {"input": image.astype(np.float32) / 255})[0].argmax() == label)

    for name in MODELS:
        run_script(["evaluate_model.py", "--model", str(exported / name), "--split", "all"], tmp_path)
        result = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
        assert result["samples"] == records == result["kanji"]["samples"] + result["hiragana"]["samples"]
        assert result["hiragana"]["samples"] == np.count_nonzero(chunk["y"] < 71) > 0
        assert result["synthetic"] is True
        assert result["top1"] == pytest.approx(right / records, abs=1 / records)  # a tie may fall either way


def test_test_split_is_the_one_of_the_training(exported: Path, tmp_path: Path) -> None:
    done = run_script(["evaluate_model.py", "--model", MODELS[0], "--output-dir", str(tmp_path)], exported)
    result = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    trained = json.loads((exported / "best_model_info.json").read_text(encoding="utf-8"))["test"]
    assert result["samples"] == trained["samples"] == 90
    assert result["top5"] == pytest.approx(trained["top5"], abs=1 / 90)
    assert "synthetic sample" in done.stdout
    image = cv2.imread(str(tmp_path / "predictions.png"))
    assert image is not None
    assert image.shape[1] > 16 * 64


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"nonsense", "model.onnx: onnxruntime does not take it"),
        ("model.pth", b"nonsense", "model.pth: not a checkpoint"),
        ("model.safetensors", b"nonsense", "model.safetensors"),
        ("model.txt", b"", "choose a file that ends in"),
        ("missing.onnx", None, "missing.onnx: not found"),
    ],
)
def test_other_files_are_refused(
    exported: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = run_script(["evaluate_model.py", "--model", str(tmp_path / name)], exported, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dataset_of_another_size_is_refused(exported: Path, tmp_path: Path) -> None:
    run_script(["prepare_etl9g_dataset.py", "--size", "32", "--output-dir", str(tmp_path / "small")], exported)
    command = ["evaluate_model.py", "--model", MODELS[0], "--data-dir", str(tmp_path / "small")]
    done = run_script(command, exported, check=False)
    assert done.returncode == 1
    assert "prepare_etl9g_dataset.py --size 64" in done.stderr


def test_predictions_are_framed_green_when_correct_and_red_when_wrong() -> None:
    blank = np.zeros((64, 64), dtype=np.uint8)
    sheet = draw_image_grid([blank, blank], ["田", "田"], 2, predicted=["田", "由"]).astype(int)
    for tile, (strong, weak) in enumerate(((1, 2), (2, 1))):  # green over red, then red over green
        frame = sheet[GAP + 20, GAP + tile * (TILE + GAP)]
        assert frame[strong] > frame[weak] + 50


def test_setup_stage_writes_an_image_and_shows_the_known_class(workplace: Path) -> None:
    done = run_script(["test_etl9g_setup.py", "--test-model"], workplace)
    assert "田 is class 2,080, JIS 4544" in done.stdout
    for parameters in ("1,735,527", "3,818,599", "3,863,655"):
        assert parameters in done.stdout
    path = Path("dataset", "dataset_samples.png")
    assert f"image      {path}: 96 samples" in done.stdout
    assert "0 of 2,000 are empty" in done.stdout
    image = cv2.imdecode(np.frombuffer((workplace / path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (6 * (TILE * 3 // 2 + GAP) + GAP, 16 * (TILE + GAP) + GAP, 3)
    # the characters in print are in class order, and so begin with hiragana and end with kanji, which are denser
    rows = image[GAP:].reshape(6, TILE * 3 // 2 + GAP, -1, 3)[:, TILE:]
    ink = 255 - rows.astype(int).mean(axis=(1, 2, 3))
    assert 0 < ink[0] < ink[-1]


def test_setup_stage_finds_empty_images(tmp_path: Path) -> None:
    (tmp_path / "ETL9G").mkdir()
    codes = list_jis_codes()[:152]
    write_file(tmp_path / "ETL9G" / "ETL9G_01", [1] * len(codes), codes)
    run_script(["prepare_etl9g_dataset.py", "--allow-partial"], tmp_path)
    done = run_script(["test_etl9g_setup.py"], tmp_path, check=False)
    assert done.returncode == 1
    assert "152 of 152 images are empty" in done.stderr


def test_setup_stage_finds_a_wrong_mapping(workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "dataset", tmp_path / "dataset")
    path = tmp_path / "dataset" / "character_mapping.json"
    mapping = json.loads(path.read_text(encoding="utf-8"))
    mapping["2080"], mapping["2081"] = mapping["2081"], mapping["2080"]
    path.write_text(json.dumps(mapping), encoding="utf-8")
    done = run_script(["test_etl9g_setup.py"], tmp_path, check=False)
    assert done.returncode == 1
    assert "class 2080 is" in done.stderr
    assert "田" in done.stderr


def test_a_dataset_of_etl8g_is_an_outside_test(tmp_path: Path) -> None:
    """With the pretrained model: classes without images do not matter, and the database is named."""
    codes = list_jis_codes()[:3]
    (tmp_path / "ETL8G").mkdir()
    with (tmp_path / "ETL8G" / "ETL8G_01").open("wb") as file:
        for sheet in range(1, 50, 10):
            for code in (*codes, 0x2443):
                file.write(RECORD_8G.pack(sheet, code, b"", *[0] * 11, pack_cell(draw_ink(code))))
    run_script(["prepare_etl9g_dataset.py", "--etl-dir", "ETL8G", "--allow-partial"], tmp_path)
    done = run_script(["evaluate_model.py", "--split", "all"], tmp_path)
    assert "ETL8G, split all" in done.stdout
    result = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert (result["database"], result["samples"], result["kanji"]["samples"]) == ("ETL8G", 15, 0)
    assert [group["data_set"] for group in result["writers"]] == [1, 2, 3, 4, 5]
    assert "(ETL8G)" in (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
