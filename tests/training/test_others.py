"""Training with images of none of the characters: loss, metrics, the threshold, and what says so then."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from kanjinet.classes import ETL9G_SET, JAPANESE_SET, NO_CLASS, NUM_CLASSES, CharacterSet
from kanjinet.contract import NORMALIZE
from kanjinet.errors import KanjinetError
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.synth.online import SampleGenerator
from kanjinet.training import rejection
from kanjinet.training.recipe import expect_frequencies
from kanjinet.training.rejection import fit_rejection
from kanjinet.training.resume import check_options
from kanjinet.training.samples import Samples, TrainingSamples, repeat_hiragana
from kanjinet.training.step import TrainingStep
from tests.training.test_training import load, train

OPTIONS = TrainingOptions(fresh_others=1, fresh_difficulty=0.5)


class Table(nn.Module):
    """A network whose logits are a parameter, a row an image."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[images[:, 0, 0, 0].mul(255).round().long()]


def make_step(labels: list[int], logits: torch.Tensor, character_set: CharacterSet = ETL9G_SET) -> TrainingStep:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None].expand(-1, 2, 2).clone()
    generator = cast(SampleGenerator, SimpleNamespace(labels=np.array(labels)))
    samples = TrainingSamples(images, torch.tensor(labels), generator, character_set)
    network = Table(logits)
    optimizer = torch.optim.SGD([{"params": network.parameters(), "lr_scale": 1.0}], lr=0.0)
    return TrainingStep(network, optimizer, samples, lambda inputs: inputs, is_recorded=False)


def test_an_image_of_none_of_them_is_to_have_all_as_equally_probable() -> None:
    logits = torch.randn(3, NUM_CLASSES, generator=torch.manual_seed(0))
    logits[2] = 0
    step = make_step([5, NO_CLASS, NO_CLASS], logits.clone())
    step(torch.arange(3), 1.0)
    log_p = torch.log_softmax(logits.double(), 1)
    target = torch.full((NUM_CLASSES,), 0.1 / NUM_CLASSES, dtype=torch.float64)
    target[5] += 0.9
    expected = -(target * log_p[0]).sum() - log_p[1].mean() - math.log(NUM_CLASSES)  # and 0 of the third
    loss, hits, known = step.sums.tolist()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert (hits, known) == (int(logits[0].argmax() == 5), 1)
    gradient = step.network.logits.grad  # type: ignore[union-attr]
    assert gradient[2].abs().max() < 1e-9 and gradient[1].abs().max() > 0


def test_without_them_loss_and_sums_are_as_ever() -> None:
    logits = torch.randn(3, NUM_CLASSES, generator=torch.manual_seed(0))
    step = make_step([5, 6, 7], logits.clone())
    step(torch.arange(3), 1.0)
    loss = nn.functional.cross_entropy(logits, torch.tensor([5, 6, 7]), label_smoothing=0.1)
    assert step.sums.shape == (2,) and step.sums[0] == 3 * loss


def test_what_is_rare_is_expected_less_often_than_it_is_shown() -> None:
    known = [JAPANESE_SET.class_of_character[character] for character in "子孑みaソ々鬱頰9"]
    frequencies = expect_frequencies(JAPANESE_SET)
    assert frequencies is not None and frequencies[known].tolist() == pytest.approx(
        [1, 1 / 5, 1, 1 / 3, 1 / 3, 1, 1, 1, 2]
    )
    assert expect_frequencies(ETL9G_SET) is None

    logits = torch.zeros(2, JAPANESE_SET.num_classes)
    logits[:, known[1]] = -math.log(5)
    step = make_step(known[:2], logits, JAPANESE_SET)  # two images of one shape, one of each
    step(torch.arange(2), 1.0)
    common, rare = step.network.logits.grad.sum(0)[known[:2]].tolist()  # type: ignore[union-attr]
    assert common == pytest.approx(rare, rel=1e-4)  # so as they are, both logits stay


