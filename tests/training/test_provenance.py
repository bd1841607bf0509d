"""What a network's files say of it is true: what it learned from, and how accurate it is as it is stored."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnx
import pytest
import torch
from torch.nn import functional as F

from kanjinet.classes import CHARACTERS
from kanjinet.data.dataset import read_dataset_info
from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kanjinet.storage.model_card import REAL, SYNTHETIC, TrainingOptions
from kanjinet.synth.fonts import find_fonts, hash_fonts
from kanjinet.training.held_out import load_held_out
from kanjinet.training.resume import check_options
from kanjinet.training.run import TrainingRun
from tests.font_files import OFL, make_font
from tests.training.test_training import SMALL, load, run_here

BOTH = [REAL, SYNTHETIC]


@pytest.fixture(scope="module")
def real_dataset(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as preparation writes it from files that do not say that they are a sample."""
    folder = shutil.copytree(workplace / "dataset", tmp_path_factory.mktemp("real") / "dataset")
    for name in ("metadata.json", "chunk_info.json"):
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace('"synthetic": true', '"synthetic": false'), "utf-8")
    return folder


@pytest.fixture(scope="module")
def fine_tuned(workplace: Path, real_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was initialized with one of sample writers, and trained on real ones."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    start = str(workplace / "best_kanji_model.pth")
    command = [*SMALL, "--epochs", "1", "--init-from", start, "--data-dir", str(real_dataset)]
    run_here(command, folder)
    return folder / "best_kanji_model.pth"


def measure(path: Path, dataset: Path) -> dict[str, dict[str, float]]:
    """Loss and top-1 accuracy of a network as its file has it, on the parts that its training held out."""
    checkpoint = load_checkpoint(path)
    found = {}
    for part, samples in zip(
        ("validation", "test"), load_held_out(read_dataset_info(dataset), checkpoint), strict=True
    ):
        with torch.inference_mode():
            logits = checkpoint.model(samples.images.unsqueeze(1) / 255)
        loss = F.cross_entropy(logits, samples.labels).item()
        found[part] = {"loss": loss, "top1": (logits.argmax(1) == samples.labels).double().mean().item()}
    return found


def assert_said(path: Path, measured: dict[str, dict[str, float]]) -> None:
    training = load(path)["training"]
    for part, metrics in measured.items():
        for name, value in metrics.items():
            assert training[part][name] == pytest.approx(value, rel=1e-4), f"{part} {name}"


def test_every_file_names_all_that_a_network_learned_from(fine_tuned: Path, real_dataset: Path) -> None:
    folder, said = fine_tuned.parent, {}
    run_here(["convert_to_safetensors.py", "--model-path", str(fine_tuned)], folder)
    run_here(["convert_to_onnx.py", "--model-path", str(fine_tuned), "--target-backend", "strict"], folder)
    run_here(["evaluate_model.py", "--model", str(fine_tuned), "--data-dir", str(real_dataset)], folder)
    said["pth"] = load(fine_tuned)
    content = next(folder.glob("*.safetensors")).read_bytes()
    said["safetensors"] = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
    said["onnx"] = {each.key: each.value for each in onnx.load(next(folder.glob("*.onnx"))).metadata_props}
    for name in ("safetensors", "onnx"):
        said[name] |= {key: json.loads(said[name][key]) for key in ("sources", "synthetic")}
    said["mapping"] = json.loads(next(folder.glob("*_mapping.json")).read_text(encoding="utf-8"))["model_info"]
    said["info"] = json.loads((folder / "best_model_info.json").read_text(encoding="utf-8"))
    evaluation = json.loads((folder / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["trained_on"] == BOTH and evaluation["trained_on_synthetic_sample"] is False
    for name, content in said.items():
        assert (content["sources"], content["synthetic"]) == (BOTH, False), name
    report = (folder / "evaluation" / "report.html").read_text(encoding="utf-8")
    for text in (report, evaluation["license"], *(said[name]["license"] for name in said if name != "pth")):
        assert "AIST" in text and "KanjiVG, CC BY-SA 3.0" in text


def test_an_average_has_the_sources_of_both_and_its_own_metrics(
    workplace: Path, real_dataset: Path, fine_tuned: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(fine_tuned)
    save_checkpoint(tmp_path / "real.pth", Checkpoint(checkpoint.model, replace(checkpoint.card, sources=(REAL,))))
    command = ["average_models.py", str(workplace / "best_kanji_model.pth"), "real.pth", "--output", "mean.pth"]
    run_here([*command, "--data-dir", str(real_dataset)], tmp_path)
    content = load(tmp_path / "mean.pth")
    assert content["sources"] == BOTH
    assert "best_epoch" not in content["training"]
    assert_said(tmp_path / "mean.pth", measure(tmp_path / "mean.pth", real_dataset))


def test_generated_samples_and_mixed_datasets_have_two_sources(real_dataset: Path) -> None:
    info = read_dataset_info(real_dataset)
    assert info.sources == (REAL,)
    mixed = replace(info, chunks=(*info.chunks, replace(info.chunks[0], synthetic=True)))
    assert mixed.sources == (REAL, SYNTHETIC)
    for fresh_sets, expected in ((None, (REAL,)), (1, (REAL, SYNTHETIC))):
        trainer: Any = SimpleNamespace(options=TrainingOptions(fresh_sets=fresh_sets))
        run = TrainingRun(trainer, cast(Any, None), info, real_dataset, info.sources)
        assert run.record.sources == expected


@pytest.mark.slow
def test_fonts_that_wrote_generated_samples_are_named_and_compared(workplace: Path, tmp_path: Path) -> None:
    make_font(tmp_path / "Hand.ttf", "口" + CHARACTERS[:500], OFL)
    options = ["--fresh-sets", "1", "--fresh-fonts", str(tmp_path)]
    run_here([*SMALL, "--epochs", "1", "--data-dir", str(workplace / "dataset"), *options], tmp_path)
    content = load(tmp_path / "best_kanji_model.pth")
    assert (content["sources"], content["synthetic"]) == ([SYNTHETIC, "font Hand (SIL Open Font License 1.1)"], True)
    stored = content["training"]["fresh_fonts_sha256"]
    assert stored == hash_fonts(find_fonts(tmp_path))
    before, given = {"fresh_sets": 1, "fresh_fonts_sha256": stored}, {"fresh_sets": 1, "fresh_fonts_sha256": "ab" * 32}
    for now, words in (
        (given, "other fonts than those of --fresh-fonts"),
        ({**given, "fresh_fonts_sha256": None}, "--fresh-fonts, now without it"),
    ):
        with pytest.raises(KanjinetError, match=words):
            check_options(tmp_path, before, now)


def test_metrics_are_of_the_network_as_stored(fine_tuned: Path, real_dataset: Path, tmp_path: Path) -> None:
    assert_said(fine_tuned, measure(fine_tuned, real_dataset))
    command = ["calibrate_model.py", "--model-path", str(fine_tuned), "--data-dir", str(real_dataset)]
    checkpoint = load_checkpoint(fine_tuned)
    with torch.no_grad():
        for parameter in checkpoint.model.classifier[-1].parameters():
            parameter.mul_(3)  # so that there is something to calibrate
    save_checkpoint(tmp_path / "sure.pth", checkpoint)
    command[2] = str(tmp_path / "sure.pth")
    run_here(command, tmp_path)
    calibrated = tmp_path / "calibrated_kanji_model.pth"
    before, after = load(fine_tuned)["training"], load(calibrated)["training"]
    assert after["validation"]["top1"] == before["validation"]["top1"]
    assert_said(calibrated, measure(calibrated, real_dataset))

    # On other images, what they lose by it on their own is not known.
    checkpoint.card = replace(checkpoint.card, options=replace(checkpoint.card.options, dataset_sha256="ab" * 32))
    save_checkpoint(tmp_path / "sure.pth", checkpoint)
    run_here(command, tmp_path)
    elsewhere = load(calibrated)["training"]
    for part in ("validation", "test"):
        assert elsewhere[part] == {**before[part], "loss": None}
    assert load_checkpoint(calibrated).card.metrics["test"].loss is None
