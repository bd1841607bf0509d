"""Every benchmark runs, shortened by its own options, and prints the table that README quotes."""

import copy
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kanjinet.classes import ETL9G_SET
from kanjinet.evaluation.recognizer import Recognizer
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.samples import TrainingSamples
from tests.browser import CHROMIUM_REMEDY, find_chromium
from tests.conftest import require, run_script
from tests.random_checkpoint import CARD

ACCURACY = r"\d+\.\d% ± \d+\.\d%"


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.full((6, 60, 60), 255, dtype=np.uint8)
    images[:, 10:50, 28:32] = 0
    images[:, 28:32, 10:50] = 0
    path = tmp_path_factory.mktemp("drawings") / "drawings.npz"
    np.savez(path, images=images, characters=np.array(list("あい十十田大")))
    return path


def test_photographs_and_pages_are_composed_and_judged(drawings: Path, tmp_path: Path) -> None:
    command = ["benchmarks/judge_photographs.py", "--drawings", drawings, "--photographs", "1", "--pages", "1"]
    output = run_script([*command, "--page-pixels", "800", "--keep", "kept"], tmp_path).stdout
    assert len(re.findall(r"^(plain|ruled|pencil|squared|manuscript|dark).* +1 +\d+\.0% ", output, re.MULTILINE)) == 10
    pages = re.findall(r"^(squares|manuscript|ruled|plain across|plain down) .*/ 1 +\d+\.\d+$", output, re.MULTILINE)
    assert len(pages) == 5
    assert len(list((tmp_path / "kept").iterdir())) == 15


def test_preparation_is_compared_with_a_plain_loop_and_the_floor(workplace: Path) -> None:
    output = run_script(["benchmarks/bench_prepare.py", "--repeats", "1", "--temporary-dir", "."], workplace).stdout
    for name in ("plain loop over records", "prepare_etl9g_dataset.py", "floor: read and deflate"):
        assert re.search(rf"{name} +[\d,]+ +[\d,]+ +\d+\.\dx", output), output


def test_versions_are_compared_by_one_recipe(tmp_path: Path) -> None:
    command = ["benchmarks/compare_recipes.py", "--versions", "1.0", "3.0", "--sets", "1", "--epochs", "1"]
    output = run_script([*command, "--seeds", "1", "--jobs", "2"], tmp_path).stdout
    shares = re.findall(rf"^(\d\.0) +({ACCURACY}) *$", output, re.MULTILINE)
    assert [version for version, _ in shares] == ["1.0", "3.0"], output
    first, last = (float(share.partition("%")[0]) for _, share in shares)
    assert first > 5 and last > 5  # a character each is enough to begin to read