def test_hiragana_alone_are_repeated() -> None:
    labels = torch.tensor([3, 200, NO_CLASS])
    assert repeat_hiragana(labels, 3).tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    ("known", "other", "threshold"),
    [
        (0.9, 0.2, 0.2),  # no higher than is needed
        (0.3, 0.8, 0.3),  # no higher than characters allow
        (0.9, 0.8, 0.5),  # what is likelier than all others together is read
    ],
)
def test_the_threshold_rejects_no_more_than_it_must(
    known: float, other: float, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probabilities of characters lie above `known`, those of other images below `other`."""
    count = 250
    p = torch.cat([torch.linspace(known, 1, count), torch.linspace(0, other, count)]).clamp(1e-4, 1 - 1e-6)
    logits = torch.zeros(2 * count, NUM_CLASSES)
    logits[:, 0] = torch.log(p * (NUM_CLASSES - 1) / (1 - p))

    class Reader(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            pixels = images[:, 0, 0].mul(255).round().long()
            return logits[pixels[:, 0] + 250 * pixels[:, 1]]

    images = torch.zeros(2 * count, 2, 2, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(count).repeat(2)
    images[count:, 0, 1] = 1
    monkeypatch.setattr(rejection, "generate_held_out_others", lambda spec: images[count:].numpy())
    samples = Samples(images[:count], torch.zeros(count, dtype=torch.int64))
    found = fit_rejection(Reader(), samples, OPTIONS, NORMALIZE)
    assert found is not None and found.others == count
    assert found.threshold == pytest.approx(threshold, abs=0.012)
    assert found.rejected_characters <= 0.01
    assert found.rejected_others >= 0.94 or threshold in (known, 0.5)


def test_a_training_without_them_has_no_threshold() -> None:
    options: Any = TrainingOptions(fresh_sets=1, fresh_difficulty=0.5)
    assert fit_rejection(nn.Identity(), Samples(torch.empty(0), torch.empty(0)), options, NORMALIZE) is None


@pytest.mark.slow
def test_other_images_of_the_threshold_are_in_no_epoch() -> None:
    from kanjinet.synth.online import _generate_sheet, generate_held_out_others
    from kanjinet.training.samples import make_generation_spec

    spec = make_generation_spec(OPTIONS, NORMALIZE)
    assert spec is not None
    held_out = generate_held_out_others(spec)
    assert held_out.shape == (NUM_CLASSES, 64, 64)
    first = _generate_sheet(spec, 0, 0, 0)
    assert not np.array_equal(first, held_out[: len(first)])


@pytest.mark.slow
def test_a_training_with_them_stores_the_threshold(workplace: Path, tmp_path: Path) -> None:
    options = ("--epochs", "1", "--sample-limit", "300", "--batch-size", "96", "--fresh-others", "1")
    output = train(workplace, tmp_path, *options).stdout
    assert "3,036 of training's are new in every epoch, 3,036 of them of none of the characters" in output
    training = load(tmp_path / "best_kanji_model.pth")["training"]
    assert (training["fresh_others"], training["fresh_sets"], training["fresh_difficulty"]) == (1, None, 0.5)
    assert training["rejection"]["others"] == NUM_CLASSES
    assert f"{training['rejection']['threshold']:.1%}" in output
    (epoch,) = json.loads((tmp_path / "training_progress.json").read_text(encoding="utf-8"))["epochs"]
    assert 0 <= epoch["train_accuracy"] <= 1 and epoch["train_loss"] < math.log(NUM_CLASSES)
    assert "resumed    after epoch 1" in train(workplace, tmp_path, *options, "--resume").stdout


def test_a_run_without_them_is_not_resumed_with_them() -> None:
    older = {"fresh_sets": 1, "fresh_difficulty": 0.5}  # a state from before there were any
    with pytest.raises(KanjinetError, match="no --fresh-others, now 2"):
        check_options(Path("s.pth"), older, {**older, "fresh_others": 2})
    check_options(Path("s.pth"), older, {**older, "fresh_others": None})
