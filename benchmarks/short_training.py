"""The short training that the comparisons in this folder share, judged on writers and hands never seen."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.cli import positive_int
from kanjinet.data.drawings import read_drawings
from kanjinet.data.worker_processes import start_worker
from kanjinet.model import DEFAULT_VERSION, LightweightKanjiNet, ModelConfig
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.initialization import start_network
from kanjinet.training.trainer import Samples, Trainer, compute_logits, peak_learning_rate

SIZE = 64  # pixels
BATCH_SIZE = 64
LEARNING_RATE = 0.001
NO_AUGMENTATION = Augmentation(**{field.name: 0 for field in fields(Augmentation) if field.name != "elastic_points"})
COLUMNS = ("unseen_writers", "drawings", "drawn_hiragana", "drawn_kanji")

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Result:
    """Shares of right answers, 0-1, of one training under a name; NaN where there are no drawings."""

    name: str
    seed: int
    unseen_writers: float
    drawings: float = float("nan")
    drawn_hiragana: float = float("nan")
    drawn_kanji: float = float("nan")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all comparisons have."""
    parser.add_argument("--drawings", type=Path, help=".npz of real drawings (arrays images and characters)")
    parser.add_argument("--seeds", type=positive_int, default=3, help="trainings of each")
    parser.add_argument("--epochs", type=positive_int, default=10, help="of each training")
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at a time, which share the cores")


TrainAndJudge = Callable[[str, int, argparse.Namespace], Result]  # a name and a seed


def compare(train_and_judge: TrainAndJudge, names: list[str], args: argparse.Namespace) -> None:
    """Train under every name with every seed, printing each result, then the means and their spread."""
    start = time.perf_counter()
    results: list[Result] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context, initializer=start_worker) as pool:
        tasks = [pool.submit(train_and_judge, name, seed, args) for seed in range(args.seeds) for name in names]
        for task in as_completed(tasks):
            results.append(task.result())
            print(f"{time.perf_counter() - start:7.0f} s  {results[-1]}", flush=True)
    print_table(names, results)


def make_short_trainer(
    samples: Samples,
    *,
    epochs: int,
    seed: int,
    jobs: int,
    augmentation: Augmentation | None = None,
    version: str = DEFAULT_VERSION,
    hiragana_repeats: int = 1,
) -> Trainer:
    """A training from scratch in this process, which has its share of the cores when `jobs` run at a time."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    keep_freed_memory()
    augmentation = augmentation or Augmentation()
    return Trainer(
        model=start_network(ModelConfig.preset(version, SIZE), samples, seed, augmentation),
        samples=samples,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        peak_rate=peak_learning_rate(LEARNING_RATE, BATCH_SIZE),
        seed=seed,
        augmentation=augmentation,
        hiragana_repeats=hiragana_repeats,
    )


def train_all_epochs(trainer: Trainer) -> LightweightKanjiNet:
    """Train to the end of the schedule."""
    for epoch in range(trainer.epochs):
        trainer.train_epoch(epoch, lambda *_: None)
    return trainer.model


def as_samples(images: Images, classes: npt.NDArray[np.integer]) -> Samples:
    """Images (n, 64, 64) and classes (n,) for the training loop."""
    return Samples(torch.from_numpy(images), torch.from_numpy(classes.astype(np.int64)))


def load_drawings(path: Path | None, prepare: Callable[[Images], Images]) -> Samples | None:
    """The real drawings of --drawings, where it is given, as `prepare` makes them (n, 64, 64)."""
    if path is None:
        return None
    drawings = read_drawings(path)
    return as_samples(prepare(drawings.ink), drawings.classes)


def judge(name: str, seed: int, model: LightweightKanjiNet, unseen: Samples, drawings: Samples | None) -> Result:
    """The accuracies of a trained network."""
    unseen_fraction = float(_is_right(model, unseen).mean())
    if drawings is None:
        return Result(name, seed, unseen_fraction)
    right = _is_right(model, drawings)
    is_kana = drawings.classes.numpy() < NUM_HIRAGANA
    return Result(
        name, seed, unseen_fraction, *(float(right[part].mean()) for part in (slice(None), is_kana, ~is_kana))
    )


def _is_right(model: LightweightKanjiNet, samples: Samples) -> npt.NDArray[np.bool_]:
    right: npt.NDArray[np.bool_] = (compute_logits(model, samples.images).argmax(1) == samples.classes).numpy()
    return right


def print_table(names: list[str], results: list[Result]) -> None:
    """One line a name: the mean over the seeds, and half the range between the best and the worst."""
    width = max(map(len, names)) + 2
    print(f"\n{'':{width}}" + "".join(f"{title.replace('_', ' '):>18}" for title in COLUMNS))
    for name in names:
        cells = []
        for column in COLUMNS:
            shares = np.array([getattr(result, column) for result in results if result.name == name])
            cells.append("" if np.isnan(shares).any() else f"{shares.mean():.1%} ± {np.ptp(shares) / 2:.1%}")
        print(f"{name:{width}}" + "".join(f"{cell:>18}" for cell in cells))
