"""Characters by simulated writers who are new in every epoch, so that a training sees none of them twice."""

import contextlib
import functools
import multiprocessing
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from kanjinet.classes import NUM_CLASSES
from kanjinet.data.etl9g import SHEETS_PER_SET
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.worker_processes import MAX_WORKERS, start_worker, usable_cores
from kanjinet.synth.glyph_table import load_glyph_table, save_glyph_table_with
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.kanjivg import find_kanjivg_folder
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import sample_writer
from kanjinet.training.distributed import ProcessGroup

Sheet = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FreshSets:
    """What is to be drawn for each epoch.

    Attributes:
        sets: data sets of 3,036 characters, each of 20 sheets by 20 hands.
        difficulty: 0 (copybook) ... 1 (hasty).
        seed: of the training; which hands write depends on it and on the epoch alone.
        epochs: of the training.
        image_size: side of the images, pixels.
        preprocessing: version of what happens to the drawn cells.
    """

    sets: int
    difficulty: float
    seed: int
    epochs: int
    image_size: int
    preprocessing: str


class FreshWriters:
    """Fills a training's memory with the images of an epoch, drawn by other processes.

    Where several processes train together, each has its share drawn and sends it to the others.

    Attributes:
        classes: (n,) int64, of the characters in the order in which they are drawn; the same in every epoch.
    """

    def __init__(self, wanted: FreshSets, pool: ProcessPoolExecutor, copybook: Path, group: ProcessGroup) -> None:
        self.classes = torch.from_numpy(np.tile(np.concatenate(list_sheet_classes()), wanted.sets))
        self._wanted = wanted
        self._pool = pool
        self._copybook = copybook
        self._group = group
        self._filled: int | None = None
        self._begun: dict[int, deque[Future[Sheet]]] = {}

    def fill(self, epoch: int, images: torch.Tensor, between_sets: Callable[[], None] = lambda: None) -> None:
        """Write an epoch's images over the last of `images`; where a GPU trains, the next epoch's are begun.

        Args:
            epoch: counted from 0.
            images: (n or more, S, S) uint8, the same memory in every call.
            between_sets: called after every data set; it may raise.
        """
        if self._filled == epoch:
            return
        self._filled = None
        sheets = self._begun.pop(epoch) if epoch in self._begun else self._begin(epoch)
        is_silent = None if self._group.is_first else True
        room = images[-len(self.classes) :]
        sets = tqdm(room.split(NUM_CLASSES), desc=f"drawing {epoch + 1}", leave=False, disable=is_silent)
        for number, rows in enumerate(sets):
            owner = number % self._group.size
            if owner == self._group.rank:
                # A sheet that is copied is let go: the results of an epoch take as much memory as its images.
                drawn = np.concatenate([sheets.popleft().result() for _ in range(SHEETS_PER_SET)])
                rows.copy_(torch.from_numpy(drawn))
            self._group.send(rows, owner)
            between_sets()
        self._filled = epoch
        if images.is_cuda and epoch + 1 < self._wanted.epochs:  # the cores have nothing else to do
            self._begun[epoch + 1] = self._begin(epoch + 1)

    def _begin(self, epoch: int) -> deque[Future[Sheet]]:
        draw = functools.partial(_draw_sheet, self._copybook, self._wanted, epoch)
        mine = range(self._group.rank, self._wanted.sets, self._group.size)
        return deque(self._pool.submit(draw, number, sheet) for number in mine for sheet in range(SHEETS_PER_SET))


@contextlib.contextmanager
def hire_fresh_writers(wanted: FreshSets, group: ProcessGroup) -> Iterator[FreshWriters]:
    """The processes that draw; every usable core gets one, divided among the processes that train.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    find_kanjivg_folder()
    workers = max(1, min(usable_cores() // group.size, MAX_WORKERS))
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="kanjinet-") as folder,
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
    ):
        try:
            copybook = Path(folder) / "copybook.npz"
            save_glyph_table_with(pool, workers, copybook)
            yield FreshWriters(wanted, pool, copybook, group)
        finally:
            pool.shutdown(cancel_futures=True)


def _draw_sheet(copybook: Path, wanted: FreshSets, epoch: int, number: int, sheet: int) -> Sheet:
    """One sheet of an epoch, (152 or 148, S, S), in a worker process."""
    rng = np.random.default_rng(np.random.SeedSequence(wanted.seed, spawn_key=(epoch, number, sheet)))
    writer = sample_writer(rng, wanted.difficulty)
    cells = write_sheet(load_glyph_table(copybook), list_sheet_classes()[sheet], writer, rng)
    return preprocess(cells * np.uint8(INK_SCALE), wanted.image_size, wanted.preprocessing, cells=True)
