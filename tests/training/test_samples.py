"""The samples of a training own their generated ones, and what they take of memory."""

import weakref
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import cast

import numpy as np
import pytest
import torch

from kanjinet.classes import NUM_CLASSES
from kanjinet.contract import NORMALIZE
from kanjinet.synth.online import GenerationSpec, SampleGenerator
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.training.samples import TrainingSamples


def make_generator(sets: int, rank: int = 0, size: int = 1) -> tuple[SampleGenerator, list[weakref.ref[np.ndarray]]]:
    """A generator whose images are 100 + the set's number in the first pixel, 1 + the sheet's in the second."""
    generated: list[weakref.ref[np.ndarray]] = []

    class Pool:
        """Generates at once."""

        def submit(self, _generate: Callable[..., object], number: int, sheet: int) -> Future[np.ndarray]:
            images = np.zeros((len(list_sheet_classes()[sheet]), 32, 32), dtype=np.uint8)
            images[:, 0, 0], images[:, 0, 1] = 100 + number, 1 + sheet
            generated.append(weakref.ref(images))
            future: Future[np.ndarray] = Future()
            future.set_result(images)
            return future

    spec = GenerationSpec(sets, 0.5, seed=3, epochs=2, image_size=32, preprocessing=NORMALIZE)
    return SampleGenerator(spec, cast(ProcessPoolExecutor, Pool()), rank, size), generated


def make_samples(generator: SampleGenerator) -> TrainingSamples:
    """Five samples, and room for the generated ones."""
    images = torch.zeros(5 + len(generator.labels), 32, 32, dtype=torch.uint8)
    labels = torch.cat([torch.zeros(5, dtype=torch.int64), torch.from_numpy(generator.labels)])
    return TrainingSamples(images, labels, generator)


def test_generated_samples_take_the_last_places() -> None:
    generator, _ = make_generator(sets=3)
    samples = make_samples(generator)
    assert samples.num_generated == 3 * NUM_CLASSES
    samples.refresh(0)
    assert not samples.images[:5].any()
    assert samples.images[5:, 0, 0].tolist() == [100] * NUM_CLASSES + [101] * NUM_CLASSES + [102] * NUM_CLASSES
    assert samples.images[5, 0, 1] == 1 and samples.images[-1, 0, 1] == 20


def test_an_epoch_that_is_there_is_not_generated_again() -> None:
    samples = make_samples(make_generator(sets=2)[0])
    sets: list[tuple[int, int]] = []
    samples.refresh(0, lambda *done: sets.append(done))
    samples.images.zero_()
    samples.refresh(0, lambda *done: sets.append(done))
    assert sets == [(1, 2), (2, 2)] and not samples.images.any()
    samples.refresh(1, lambda *done: sets.append(done))
    assert len(sets) == 4 and samples.images.any()


def test_an_epoch_that_was_interrupted_is_generated_again() -> None:
    samples = make_samples(make_generator(sets=2)[0])

    def stop(*_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        samples.refresh(0, stop)
    samples.refresh(0)
    assert samples.images[-1, 0, 0] == 101


def test_a_sheet_that_is_copied_leaves_memory() -> None:
    generator, generated = make_generator(sets=3)
    samples = make_samples(generator)
    left: list[int] = []
    samples.refresh(0, lambda *_: left.append(sum(sheet() is not None for sheet in generated)))
    assert left == [40, 20, 0]
