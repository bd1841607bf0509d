"""Samples generated for a training are new in every epoch, and the same for the same seed."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kanjinet.classes import NUM_CLASSES
from kanjinet.contract import NORMALIZE
from kanjinet.synth.online import GenerationSpec, open_generator
from tests.conftest import ROOT

SPEC = GenerationSpec(sets=1, difficulty=0.5, seed=3, epochs=2, image_size=32, preprocessing=NORMALIZE)


@pytest.mark.slow
def test_every_epoch_has_new_images_which_seed_and_epoch_decide() -> None:
    found = []
    for spec, epochs in ((SPEC, (0, 1, 0)), (replace(SPEC, seed=4), (0,))):
        with open_generator(spec) as generator:
            assert sorted(generator.labels.tolist()) == list(range(NUM_CLASSES))
            for epoch in epochs:
                (images,) = generator.generate(epoch)
                assert images.shape == (NUM_CLASSES, 32, 32) and images.any(axis=(1, 2)).all()
                found.append(images)
    first, second, again, other_seed = found
    assert np.array_equal(first, again)
    for other in (second, other_seed):
        assert not (first == other).all(axis=(1, 2)).any()


@pytest.mark.parametrize(("rank", "numbers"), [(0, [0, 2]), (1, [1])])
def test_processes_that_train_together_divide_the_sets(rank: int, numbers: list[int]) -> None:
    from tests.training.test_samples import make_generator

    generator, _ = make_generator(sets=3, rank=rank, size=2)
    assert [int(images[0, 0, 0]) for images in generator.generate(0)] == [100 + number for number in numbers]
    assert len(generator.labels) == 3 * NUM_CLASSES


def test_samples_are_generated_without_pytorch() -> None:
    code = "import sys, kanjinet.synth.online; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
