"""examples/rust: the crates of tract and ort with real exports, and its preprocessing beside Python's."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from kanjinet.classes import CHARACTERS
from kanjinet.contract import IMAGE_SIZES, NORMALIZE
from kanjinet.data.preprocessing import preprocess
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.export.onnx_export import add_metadata, export_network
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.sample_inputs import load_sample_inputs
from kanjinet.export.spec import SPECS, pooling_of_backend
from kanjinet.export.verification import ABSOLUTE_BOUND, load_onnxruntime
from kanjinet.export.weight_compression import store_fp16, store_int8_weights
from kanjinet.model import change_pooling
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network
from tests.conftest import ROOT
from tests.drawn_images import draw_image, list_odd_images
from tests.random_checkpoint import CARD, make_network

CRATE = ROOT / "examples" / "rust"
NUM_CELLS = 512
Reports = list[dict[str, Any]]
# Files of each version, and what runs them: in tract with a fixed batch and as declared, in ort, which takes its time.
RUNS = {
    "tract": ("tract 1", "tract 4", "tract any"),
    "ort-tract": ("tract 1", "ort any"),
    "strict": ("tract 1", "ort any"),
    "fp16": ("tract 1",),
    "int8-weights": ("tract 1",),
    "int8": ("tract 1", "ort any"),
}


@pytest.fixture(scope="module")
def programs(cargo: str) -> Path:
    """The folder of the crate's programs, built."""
    options = ["--locked", "--all-features", "--bins", "--examples", "--quiet"]
    subprocess.run([cargo, "build", *options], cwd=CRATE, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR") or CRATE / "target") / "debug"


@pytest.fixture(scope="module")
def compare(programs: Path) -> Callable[[Path], Reports]:
    def run(folder: Path) -> Reports:
        output = subprocess.run([programs / "examples" / "compare", folder], stdout=subprocess.PIPE, check=True).stdout
        return [json.loads(line) for line in output.splitlines()]

    return run


@pytest.fixture(scope="module")
def cells() -> npt.NDArray[np.float32]:
    return load_sample_inputs(Path("no dataset"), 64, NORMALIZE).inputs


def test_the_crates_own_tests_pass(cargo: str, programs: Path) -> None:
    options = ["--locked", "--all-features", "--quiet"]
    result = subprocess.run([cargo, "test", *options], cwd=CRATE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("test result: ok") >= 2


def test_images_are_prepared_as_python_does(compare: Callable[[Path], Reports], tmp_path: Path) -> None:
    images = list_odd_images()
    heads = [np.array(image.shape[::-1], "<u4").tobytes() for image in images]
    packed = b"".join(head + image.tobytes() for head, image in zip(heads, images, strict=True))
    (tmp_path / "inks.bin").write_bytes(packed)
    compare(tmp_path)
    for size in IMAGE_SIZES:
        expected = np.stack([preprocess(each[None], size, NORMALIZE, cells=False)[0] for each in images]).astype(int)
        found = np.fromfile(tmp_path / f"seen_{size}.bin", np.uint8).reshape(expected.shape)
        differences = np.abs(found - expected)
        assert differences.max() <= 1, (size, np.flatnonzero(differences.max((1, 2)) > 1))
        assert (differences > 0).mean() < 1e-4


def write_exports(folder: Path, version: str, cells: npt.NDArray[np.float32]) -> None:
    """Writes a file for each of RUNS: of the pretrained network for version 3.0, else of one with random weights."""
    pretrained = load_trained_network(PRETRAINED_PATH.with_name("kanji_model_etl9g_64x64_3036classes.safetensors"))
    checkpoint = pretrained if version == "3.0" else Checkpoint(make_network(version), CARD)
    models = {}
    for backend in SPECS:
        pooling = pooling_of_backend(checkpoint.config.pooling_type, backend)
        models[backend] = export_network(change_pooling(checkpoint.model, pooling), backend).model
    models["fp16"], models["int8-weights"] = store_fp16(models["tract"]), store_int8_weights(models["tract"])
    if version == "3.0":
        models["int8"] = onnx.load(PRETRAINED_PATH)
    else:
        models["int8"] = quantize_int8(models["tract"], cells[::8])
    for name, model in models.items():
        add_metadata(model, checkpoint.to_metadata())
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def run_onnxruntime(path: Path, cells: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    engine = load_onnxruntime(path.read_bytes(), threads=1)
    return np.concatenate([engine.run(cell[None]) for cell in cells])


@pytest.mark.parametrize("version", ["3.0", "2.1"])
def test_every_export_has_the_same_best_classes(
    version: str, compare: Callable[[Path], Reports], cells: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    assert len(cells) == NUM_CELLS
    write_exports(tmp_path, version, cells)
    np.rint(cells * 255).astype(np.uint8).tofile(tmp_path / "images.bin")
    lines = [f"{name}.onnx {run}" for name, runs in RUNS.items() for run in runs]
    (tmp_path / "runs.txt").write_text("\n".join(lines), encoding="utf-8")
    reports = compare(tmp_path)
    assert [f"{each['file']} {each['engine']} {each['batch']}" for each in reports] == lines
    logits_of = {f"{name}.onnx": run_onnxruntime(tmp_path / f"{name}.onnx", cells) for name in RUNS}
    for report in reports:
        assert "error" not in report, report
        logits = logits_of[report["file"]]
        expected = logits.argmax(axis=1)
        assert len(set(expected)) > 200  # else equal classes would say little
        differs = np.array(report["classes"]) != expected
        if version == "3.0":
            assert not differs.any(), (report["file"], report["engine"], differs.sum())
            continue
        second, first = np.sort(logits, axis=1)[:, -2:].T
        is_rounded = report["file"] == "int8.onnx"  # an activation may round to the next step
        assert is_rounded or (first - second)[differs].max(initial=0) < 2 * ABSOLUTE_BOUND, report["file"]
        assert differs.sum() <= (15 if is_rounded else 1), (report["file"], report["engine"], differs.sum())


def test_a_strict_file_refuses_another_batch(compare: Callable[[Path], Reports], tmp_path: Path) -> None:
    network = change_pooling(make_network(), "fixed_avg")
    model = export_network(network, "strict").model
    add_metadata(model, Checkpoint(network, CARD).to_metadata())
    (tmp_path / "strict.onnx").write_bytes(model.SerializeToString())
    np.zeros((4, 64, 64), np.uint8).tofile(tmp_path / "images.bin")
    (tmp_path / "runs.txt").write_text("strict.onnx tract any", encoding="utf-8")
    [report] = compare(tmp_path)
    assert "error" in report


def write_images(folder: Path) -> list[Path]:
    """Images of many kinds, as people bring them."""
    ink = draw_image("墨")
    color = np.dstack([255 - ink, 250 - ink // 2, 255 - ink])
    turned = Image.fromarray(255 - ink).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned back by 90 degrees
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    for name, image in {
        "dark.png": 255 - ink,
        "light.png": ink,
        "color.png": color,
        "transparent.png": np.dstack([ink * 0, ink * 0, ink * 0, ink]),
        "white.png": np.dstack([ink * 0 + 255, ink * 0 + 255, ink * 0 + 255, ink]),
        "wide.png": (255 - ink).astype(np.uint16) * 257,
        "photo.jpg": np.clip(170 - ink * 0.3, 0, 255).astype(np.uint8),
    }.items():
        cv2.imwrite(str(folder / name), image)
    return sorted(folder.iterdir())


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("program", ["kanji-reader", "kanji-reader-ort"])
def test_the_programs_read_images(program: str, programs: Path, tmp_path: Path) -> None:
    paths = write_images(tmp_path)
    result = run([programs / program, *paths])
    assert result.returncode == 0, result.stderr
    expected = load_recognizer().read(paths)
    for path, candidates, line in zip(paths, expected, result.stdout.splitlines(), strict=True):
        name, best = line.split("  ")[:2]
        character, probability, _ = best.split(" ")
        assert (name, character, candidates[0].character) == (str(path), "墨", "墨")
        bound = 1.0 if path.suffix == ".jpg" else 0.2  # decoders round JPEG each in its way
        assert float(probability) == pytest.approx(100 * candidates[0].probability, abs=bound), path.name


def test_cargo_run_runs_the_program_of_tract(cargo: str, programs: Path) -> None:
    result = run([cargo, "run", "--locked", "--quiet", "--all-features", "--manifest-path", CRATE / "Cargo.toml"])
    assert "name an image, as in: cargo run -- drawing.png" in result.stderr


def test_the_programs_say_what_is_wrong(programs: Path, tmp_path: Path) -> None:
    def fail(*arguments: str | Path) -> str:
        result = run([programs / "kanji-reader", *arguments])
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.count("\n") == 1
        return result.stderr

    model = tmp_path / "model.onnx"
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), draw_image("字"))
    assert "name an image" in fail()
    assert "nothing.png" in fail(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    assert "text.png" in fail(tmp_path / "text.png")
    assert "model.onnx" in fail("--model", model, image)
    model.write_bytes(b"not a model")
    assert "not an ONNX file" in fail("--model", model, image)
    shutil.copy(PRETRAINED_PATH, model)
    assert "model_mapping.json" in fail("--model", model, image)
    mapping = json.loads(PRETRAINED_PATH.with_name(f"{PRETRAINED_PATH.stem}_mapping.json").read_text(encoding="utf-8"))
    mapping["characters"]["7"]["character"] = CHARACTERS[8]
    model.with_name("model_mapping.json").write_text(json.dumps(mapping), encoding="utf-8")
    assert "belongs to another model" in fail("--model", model, image)


def test_twins_stand_together_and_what_is_none_of_the_characters_is_said(programs: Path, tmp_path: Path) -> None:
    model, image = tmp_path / "model.onnx", tmp_path / "image.png"
    shutil.copy(PRETRAINED_PATH, model)
    cv2.imwrite(str(image), draw_image("墨"))
    mapping = json.loads(PRETRAINED_PATH.with_name(f"{PRETRAINED_PATH.stem}_mapping.json").read_text(encoding="utf-8"))
    for threshold, note in ((0.5, ""), (1.01, "none of the characters, it seems; the nearest:")):
        mapping["model_info"] |= {"twins": ["あい", "墨腕"], "rejection_threshold": threshold}
        model.with_name("model_mapping.json").write_text(json.dumps(mapping), encoding="utf-8")
        _, *parts = run([programs / "kanji-reader", "--model", model, image]).stdout.split("  ")
        assert parts[: bool(note)] == [note] * bool(note)
        assert [part[0] for part in parts[bool(note) :]][:2] == ["墨", "腕"]


def test_an_image_without_a_character_is_named(programs: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((50, 60), 200, np.uint8))
    assert "no character stands out" in run([programs / "kanji-reader", tmp_path / "blank.png"]).stdout
