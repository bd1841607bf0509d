"""What other recipes, or other versions of the network, make of the same images.

A recipe is worth having only where it wins with every seed.

Reads:  the package kanjivg, and real drawings if there are any
Writes: a table
Run:    python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3
        python benchmarks/compare_recipes.py --versions 1.0 2.0 2.1 3.0 --seeds 1
"""

import argparse
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from short_training import Result, add_options, compare, judge, make_short_trainer, train_all_epochs, write_samples
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kanjinet.cli import make_parser, run_script
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.recipe import LABEL_SMOOTHING, WEIGHT_DECAY
from kanjinet.training.trainer import Trainer

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


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser(__doc__, "python benchmarks/compare_recipes.py --drawings drawings.npz --seeds 3")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="lines of the table")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, help="compare these networks instead")
    add_options(parser)
    return parser.parse_args()


def train_and_judge(name: str, seed: int, args: argparse.Namespace) -> Result:
    """Trains by one recipe, or one version of the network, and judges the result."""
    change, changed = RECIPES.get(name, (keep, {"model_version": name}))
    options = TrainingOptions(epochs=args.epochs, seed=seed, **changed)
    trainer = make_short_trainer(write_samples(args.sets, 2 * seed), options, args.jobs)
    network = change(trainer)
    train_all_epochs(trainer)
    return judge(name, seed, network, args.drawings)


def main() -> None:
    """Trains by each recipe, or each version."""
    args = parse_args()
    compare(train_and_judge, args.versions or args.recipes, args)


if __name__ == "__main__":
    run_script(main)
