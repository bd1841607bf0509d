"""What other recipes make of the same images: each is worth having only where it wins with every seed.

Reads:  the package kanjivg, and real drawings if there are any
Writes: a table
Run:    python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3
"""

import argparse
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from bench_writers import add_writer_options, compare_on_new_writers, judge_on_new_writers, write_samples
from short_training import Result, make_short_trainer, train_all_epochs
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kanjinet.cli import make_parser, run_script
from kanjinet.model import LightweightKanjiNet
from kanjinet.synth.glyph_table import read_glyph_table
from kanjinet.training.trainer import LABEL_SMOOTHING, WEIGHT_DECAY, Trainer

AVERAGE_DECAY = 0.99  # a step
MUON_FACTOR = 2.0  # Muon's rate / AdamW's, with steps of AdamW's size

Change = Callable[[Trainer], LightweightKanjiNet]  # made before the first step; gives the network to be judged


def keep(trainer: Trainer) -> LightweightKanjiNet:
    """The recipe as it is."""
    return trainer.model


def use_one_rate(trainer: Trainer) -> LightweightKanjiNet:
    """The fitted classifier learns at the rate of the other layers."""
    for group in trainer.optimizer.param_groups:
        group["rate_fraction"] = 1.0
    return trainer.model


def scale_rate(factor: float) -> Change:
    """A higher or lower rate throughout."""

    def change(trainer: Trainer) -> LightweightKanjiNet:
        trainer.peak_rate *= factor
        return trainer.model

    return change


def smooth_no_labels(trainer: Trainer) -> LightweightKanjiNet:
    """The network is to be certain of every training image."""
    trainer.label_smoothing = 0.0
    return trainer.model


def smooth_labels_less_and_less(trainer: Trainer) -> LightweightKanjiNet:
    """Label smoothing falls in a straight line, to nothing at the last step."""
    shares = iter(np.linspace(1, 0, trainer.epochs * trainer.steps_per_epoch))

    def step(*_: Any) -> None:
        trainer.label_smoothing = LABEL_SMOOTHING * float(next(shares))

    trainer.optimizer.register_step_pre_hook(step)
    return trainer.model


def average_weights(trainer: Trainer) -> LightweightKanjiNet:
    """The exponential moving average of the weights and statistics is judged."""
    average = AveragedModel(trainer.model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True)
    trainer.optimizer.register_step_post_hook(lambda *_: average.update_parameters(trainer.model))
    return cast(LightweightKanjiNet, average.module)


def use_muon(trainer: Trainer) -> LightweightKanjiNet:
    """Pointwise kernels are matrices, and their steps orthogonalised.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    kernels = [
        module.weight
        for module in trainer.model.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]
    matrices = [nn.Parameter(kernel.detach().flatten(1)) for kernel in kernels]  # share the kernels' memory
    muon = torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    for group in trainer.optimizer.param_groups:
        group["params"] = [p for p in group["params"] if all(p is not kernel for kernel in kernels)]

    def step(*_: Any) -> None:
        for group in muon.param_groups:
            group["lr"] = MUON_FACTOR * max(each["lr"] for each in trainer.optimizer.param_groups)
        for matrix, kernel in zip(matrices, kernels, strict=True):
            if kernel.grad is not None:
                matrix.grad, kernel.grad = kernel.grad.flatten(1), None
        muon.step()

    trainer.optimizer.register_step_post_hook(step)
    return trainer.model


RECIPES: dict[str, Change] = {
    "as it is": keep,
    "one rate for all layers": use_one_rate,
    "rate x 0.6": scale_rate(0.6),
    "rate x 1.6": scale_rate(1.6),
    "Muon for pointwise kernels": use_muon,
    "moving average of weights": average_weights,
    "no label smoothing": smooth_no_labels,
    "label smoothing that falls to 0": smooth_labels_less_and_less,
    "hiragana shown twice": keep,
    "hiragana shown 3 times": keep,
}
REPEATS = {"hiragana shown twice": 2, "hiragana shown 3 times": 3}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="lines of the table")
    add_writer_options(parser)
    return parser.parse_args()


def train_and_judge(name: str, seed: int, args: argparse.Namespace) -> Result:
    """One training by one recipe."""
    table = read_glyph_table()
    samples = write_samples(table, args.sets, 2 * seed, "nothing")
    trainer = make_short_trainer(
        samples, epochs=args.epochs, seed=seed, jobs=args.jobs, hiragana_repeats=REPEATS.get(name, 1)
    )
    network = RECIPES[name](trainer)
    train_all_epochs(trainer)
    return judge_on_new_writers(name, seed, network, table, args)


def main() -> None:
    """Train by each recipe."""
    args = parse_args()
    compare_on_new_writers(train_and_judge, args.recipes, args)


if __name__ == "__main__":
    run_script(main)
