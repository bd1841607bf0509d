"""Generated samples that are new in every epoch of a training, so that it sees none of them twice."""

import contextlib
import functools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET, NO_CLASS, CharacterSet
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.worker_processes import MAX_WORKERS, choose_workers, open_workers
from kanjinet.synth.font_writers import choose_font_writers
from kanjinet.synth.fonts import Font
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.kanjivg import find_kanjivg_folder
from kanjinet.synth.others import choose_kinds, write_others
from kanjinet.synth.repertoire import numbers_of
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import sample_writer

Images = npt.NDArray[np.uint8]
_HELD_OUT_EPOCH = 1 << 24  # which no training has


@dataclass(frozen=True)
class GenerationSpec:
    """Says what is generated for each epoch of a training; the images depend on that and on the epoch alone."""

    sets: int  # data sets of each character, of sheets by as many writers
    difficulty: float  # 0 = neat ... 1 = hasty
    seed: int
    epochs: int
    image_size: int  # side, pixels
    preprocessing: str  # version
    fonts: tuple[Font, ...] = ()  # that are among the writers
    other_sets: int = 0  # as many images that show none of the characters; they come last
    character_set: CharacterSet = ETL9G_SET
    kana_sets: int = 0  # as many images of all but kanji; they come after the sets

    def choose_classes(self, number: int) -> npt.NDArray[np.int64]:
        """Returns the labels (classes,) of a set: each character once, or all but kanji in turn, or NO_CLASS."""
        characters = self.character_set
        if number >= self.sets + self.kana_sets:
            return np.full(characters.num_classes, NO_CLASS)
        if number >= self.sets:
            return np.resize(np.flatnonzero(~characters.is_of("kanji")), characters.num_classes)
        return np.concatenate(list_sheet_classes(characters))


class SampleGenerator:
    """Generates the samples of an epoch in worker processes.

    Where `size` processes train together, each generates every `size`-th data set, beginning with number `rank`. The
    labels (n,) are those of all data sets, and the same in every epoch.
    """

    def __init__(self, spec: GenerationSpec, pool: ProcessPoolExecutor, rank: int = 0, size: int = 1) -> None:
        num_sets = spec.sets + spec.kana_sets + spec.other_sets
        self.labels: npt.NDArray[np.int64] = np.concatenate([spec.choose_classes(each) for each in range(num_sets)])
        self._sheets_per_set = len(list_sheet_classes(spec.character_set))
        self._spec, self._pool = spec, pool
        self._numbers = range(rank, num_sets, size)
        self._sheets: dict[int, deque[Future[Images]]] = {}  # by epoch, those that are begun

    def generate(self, epoch: int) -> Iterator[Images]:
        """Yields the images of each of this process's data sets in turn, (classes, S, S)."""
        self._begin(epoch)
        sheets = self._sheets.pop(epoch)
        while sheets:
            # A sheet that is copied is let go: the sheets of an epoch take as much memory as its images.
            yield np.concatenate([sheets.popleft().result() for _ in range(self._sheets_per_set)])

    def prefetch(self, epoch: int) -> None:
        """Begins to generate an epoch's samples in the background, unless the training is over by then."""
        if epoch < self._spec.epochs:
            self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        if epoch not in self._sheets:
            generate = functools.partial(_generate_sheet, self._spec, epoch)
            tasks = ((number, sheet) for number in self._numbers for sheet in range(self._sheets_per_set))
            self._sheets[epoch] = deque(self._pool.submit(generate, *task) for task in tasks)


@contextlib.contextmanager
def open_generator(spec: GenerationSpec, rank: int = 0, size: int = 1) -> Iterator[SampleGenerator]:
    """Starts the worker processes: as many as cores and memory allow, divided among the `size` processes that train.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    find_kanjivg_folder()
    with open_workers(max(1, choose_workers(None, MAX_WORKERS) // size)) as pool:
        yield SampleGenerator(spec, pool, rank, size)


def generate_held_out_others(spec: GenerationSpec) -> Images:
    """Generates as many images (n, S, S) as there are characters, that show none and are in no epoch of a training."""
    sheets, number = range(len(list_sheet_classes(spec.character_set))), spec.sets + spec.kana_sets
    return np.concatenate([_generate_sheet(spec, _HELD_OUT_EPOCH, number, sheet) for sheet in sheets])


def _generate_sheet(spec: GenerationSpec, epoch: int, number: int, sheet: int) -> Images:
    """Generates one sheet of an epoch, (152 or fewer, S, S), in a worker process."""
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(epoch, number, sheet)))
    writer = sample_writer(rng, spec.difficulty)
    sizes = [len(each) for each in list_sheet_classes(spec.character_set)]
    classes = np.split(spec.choose_classes(number), np.cumsum(sizes[:-1]))[sheet]
    font_writers = choose_font_writers(spec.fonts, spec.seed, (epoch, number, sheet))
    if number >= spec.sets + spec.kana_sets:
        kinds = choose_kinds(len(classes), rng, spec.character_set)
        cells = write_others(kinds, writer, rng, font_writers, spec.character_set)
    else:
        cells = write_sheet(numbers_of(spec.character_set, classes), writer, rng, font_writers=font_writers)
    return preprocess(cells * np.uint8(INK_SCALE), spec.image_size, spec.preprocessing, cells=True)
