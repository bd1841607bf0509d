"""What other recipes, or other versions of the network, make of the same images.

A recipe is worth having only where it wins with every seed.

Reads:  the package kanjivg, and real drawings if there are any
Writes: a table
Run:    python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3
        python benchmarks/compare_recipes.py --versions 1.0 2.0 2.1 3.0 --seeds 1
"""

import common  # noqa: F401  (puts the toolkit on the path)
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.contract import NORMALIZE
from kanjinet.data.drawings import read_drawings
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.resources import usable_cores
from kanjinet.data.worker_processes import open_workers
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import sample_writer
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.initialization import initialize_network
from kanjinet.training.recipe import LABEL_SMOOTHING, WEIGHT_DECAY
from kanjinet.training.samples import Samples, TrainingSamples
from kanjinet.training.trainer import Trainer
from kanjinet.training.validation import predict_logits

SIZE = 64  # pixels
TEST_SETS = 2
AVERAGE_DECAY = 0.99  # a step
MUON_LR_SCALE = 2.0  # Muon's learning rate / AdamW's, with steps of AdamW's size

Change = Callable[[Trainer], LightweightKanjiNet]  # made before the first step; returns the network to be judged


def keep(trainer: Trainer) -> LightweightKanjiNet:
    """Changes nothing but the options."""
    return trainer.model


def use_one_rate(trainer: Trainer) -> LightweightKanjiNet:
    """Lets the fitted classifier learn at the rate of the other layers."""
    for group in trainer.optimizer.param_groups:
        group["lr_scale"] = 1.0
    return trainer.model


def smooth_no_labels(trainer: Trainer) -> LightweightKanjiNet:
    """Uses no label smoothing."""
    trainer.step.label_smoothing = 0.0
    return trainer.model


def smooth_labels_less_and_less(trainer: Trainer) -> LightweightKanjiNet:
    """Lets label smoothing fall in a straight line, to nothing at the last step."""
    smoothing = iter(np.linspace(LABEL_SMOOTHING, 0, trainer.options.epochs * trainer.steps_per_epoch))

    def before_step(*_: Any) -> None:
        trainer.step.label_smoothing = float(next(smoothing))

    trainer.optimizer.register_step_pre_hook(before_step)
    return trainer.model


def average_weights(trainer: Trainer) -> LightweightKanjiNet:
    """Judges the exponential moving average of the weights and statistics."""
    average = AveragedModel(trainer.model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True)
    trainer.optimizer.register_step_post_hook(lambda *_: average.update_parameters(trainer.model))
    return cast(LightweightKanjiNet, average.module)


