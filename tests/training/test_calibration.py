"""Calibrated probabilities match accuracy, and no prediction changes for it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.training.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, calibrate, fit_temperature
from kanjinet.training.samples import Samples
from kanjinet.training.validation import predict_logits
from tests.conftest import run_script


def draw_samples(count: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from the probabilities that they mean at a temperature."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 3, (count, 100)))
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=torch.manual_seed(0))[:, 0]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_drawn_answers_is_found(temperature: float) -> None:
    assert fit_temperature(*draw_samples(20_000, temperature)) == pytest.approx(temperature, rel=0.05)


def test_images_that_are_all_read_do_not_make_a_network_certain() -> None:
    logits = torch.full((2000, 100), 0.0)
    logits[:, 7] = 10
    labels = torch.full((2000,), 7)
    few, many = fit_temperature(logits[:20], labels[:20]), fit_temperature(logits, labels)
    assert MIN_TEMPERATURE < many < few < MAX_TEMPERATURE
    for count, found in ((20, few), (2000, many)):  # as sure as that: (n + 1) / (n + 2), less what doubt gives the rest
        confidence = (logits[0] / found).softmax(0)[7].item()
        assert confidence == pytest.approx(1 - 0.99 / (count + 2), abs=1e-4)


def test_a_network_that_reads_nothing_claims_nothing() -> None:
    logits = torch.zeros(100, 100)
    logits[:, 7] = 10
    assert fit_temperature(logits, torch.full((100,), 8)) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


@pytest.mark.parametrize("version", ["1.0", "3.0"])
def test_the_last_layer_takes_it_and_the_errors_are_those_of_the_test(version: str) -> None:
    torch.manual_seed(0)
    model = LightweightKanjiNet(ModelConfig.preset(version, 32)).eval()
    model.classifier[-1].weight.data *= 30  # sure of what it does not know
    images = torch.randint(0, 256, (40, 32, 32), dtype=torch.uint8)
    before = predict_logits(model, images)
    labels = before.argmax(1)
    labels[:10] = 0  # three quarters are right
    found = calibrate(model, Samples(images, labels), Samples(images, labels))
    after = predict_logits(model, images)
    assert found.samples == 40
    torch.testing.assert_close(after * found.value, before, rtol=1e-4, atol=1e-4)
    for logits, when in ((before, "before"), (after, "after")):
        confidence, right = logits.softmax(1).max(1).values.double(), (logits.argmax(1) == labels).double()
        bins = (confidence * 15).ceil()
        gaps = [(confidence - right)[bins == each].sum().abs().item() / 40 for each in bins.unique()]
        assert getattr(found, f"test_calibration_error_{when}") == pytest.approx(sum(gaps), abs=1e-6)


def test_a_network_is_calibrated_again_on_other_images(workplace: Path, tmp_path: Path) -> None:
    trained = workplace / "best_kanji_model.pth"
    command = ["calibrate_model.py", "--model-path", trained, "--data-dir", workplace / "dataset"]
    output = run_script([*command, "--output", "new.pth"], tmp_path).stdout
    before, after = (torch.load(path, weights_only=True) for path in (trained, tmp_path / "new.pth"))
    ratio = after["training"]["temperature"]["value"] / before["training"]["temperature"]["value"]
    assert f"temperature {ratio:.3f}" in output
    assert "synthetic sample" in output
    for name, tensor in before["state_dict"].items():
        expected = tensor / ratio if name.startswith("classifier.2.") and name.endswith(("weight", "bias")) else tensor
        torch.testing.assert_close(after["state_dict"][name], expected)

    refused = run_script([*command[:-1], "nowhere"], tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "error: nowhere: no such folder: run prepare_etl9g_dataset.py --output-dir nowhere first\n"
