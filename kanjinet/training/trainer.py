"""The training loop: the steps of one epoch after the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kanjinet.errors import KanjinetError
from kanjinet.model import LightweightKanjiNet, use_channels_last
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.augmentation import Augmentation, compile_augmentation
from kanjinet.training.device import choose_memory_format
from kanjinet.training.distributed import ALONE, ProcessGroup
from kanjinet.training.recipe import choose_rates, make_optimizer, peak_learning_rate, schedule_factor
from kanjinet.training.samples import TrainingSamples, repeat_hiragana
from kanjinet.training.step import TrainingStep, compile_network

STEPS_BETWEEN_REPORTS = 20


@dataclass(frozen=True)
class TrainingMetrics:
    """Holds the mean loss and the accuracy, 0-1, on the augmented images of an epoch so far, and the learning rate."""

    loss: float
    accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class Progress:
    """Says how much of an epoch is done: data sets of generated samples, then steps, which have metrics."""

    done: int
    total: int
    metrics: TrainingMetrics | None = None


class Trainer:
    """Trains a network, epoch by epoch.

    Where several processes train together, each has all samples, takes a local batch out of every batch, and makes
    the step of the mean gradient; batch normalization sees the local batch alone.
    """

    def __init__(
        self,
        model: LightweightKanjiNet,
        samples: TrainingSamples,
        options: TrainingOptions,
        augmentation: Augmentation | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        """Prepares to train a network, which lies on the samples' device."""
        self.device = samples.labels.device
        is_channels_last = choose_memory_format(self.device) == torch.channels_last
        self.model = use_channels_last(model) if is_channels_last else model
        self.samples, self.options, self.group = samples, options, group
        rates = choose_rates(model.config, options.initialization)
        self.peak_rate = rates.peak_factor * peak_learning_rate(options.learning_rate, options.batch_size)
        self.position: dict[str, Any] | None = None  # while an epoch is not over: it, the steps done, and their sums
        self.optimizer = make_optimizer(model, self.peak_rate, rates.classifier_scale)
        network: nn.Module = model if group.size == 1 else DistributedDataParallel(model)
        augment: Callable[[torch.Tensor], torch.Tensor] = augmentation or Augmentation()
        if options.compile:
            network = compile_network(network)
            if self.device.type == "cuda":
                augment = compile_augmentation(augment)
        is_recorded = self.device.type == "cuda" and group.size == 1
        self.step = TrainingStep(network, self.optimizer, samples, augment, is_recorded=is_recorded)
        self._shown = repeat_hiragana(samples.labels, options.hiragana_repeats, samples.character_set)
        self.steps_per_epoch = max(1, len(self._shown) // options.batch_size)

    def train_epoch(
        self,
        epoch: int,
        report: Callable[[Progress], None] = lambda progress: None,
        between_steps: Callable[[], None] = lambda: None,
    ) -> TrainingMetrics:
        """Trains for one epoch; what it does depends only on seed, epoch and the weights it starts from.

        Where `load_state` brought a state from within this epoch, it goes on there and ends with the same weights.

        Args:
            epoch: counted from 0.
            report: called now and then.
            between_steps: called after every step but the last, where several processes train after every
                STEPS_BETWEEN_REPORTS, and while samples are generated; `state()` may be taken in it, and it may raise.

        Raises:
            KanjinetError: the loss is no longer finite.
        """

        def report_set(done: int, total: int) -> None:
            report(Progress(done, total))
            between_steps()

        self.samples.refresh(epoch, report_set)
        torch.manual_seed(self._derive_seed(epoch))
        order = self._shown[torch.randperm(len(self._shown), device=self.device)]
        batch_size, total_steps = self.options.batch_size, self.options.epochs * self.steps_per_epoch
        local_size = batch_size // self.group.size
        first_step = self._find_first_step(epoch)
        self.step.network.train()
        for step in range(first_step, self.steps_per_epoch):
            rate = self.peak_rate * schedule_factor(epoch * self.steps_per_epoch + step, total_steps)
            first = step * batch_size + self.group.rank * local_size
            torch.manual_seed(self._derive_seed(epoch, step, self.group.rank))
            self.step(order[first : first + local_size], rate)
            is_last = step == self.steps_per_epoch - 1
            is_report = step % STEPS_BETWEEN_REPORTS == STEPS_BETWEEN_REPORTS - 1
            if is_report or is_last:  # reading the sums waits for the device
                metrics = self._compute_mean(epoch, step, rate)
                report(Progress(step + 1, self.steps_per_epoch, metrics))
            if not is_last and (is_report or self.group.size == 1):
                self.position = {"epoch": epoch, "step": step + 1, "sums": self.step.sums}
                between_steps()
        self.position = None
        for statistics in self.model.buffers():  # each process has those of its own batches: the first one's count
            self.group.broadcast_tensor(statistics, 0)
        return metrics

    def _compute_mean(self, epoch: int, step: int, rate: float) -> TrainingMetrics:
        seen = (step + 1) * self.options.batch_size
        loss, hits, *known = (self.group.sum(self.step.sums) / seen).tolist()
        accuracy = hits / (known[0] or 1) if known else hits
        if not math.isfinite(loss):
            raise KanjinetError(
                f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}",
                "training stopped, and nothing of this epoch is kept; use a smaller --learning-rate",
            )
        return TrainingMetrics(loss, accuracy, rate)

    def _derive_seed(self, *numbers: int) -> int:
        """Derives a seed for an epoch's order or a step's random numbers, so that no generator's state need be kept."""
        return int(np.random.SeedSequence([self.options.seed, *numbers]).generate_state(1, np.uint64)[0])

    def _find_first_step(self, epoch: int) -> int:
        """Returns the step to begin with; the sums are those of this process's steps before it."""
        if self.position is None or self.position["epoch"] != epoch:
            self.step.sums.zero_()
            return 0
        return self.position["step"]

    def state(self) -> dict[str, Any]:
        """Returns all that the next step depends on; all processes of the group must call it."""
        position = self.position and {**self.position, "sums": self.group.sum(self.position["sums"]).cpu().clone()}
        return {
            "position": position,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step.scaler.load_state_dict(state["scaler"])
        self.position = state["position"]
        if self.position:  # what all had summed up is the first one's now
            self.step.sums.copy_(self.position["sums"]).mul_(self.group.is_first)
            self.position["sums"] = self.step.sums
        self.step.start_recording()
