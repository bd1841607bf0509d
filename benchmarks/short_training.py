"""The short training that the comparisons in this folder have in common, judged on writers never seen."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.cli import positive_int
from kanjinet.contract import NORMALIZE
from kanjinet.data.drawings import read_drawings
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.worker_processes import open_workers
from kanjinet.model import LightweightKanjiNet
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import sample_writer
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.initialization import initialize_network
from kanjinet.training.samples import Samples, TrainingSamples
from kanjinet.training.trainer import Trainer
from kanjinet.training.validation import predict_logits

SIZE = 64  # pixels
TEST_SETS = 2
NO_AUGMENTATION = Augmentation(**{field.name: 0 for field in fields(Augmentation) if field.name != "elastic_points"})
COLUMNS = ("unseen_writers", "drawings", "drawn_hiragana", "drawn_kanji")

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Result:
    """Holds the accuracies, 0-1, of one training under a name; NaN where there are no drawings."""

    name: str
    seed: int
    unseen_writers: float
    drawings: float = float("nan")
    drawn_hiragana: float = float("nan")
    drawn_kanji: float = float("nan")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that all comparisons have."""
    parser.add_argument("--drawings", type=Path, help=".npz of real drawings (arrays images and characters)")
    parser.add_argument("--sets", type=positive_int, default=4, help="data sets of 3,036 characters to train on")
    parser.add_argument("--seeds", type=positive_int, default=3, help="trainings of each")
    parser.add_argument("--epochs", type=positive_int, default=10, help="of each training")
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at a time")


TrainAndJudge = Callable[[str, int, argparse.Namespace], Result]  # a name and a seed


def compare(train_and_judge: TrainAndJudge, names: list[str], args: argparse.Namespace) -> None:
    """Trains under every name with every seed, printing each result, then the means and their spread."""
    print(f"{args.sets} data sets, {args.epochs} epochs, {args.seeds} seeds; judged on {TEST_SETS} data sets unseen")
    start = time.perf_counter()
    results: list[Result] = []
    with open_workers(args.jobs) as pool:
        tasks = [pool.submit(train_and_judge, name, seed, args) for seed in range(args.seeds) for name in names]
        for task in as_completed(tasks):
            results.append(task.result())
            print(f"{time.perf_counter() - start:7.0f} s  {results[-1]}", flush=True)
    print_table(names, results)


def make_short_trainer(samples: TrainingSamples, options: TrainingOptions, jobs: int) -> Trainer:
    """Prepares a training from scratch in this process, one of `jobs` at a time that divide the cores among them."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    keep_freed_memory()
    model = initialize_network(options, samples)
    return Trainer(model, samples, options)


def train_all_epochs(trainer: Trainer) -> LightweightKanjiNet:
    """Trains to the end of the schedule."""
    for epoch in range(trainer.options.epochs):
        trainer.train_epoch(epoch)
    return trainer.model


def as_samples(images: Images, labels: npt.NDArray[np.integer]) -> TrainingSamples:
    """Converts images (n, 64, 64) and labels (n,) for the training loop."""
    return TrainingSamples(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def write_samples(number_of_sets: int, seed: int) -> TrainingSamples:
    """Writes data sets by new writers, 20 sheets by 20 writers each, and preprocesses them."""
    images, labels = [], []
    for number in range(number_of_sets):
        for sheet, classes in enumerate(list_sheet_classes()):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, sheet)))
            cells = write_sheet(classes, sample_writer(rng), rng)
            images.append(preprocess(cells * np.uint8(INK_SCALE), SIZE, NORMALIZE, cells=True))
            labels.append(classes)
    return as_samples(np.concatenate(images), np.concatenate(labels))


def judge(name: str, seed: int, model: LightweightKanjiNet, drawings_path: Path | None) -> Result:
    """Measures a network's accuracies on writers whom no training of this seed saw, and on the drawings."""
    accuracy = float(_find_hits(model, write_samples(TEST_SETS, 2 * seed + 1)).mean())
    if drawings_path is None:
        return Result(name, seed, accuracy)
    found = read_drawings(drawings_path)
    drawings = as_samples(preprocess(found.ink, SIZE, NORMALIZE, cells=False), found.classes)
    hits = _find_hits(model, drawings)
    is_kana = drawings.labels.numpy() < NUM_HIRAGANA
    return Result(name, seed, accuracy, *(float(hits[part].mean()) for part in (slice(None), is_kana, ~is_kana)))


def _find_hits(model: LightweightKanjiNet, samples: Samples) -> npt.NDArray[np.bool_]:
    hits: npt.NDArray[np.bool_] = (predict_logits(model, samples.images).argmax(1) == samples.labels).numpy()
    return hits


def print_table(names: list[str], results: list[Result]) -> None:
    """Prints a line for each name: the mean over the seeds, and half the range between the best and the worst."""
    width = max(map(len, names)) + 2
    print(f"\n{'':{width}}" + "".join(f"{title.replace('_', ' '):>18}" for title in COLUMNS))
    for name in names:
        cells = []
        for column in COLUMNS:
            found = np.array([getattr(result, column) for result in results if result.name == name])
            cells.append("" if np.isnan(found).any() else f"{found.mean():.1%} ± {np.ptp(found) / 2:.1%}")
        print(f"{name:{width}}" + "".join(f"{cell:>18}" for cell in cells))
