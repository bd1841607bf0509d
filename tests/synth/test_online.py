"""Characters drawn during a training are new in every epoch, and the same for the same seed."""

import weakref
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from kanjinet.classes import NUM_CLASSES
from kanjinet.contract import NORMALIZE
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.model_card import describe_model
from kanjinet.synth.online import FreshSets, FreshWriters, hire_fresh_writers
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.training.distributed import ALONE

WANTED = FreshSets(sets=1, difficulty=0.5, seed=3, epochs=2, image_size=32, preprocessing=NORMALIZE)


def draw(wanted: FreshSets, epochs: list[int]) -> list[torch.Tensor]:
    images = torch.zeros(NUM_CLASSES, 32, 32, dtype=torch.uint8)
    found = []
    with hire_fresh_writers(wanted, ALONE) as fresh:
        assert sorted(fresh.classes.tolist()) == list(range(NUM_CLASSES))
        for epoch in epochs:
            fresh.fill(epoch, images)
            found.append(images.clone())
    return found


def test_every_epoch_has_new_images_which_seed_and_epoch_decide() -> None:
    first, second, again = draw(WANTED, [0, 1, 0])
    assert all(image.any() for image in first)
    assert torch.equal(first, again)
    assert not (first == second).flatten(1).all(1).any()
    (other,) = draw(replace(WANTED, seed=4), [0])
    assert not (first == other).flatten(1).all(1).any()


def test_an_epoch_that_is_there_is_not_drawn_again() -> None:
    images = torch.zeros(NUM_CLASSES, 32, 32, dtype=torch.uint8)
    sets = []
    with hire_fresh_writers(WANTED, ALONE) as fresh:
        fresh.fill(0, images, lambda: sets.append(0))
        images.zero_()
        fresh.fill(0, images, lambda: sets.append(0))
        assert sets == [0] and not images.any()


def test_a_sheet_that_is_copied_leaves_memory(tmp_path: Path) -> None:
    drawn: list[weakref.ref[np.ndarray]] = []

    class Pool:
        """Draws at once."""

        def submit(self, _draw: Callable[..., object], _number: int, sheet: int) -> Future[np.ndarray]:
            result = np.full((len(list_sheet_classes()[sheet]), 32, 32), 1 + sheet, dtype=np.uint8)
            drawn.append(weakref.ref(result))
            future: Future[np.ndarray] = Future()
            future.set_result(result)
            return future

    fresh = FreshWriters(replace(WANTED, sets=3), cast(ProcessPoolExecutor, Pool()), tmp_path, ALONE)
    images = torch.zeros(3 * NUM_CLASSES, 32, 32, dtype=torch.uint8)
    left: list[int] = []
    fresh.fill(0, images, lambda: left.append(sum(sheet() is not None for sheet in drawn)))
    assert left == [40, 20, 0]
    assert images[0, 0, 0] == 1 and images[-1, 0, 0] == 20


@pytest.mark.parametrize(("synthetic", "fresh_sets"), [(True, None), (False, None), (False, 3)])
def test_the_license_names_what_was_learnt_from(synthetic: bool, fresh_sets: int | None) -> None:
    model = LightweightKanjiNet(ModelConfig.preset("1.0", 32))
    checkpoint = Checkpoint(model, NORMALIZE, synthetic, {"fresh_sets": fresh_sets}, "0" * 64)
    text = describe_model(checkpoint, Path("model.pth"))["license"]
    assert ("KanjiVG" in text) == (synthetic or fresh_sets is not None)
    assert ("AIST" in text) == (not synthetic)
