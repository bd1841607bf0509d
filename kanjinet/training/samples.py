"""The samples of a training on its device: of the dataset, and generated ones that are new in every epoch."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from kanjinet.classes import ETL9G_SET, NO_CLASS, CharacterSet
from kanjinet.data.dataset import DatasetInfo, read_images, read_labels
from kanjinet.data.splits import (
    MAX_UNTRAINED_FRACTION,
    choose_samples,
    count_untrained,
    find_sensible_limit,
    split_samples,
)
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.synth.fonts import Font
from kanjinet.synth.online import GenerationSpec, SampleGenerator, open_generator
from kanjinet.training.distributed import ALONE, ProcessGroup


@dataclass
class Samples:
    """Holds images (n, S, S) uint8 and labels (n,) int64 on the device that trains."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class TrainingSamples(Samples):
    """Holds the samples to train on, the last of which a generator may replace before each epoch.

    Where several processes train together, each generates some of the sets and broadcasts them to the others.
    """

    generator: SampleGenerator | None = None
    character_set: CharacterSet = ETL9G_SET
    group: ProcessGroup = ALONE
    _epoch: int | None = field(default=None, init=False)  # whose samples the last ones are

    @property
    def num_generated(self) -> int:
        """How many samples are new in every epoch."""
        return len(self.generator.labels) if self.generator else 0

    @property
    def num_others(self) -> int:
        """How many of them, which come last, show none of the characters: their label is NO_CLASS."""
        return int(np.count_nonzero(self.generator.labels == NO_CLASS)) if self.generator else 0

    def refresh(self, epoch: int, after_set: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Replaces the generated samples by those of an epoch; where a GPU trains, the next ones are begun.

        Args:
            epoch: counted from 0.
            after_set: called with (sets done, sets in all) after every data set; it may raise.
        """
        if self.generator is None or self._epoch == epoch:
            return
        self._epoch = None
        generated = self.generator.generate(epoch)
        sets = self.images[-self.num_generated :].split(self.character_set.num_classes)
        for number, rows in enumerate(sets):
            owner = number % self.group.size
            if owner == self.group.rank:
                rows.copy_(torch.from_numpy(next(generated)))
            self.group.broadcast_tensor(rows, owner)
            after_set(number + 1, len(sets))
        self._epoch = epoch
        if self.images.device.type != "cpu":  # the cores have nothing else to do
            self.generator.prefetch(epoch + 1)


@dataclass(frozen=True)
class Parts:
    """Holds the parts that a dataset is split into."""

    train: TrainingSamples
    validation: Samples
    test: Samples
    num_untrained: int  # held-out samples of classes that are not trained, where they are more than a few; else 0
    sensible_limit: int | None = None  # of the samples, with which they are few; None where that takes more than all


@contextlib.contextmanager
def open_parts(
    info: DatasetInfo,
    options: TrainingOptions,
    device: torch.device,
    group: ProcessGroup,
    fonts: tuple[Font, ...] = (),
) -> Iterator[Parts]:
    """Loads the parts of a dataset to the device; the generator of samples, if there is one, is closed in the end.

    The `fonts` are among the writers of generated samples.

    Raises:
        KanjinetError: a damaged dataset, too few samples, or the package `kanjivg` is missing.
    """
    with contextlib.ExitStack() as stack:
        generator = None
        if spec := make_generation_spec(options, info.preprocessing, info.character_set, fonts):
            generator = stack.enter_context(open_generator(spec, group.rank, group.size))
        labels = read_labels(info)
        chosen = choose_samples(labels.classes, options.sample_limit, options.seed)
        indices = split_samples(labels, chosen, options.split, options.seed)
        order = np.concatenate([indices["validation"], indices["test"], indices["train"]])
        generated = generator.labels if generator else np.empty(0, np.int64)
        images = np.empty((len(order) + len(generated), info.image_size, info.image_size), np.uint8)
        read_images(info, order, out=images[: len(order)])
        sizes = [len(indices["validation"]), len(indices["test"]), len(indices["train"]) + len(generated)]
        all_labels = torch.from_numpy(np.concatenate([labels.classes[order].astype(np.int64), generated]))
        parts = zip(torch.from_numpy(images).split(sizes), all_labels.split(sizes), strict=True)
        validation, test, train = ((part.to(device), classes.to(device)) for part, classes in parts)
        untrained, sensible_limit = 0 if options.fresh_sets else count_untrained(labels.classes, indices), None
        if untrained <= MAX_UNTRAINED_FRACTION * (len(chosen) - len(indices["train"])):
            untrained = 0
        else:
            sensible_limit = find_sensible_limit(labels, options.split, options.seed)
        training = TrainingSamples(*train, generator, info.character_set, group)
        yield Parts(training, Samples(*validation), Samples(*test), untrained, sensible_limit)


def make_generation_spec(
    options: TrainingOptions, preprocessing: str, character_set: CharacterSet = ETL9G_SET, fonts: tuple[Font, ...] = ()
) -> GenerationSpec | None:
    """Makes the specification of what a training generates; None where that is nothing."""
    if not options.has_fresh_samples or options.fresh_difficulty is None:
        return None
    return GenerationSpec(
        options.fresh_sets or 0,
        options.fresh_difficulty,
        options.seed,
        options.epochs,
        options.image_size,
        preprocessing,
        fonts,
        options.fresh_others or 0,
        character_set,
        options.fresh_kana or 0,
    )


def repeat_hiragana(labels: torch.Tensor, repeats: int, character_set: CharacterSet = ETL9G_SET) -> torch.Tensor:
    """Returns the indices of all samples, and of all but kanji again until each is there `repeats` times.

    A character with more than twice a kanji's samples, as of several databases, is repeated less: only until it has
    `repeats` times as many samples as a kanji. Else g would be taken for 9, of which others have written more.
    """
    counts = torch.bincount(labels[labels != NO_CLASS], minlength=character_set.num_classes).cpu().float()
    is_kanji = torch.from_numpy(character_set.is_of("kanji"))
    usual = counts[is_kanji & (counts > 0)].median() if counts[is_kanji].any() else counts.max()
    fewer = (repeats * usual / counts.clamp(min=1)).round().clamp(min=1)
    times = torch.where(counts > 2 * usual, fewer, float(repeats))
    times[is_kanji] = 1
    again = torch.cat([times, torch.ones(1)]).to(labels.device)[labels]  # NO_CLASS takes the last place
    return torch.cat([torch.nonzero(again > number).flatten() for number in range(repeats)])


def to_float_images(images: torch.Tensor) -> torch.Tensor:
    """Converts (B, S, S) uint8 to the network's input, (B, 1, S, S) float32, 0-1."""
    return images.unsqueeze(1).float().div_(255)