def test_every_recipe_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    from compare_recipes import RECIPES, keep, make_short_trainer, train_all_epochs

    images = torch.randint(0, 256, (192, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    samples = TrainingSamples(images, torch.arange(192))
    initial = make_short_trainer(samples, TrainingOptions(epochs=1), jobs=1)
    weights: dict[str, torch.Tensor] = {}
    for name, (change, options) in RECIPES.items():
        if change is keep and options:
            assert replace(initial.options, **options) != initial.options
            continue
        trainer = copy.deepcopy(initial)
        network = change(trainer)
        train_all_epochs(trainer)
        weights[name] = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    for first, second in itertools.combinations(weights, 2):
        assert not torch.equal(weights[first], weights[second]), (first, second)


def test_no_augmentation_changes_nothing() -> None:
    from bench_training import NO_AUGMENTATION

    images = torch.rand(4, 1, 64, 64)
    assert torch.allclose(NO_AUGMENTATION(images), images, atol=1e-4)


def test_cells_of_a_folder_are_measured(workplace: Path) -> None:
    output = run_script(["benchmarks/measure_cells.py", "--etl-dir", "ETL9G", "--cells", "300"], workplace).stdout
    assert "9,108 cells in 1 files (synthetic sample" in output
    assert "213 hiragana" in output  # all there are
    assert re.search(r"stroke width, pixels +(\d\.\d / ){4}\d\.\d +(\d\.\d / ){4}\d\.\d", output), output


def test_measuring_names_a_folder_without_files(tmp_path: Path) -> None:
    result = run_script(["benchmarks/measure_cells.py", "--etl-dir", tmp_path], tmp_path, check=False)
    assert result.returncode != 0
    assert "no ETL9G files" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_is_judged_on_writers_and_images_it_never_saw(workplace: Path, drawings: Path) -> None:
    command = ["benchmarks/judge_model.py", "--model", "best_kanji_model.pth", "--writers", "2"]
    output = run_script([*command, "--drawings", drawings, "--views", "2"], workplace).stdout
    names = (
        "as they are",
        "one bit, 64 pixels",
        "JPEG of 32 pixels",
        "faint on dirty paper",
        "thin strokes",
        "three specks",
    )
    for name in names:
        assert re.search(rf"sample writers, {name} +80( +\d+\.\d\d%){{5}}$", output, re.MULTILINE), output
    assert re.search(r"^real drawings +6( +\d+\.\d\d%){5}$", output, re.MULTILINE), output
    views = re.findall(r"^ +2 other views of each too +(\d+)(?: +\d+\.\d\d%){5}$", output, re.MULTILINE)
    assert views == ["80"] * len(names) + ["6"], output
    assert ">" in output
    for kind in ("katakana", "digits", "Latin letters", "Joyo kanji outside ETL9G", "scribbles", "vertical lines"):
        assert re.search(rf"^{kind} +8 +\d+\.\d\d% +0\.00%$", output, re.MULTILINE), output  # it has no threshold


def test_another_view_of_an_image_is_the_same_a_little_elsewhere() -> None:
    from judge_model import augment

    images = np.zeros((20, 64, 64), dtype=np.uint8)
    images[:, 16:48, 28:36] = 200
    augmented = augment(images)
    assert augmented.shape == images.shape and augmented.dtype == np.uint8
    changed = np.abs(augmented.astype(int) - images).mean(axis=(1, 2))
    assert (changed > 1).all() and len(set(changed.tolist())) == 20
    assert augmented.max() == 200
    assert np.abs(augmented.mean(axis=(1, 2)) / images.mean(axis=(1, 2)) - 1).max() < 0.4  # only stretched


def test_several_views_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import judge_model

    views = []

    def run(inputs: np.ndarray) -> np.ndarray:
        views.append(inputs)
        logits = np.full((len(inputs), ETL9G_SET.num_classes), -30, dtype=np.float32)
        logits[:, [3, 7]] = np.log([0.6, 0.4] if len(views) == 1 else [0.1, 0.9])
        return logits

    drawings = judge_model.Drawings(np.zeros((2, 64, 64), dtype=np.uint8), np.zeros(2, dtype=np.int64))
    monkeypatch.setattr(judge_model, "preprocess", lambda ink, *_args, **_options: ink)
    recognizer = Recognizer(Path("x.onnx"), run, 64, 64, CARD)
    predictions, _ = judge_model.predict(recognizer, drawings, 2)
    assert predictions.ranked[:, :2].tolist() == [[7, 3]] * 2
    assert predictions.confidence == pytest.approx([(0.4 + 2 * 0.9) / 3] * 2)


def has_torchvision() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: built for another PyTorch
        return False
    return True


def test_training_is_compared_with_a_plain_loop(tmp_path: Path) -> None:
    require(has_torchvision(), "install torchvision from the index that PyTorch came from")
    command = ["benchmarks/bench_training.py", "--seconds", "0.5", "--images", "200", "--batch-sizes", "16"]
    output = run_script([*command, "--versions", "1.0", "--loader-workers", "1"], tmp_path).stdout
    for name in ("plain", "plain without augmentation", "toolkit", "toolkit without augmentation"):
        found = re.search(rf"^{name} +1\.0 +16 +([\d,]+) +\d+\.\d\dx$", output, re.MULTILINE)
        assert found, output
        assert int(found[1].replace(",", "")) > 10


def test_long_runs_are_watched(tmp_path: Path) -> None:
    command = ["benchmarks/bench_long_run.py", "--runs", "recognitions", "--recognitions", "60", "--max-growth", "200"]
    output = run_script(command, tmp_path).stdout
    assert re.search(r"^60 recognitions(?: +[\d.]+){3} +[+-][\d.]+ +(\d+), \d+, \1$", output, re.MULTILINE), output
    refused = run_script([*command[:3], "--recognitions", "2"], tmp_path, check=False)
    assert "too short to be measured" in refused.stderr


def test_clients_are_measured(tract_wasm: bytes, tmp_path: Path) -> None:
    require(find_chromium(), CHROMIUM_REMEDY)
    command = ["benchmarks/bench_clients.py", "--rounds", "1", "--images", "4", "--quick-build"]
    output = run_script(command, tmp_path).stdout
    for file in ("tract", "ort-tract", "strict", "int8"):
        assert re.search(rf"^{file}\.onnx +((\d+\.\d\d|-) *){{6}}$", output, re.MULTILINE), output
    for engine in ("onnxruntime", "tract"):
        assert re.search(
            rf"^{engine} +int8 +\d+\.\d MB +\d+\.\d MB +\d+ ms( +-?\d+\.\d ms){{2}}$", output, re.MULTILINE
        ), output
