"""The training loop's parts: recipe, one epoch, and evaluation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.augment import Augmentation
from kanjinet.errors import KanjinetError
from kanjinet.model import LightweightKanjiNet

PEAK_FACTOR = 4.0  # peak learning rate of the schedule / --learning-rate at batch size 64
REFERENCE_BATCH = 64
WARM_UP_SHARE = 0.15  # of all steps
FINAL_FACTOR = 1e-3  # last learning rate / peak
LABEL_SMOOTHING = 0.1
MAX_GRADIENT_NORM = 5.0
WEIGHT_DECAY = 0.05
TOP_K = (1, 3, 5)


def peak_learning_rate(learning_rate: float, batch_size: int) -> float:
    """The schedule's highest rate: 4 x the given one at batch size 64, times sqrt(batch / 64) at others (AdamW)."""
    return PEAK_FACTOR * learning_rate * math.sqrt(batch_size / REFERENCE_BATCH)


def schedule_factor(step: int, total_steps: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine down to FINAL_FACTOR."""
    warm_up_steps = max(1, round(total_steps * WARM_UP_SHARE))
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    progress = min(1.0, (step - warm_up_steps) / max(1, total_steps - warm_up_steps))
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: nn.Module, peak_rate: float) -> torch.optim.AdamW:
    """AdamW; weight decay for the matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak_rate, betas=(0.9, 0.99), fused=True)


def choose_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(B, S, S) uint8 -> (B, 1, S, S) float32, 0-1: what the network takes."""
    return images.unsqueeze(1).float().div_(255)


@dataclass(frozen=True)
class Samples:
    """Pictures (n, S, S) uint8 and classes (n,) int64 on the device that trains."""

    images: torch.Tensor
    classes: torch.Tensor

    def __len__(self) -> int:
        return len(self.classes)


@dataclass
class EpochResult:
    """Mean loss and share of right answers over an epoch's training pictures, as augmented."""

    loss: float
    accuracy: float
    learning_rate: float


@dataclass
class Trainer:
    """A network, its optimiser, and its place in the schedule."""

    model: LightweightKanjiNet
    samples: Samples
    batch_size: int
    epochs: int
    peak_rate: float
    seed: int
    augmentation: Augmentation

    def __post_init__(self) -> None:
        self.position: dict[str, Any] | None = None  # within an epoch that is not over
        self.optimizer = make_optimizer(self.model, self.peak_rate)
        self.device = self.samples.classes.device
        self.steps_per_epoch = max(1, len(self.samples) // self.batch_size)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._mixed_type() == torch.float16)

    def train_epoch(
        self,
        epoch: int,
        report: Callable[[int, float, float, float], None],
        between_steps: Callable[[], None] = lambda: None,
    ) -> EpochResult:
        """Train for one epoch; what it does depends only on seed, epoch and the weights it starts from.

        Where `load_state` brought a state from within this epoch, it goes on there and ends with the same weights.

        Args:
            epoch: counted from 0.
            report: called now and then with (steps done, mean loss, accuracy, learning rate) so far.
            between_steps: called after every step but the last; `state()` may be taken in it, and it may raise.

        Raises:
            KanjinetError: the loss is no longer finite.
        """
        torch.manual_seed(self.seed * 100_003 + epoch)
        order = torch.randperm(len(self.samples), device=self.device)
        first, total_loss, total_right = self._start_epoch(epoch)
        self.model.train()
        for step in range(first, self.steps_per_epoch):
            rate = self.peak_rate * schedule_factor(epoch * self.steps_per_epoch + step, self._total_steps())
            picked = order[step * self.batch_size : (step + 1) * self.batch_size]
            classes = self.samples.classes[picked]
            loss, scores = self._train_step(self.samples.images[picked], classes, rate)
            total_loss += loss.detach() * len(picked)
            total_right += (scores.detach().argmax(1) == classes).sum()
            seen = (step + 1) * self.batch_size
            if step % 20 == 19 or step == self.steps_per_epoch - 1:  # reading the sums waits for the device
                mean_loss = total_loss.item() / seen
                if not math.isfinite(mean_loss):
                    raise KanjinetError(
                        f"the loss is {mean_loss} in epoch {epoch + 1}, step {step + 1}: training stopped, "
                        "and nothing of this epoch is kept; use a smaller --learning-rate"
                    )
                report(step + 1, mean_loss, total_right.item() / seen, rate)
            if step < self.steps_per_epoch - 1:
                self.position = {"epoch": epoch, "step": step + 1, "loss": total_loss, "right": total_right}
                between_steps()
        self.position = None
        return EpochResult(total_loss.item() / seen, total_right.item() / seen, rate)

    def _start_epoch(self, epoch: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """The step to begin with, and the sums of loss and right answers so far."""
        if self.position is None or self.position["epoch"] != epoch:
            return 0, torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        _set_random_state(self.position["random"])
        return self.position["step"], self.position["loss"].to(self.device), self.position["right"].to(self.device)

    def _train_step(
        self, images: torch.Tensor, classes: torch.Tensor, rate: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs = self.augmentation(as_input(images)).contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self._mixed_type(), enabled=self.device.type == "cuda"):
            scores = self.model(inputs)
            loss = F.cross_entropy(scores, classes, label_smoothing=LABEL_SMOOTHING)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss, scores

    def _mixed_type(self) -> torch.dtype:
        if self.device.type == "cuda" and not torch.cuda.is_bf16_supported():
            return torch.float16
        return torch.bfloat16

    def _total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        position = self.position and {
            name: value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
            for name, value in (self.position | {"random": _random_state()}).items()
        }
        return {
            "position": position,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = state["position"]


def _random_state() -> dict[str, Any]:
    """The global random generators of CPU and, if there are any, CUDA devices."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():  # a run that moves to another machine cannot end the same
        torch.cuda.set_rng_state_all(state["cuda"])


@torch.inference_mode()
def compute_scores(model: nn.Module, images: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Scores (n, 3036) of (n, S, S) uint8 pictures, on the pictures' device; the network is put in evaluation mode."""
    model.eval()
    batches = [
        model(as_input(images[i : i + batch_size]).contiguous(memory_format=torch.channels_last)).float()
        for i in range(0, len(images), batch_size)
    ]
    return torch.cat(batches)


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and top-k accuracies (shares, 0-1) on `samples` pictures."""

    loss: float
    top: dict[int, float]
    samples: int

    def to_dict(self) -> dict[str, float]:
        """The figures as the JSON files name them."""
        return {"loss": self.loss, **{f"top{k}": share for k, share in self.top.items()}, "samples": self.samples}


@torch.inference_mode()
def evaluate(model: nn.Module, samples: Samples, batch_size: int = 256) -> Evaluation:
    """Loss (without label smoothing) and top-1, 3 and 5 accuracy."""
    loss, hits = 0.0, dict.fromkeys(TOP_K, 0)
    for first in range(0, len(samples), batch_size):
        classes = samples.classes[first : first + batch_size]
        scores = compute_scores(model, samples.images[first : first + batch_size], batch_size)
        loss += F.cross_entropy(scores, classes, reduction="sum").item()
        ranked = scores.topk(max(TOP_K)).indices == classes[:, None]  # (B, 5)
        for k in TOP_K:
            hits[k] += int(ranked[:, :k].any(1).sum())
    return Evaluation(loss / len(samples), {k: hits[k] / len(samples) for k in TOP_K}, len(samples))