def use_muon(trainer: Trainer) -> LightweightKanjiNet:
    """Makes orthogonalized steps with the pointwise kernels, which are matrices.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    kernels = [
        module.weight
        for module in trainer.model.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]
    matrices = [nn.Parameter(kernel.detach().flatten(1)) for kernel in kernels]  # in the kernels' memory
    muon = torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    for group in trainer.optimizer.param_groups:
        group["params"] = [p for p in group["params"] if all(p is not kernel for kernel in kernels)]

    def after_step(*_: Any) -> None:
        for group in muon.param_groups:
            group["lr"] = MUON_LR_SCALE * max(each["lr"] for each in trainer.optimizer.param_groups)
        for matrix, kernel in zip(matrices, kernels, strict=True):
            if kernel.grad is not None:
                matrix.grad, kernel.grad = kernel.grad.flatten(1), None
        muon.step()

    trainer.optimizer.register_step_post_hook(after_step)
    return trainer.model


RECIPES: dict[str, tuple[Change, dict[str, Any]]] = {  # name -> what is changed, and other options
    "as it is": (keep, {}),
    "one rate for all layers": (use_one_rate, {}),
    "rate x 0.6": (keep, {"learning_rate": 0.6 * TrainingOptions.learning_rate}),
    "rate x 1.6": (keep, {"learning_rate": 1.6 * TrainingOptions.learning_rate}),
    "Muon for pointwise kernels": (use_muon, {}),
    "moving average of weights": (average_weights, {}),
    "no label smoothing": (smooth_no_labels, {}),
    "label smoothing that falls to 0": (smooth_labels_less_and_less, {}),
    "hiragana shown twice": (keep, {"hiragana_repeats": 2}),
    "hiragana shown 3 times": (keep, {"hiragana_repeats": 3}),
}


COLUMNS = ("unseen_writers", "drawings", "drawn_hiragana", "drawn_kanji")


@dataclass(frozen=True)
class Result:
    """Holds the accuracies, 0-1, of one training under a name; NaN where there are no drawings."""

    name: str
    seed: int
    unseen_writers: float
    drawings: float = float("nan")
    drawn_hiragana: float = float("nan")
    drawn_kanji: float = float("nan")


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="lines of the table")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, help="compare these networks instead")
    parser.add_argument("--drawings", type=Path, help=".npz of real drawings (arrays images and characters)")
    parser.add_argument("--sets", type=positive_int, default=4, help="data sets of 3,036 characters to train on")
    parser.add_argument("--seeds", type=positive_int, default=3, help="trainings of each")
    parser.add_argument("--epochs", type=positive_int, default=10, help="of each training")
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at a time")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    names = args.versions or args.recipes
    print(f"{args.sets} data sets, {args.epochs} epochs, {args.seeds} seeds; judged on {TEST_SETS} data sets unseen")
    start = time.perf_counter()
    results: list[Result] = []
    with open_workers(args.jobs) as pool:
        tasks = [pool.submit(train_and_judge, name, seed, args) for seed in range(args.seeds) for name in names]
        for task in as_completed(tasks):
            results.append(task.result())
            print(f"{time.perf_counter() - start:7.0f} s  {results[-1]}", flush=True)
    print_table(names, results)


def train_and_judge(name: str, seed: int, args: argparse.Namespace) -> Result:
    """Trains by one recipe, or one version of the network, and judges the result."""
    change, changed = RECIPES.get(name, (keep, {"model_version": name}))
    options = TrainingOptions(epochs=args.epochs, seed=seed, **changed)
    trainer = make_short_trainer(write_samples(args.sets, 2 * seed), options, args.jobs)
    network = change(trainer)
    train_all_epochs(trainer)
    return judge(name, seed, network, args.drawings)


def make_short_trainer(samples: TrainingSamples, options: TrainingOptions, jobs: int) -> Trainer:
    """Prepares a training from scratch in this process, one of `jobs` at a time that divide the cores among them."""
    torch.set_num_threads(max(1, usable_cores() // jobs))
    keep_freed_memory()
    model = initialize_network(options, samples)
    return Trainer(model, samples, options)


def train_all_epochs(trainer: Trainer) -> LightweightKanjiNet:
    """Trains to the end of the schedule."""
    for epoch in range(trainer.options.epochs):
        trainer.train_epoch(epoch)
    return trainer.model


def as_samples(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> TrainingSamples:
    """Converts images (n, 64, 64) and labels (n,) for the training loop."""
    return TrainingSamples(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


@lru_cache(maxsize=2)  # the training's and the test's of one seed: every recipe takes the same
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
    accuracy = float(find_hits(model, write_samples(TEST_SETS, 2 * seed + 1)).mean())
    if drawings_path is None:
        return Result(name, seed, accuracy)
    found = read_drawings(drawings_path)
    drawings = as_samples(preprocess(found.ink, SIZE, NORMALIZE, cells=False), found.classes)
    hits = find_hits(model, drawings)
    is_kana = drawings.labels.numpy() < NUM_HIRAGANA
    return Result(name, seed, accuracy, *(float(hits[part].mean()) for part in (slice(None), is_kana, ~is_kana)))


def find_hits(model: LightweightKanjiNet, samples: Samples) -> npt.NDArray[np.bool_]:
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


if __name__ == "__main__":
    run_script(main)
