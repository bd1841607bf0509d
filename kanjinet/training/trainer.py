"""The training loop's parts: recipe, one epoch, and evaluation."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.errors import KanjinetError
from kanjinet.model import LightweightKanjiNet, use_channels_last
from kanjinet.synth.online import FreshWriters
from kanjinet.training.augmentation import Augmentation, compile_variation
from kanjinet.training.cuda_graph import RecordedStep
from kanjinet.training.distributed import ALONE, ProcessGroup

PEAK_FACTOR = 4.0  # peak learning rate of the schedule / --learning-rate at batch size 64
REFERENCE_BATCH = 64
WARM_UP_FRACTION = 0.15  # of all steps
FINAL_FACTOR = 1e-3  # last learning rate / peak
FITTED_CLASSIFIER_FRACTION = 0.3  # of the learning rate, for a classifier that starts fitted to images
LABEL_SMOOTHING = 0.1
MAX_GRADIENT_NORM = 5.0
WEIGHT_DECAY = 0.05
TOP_K = (1, 3, 5)
REPORT_EVERY = 20  # steps


def peak_learning_rate(learning_rate: float, batch_size: int) -> float:
    """The schedule's highest rate: 4 x the given one at batch size 64, times sqrt(batch / 64) at others (AdamW)."""
    return PEAK_FACTOR * learning_rate * math.sqrt(batch_size / REFERENCE_BATCH)


def schedule_factor(step: int, total_steps: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine down to FINAL_FACTOR."""
    warm_up_steps = max(1, round(total_steps * WARM_UP_FRACTION))
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    progress = min(1.0, (step - warm_up_steps) / max(1, total_steps - warm_up_steps))
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: LightweightKanjiNet, peak_rate: float) -> torch.optim.AdamW:
    """AdamW; weight decay for the matrices and kernels only, and a lower rate for a classifier that starts fitted.

    Each group says in `rate_fraction` what share of the schedule's rate is its own.
    """
    classifier_fraction = 1.0 if model.config.hidden_features else FITTED_CLASSIFIER_FRACTION
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
        share = classifier_fraction if name.startswith("classifier.") else 1.0
        groups.setdefault((decay, share), []).append(parameter)
    described = [
        {"params": parameters, "weight_decay": decay, "rate_fraction": share}
        for (decay, share), parameters in groups.items()
    ]
    return torch.optim.AdamW(described, lr=peak_rate, betas=(0.9, 0.99), fused=True)


def compile_network(network: nn.Module) -> nn.Module:
    """The same network, to be compiled when it is first used.

    Raises:
        KanjinetError: nothing can be compiled on this machine.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=next(network.parameters()).device))
    except (RuntimeError, ImportError) as error:  # TorchDynamo, Inductor and Triton derive theirs from these
        reason = str(error).strip().partition("\n")[0]
        raise KanjinetError(
            f"--compile: PyTorch cannot compile here ({reason})",
            "leave it out, or install a C++ compiler (for a GPU, Triton)",
        ) from error
    # What is multiplied in full precision are the few products of the variation.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    return cast(nn.Module, torch.compile(network))


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(B, S, S) uint8 -> (B, 1, S, S) float32, 0-1: what the network takes."""
    return images.unsqueeze(1).float().div_(255)


@dataclass(frozen=True)
class Samples:
    """Images (n, S, S) uint8 and classes (n,) int64 on the device that trains."""

    images: torch.Tensor
    classes: torch.Tensor

    def __len__(self) -> int:
        return len(self.classes)


def repeat_hiragana(classes: torch.Tensor, repeats: int) -> torch.Tensor:
    """The indices of all samples, of classes (n,), and again those of hiragana until each is there `repeats` times."""
    everything = torch.arange(len(classes), device=classes.device)
    hiragana = everything[classes < NUM_HIRAGANA]
    return torch.cat([everything, hiragana.repeat(repeats - 1)])


@dataclass
class EpochResult:
    """Mean loss and share of right answers over an epoch's training images, as augmented."""

    loss: float
    accuracy: float
    learning_rate: float


@dataclass
class Trainer:
    """A network, its optimizer, and its place in the schedule.

    Where several processes train together, each has all samples, takes its share of every batch, and makes the step
    of the mean gradient; batch normalization sees the share alone.
    """

    model: LightweightKanjiNet
    samples: Samples
    batch_size: int  # of all processes together
    epochs: int
    peak_rate: float
    seed: int
    augmentation: Augmentation
    group: ProcessGroup = ALONE
    compiles: bool = False  # the network, and on a GPU the variation, by torch.compile: slow to start, then faster
    label_smoothing: float = LABEL_SMOOTHING
    hiragana_repeats: int = 1  # how many times an epoch shows each image of a hiragana
    fresh: FreshWriters | None = None  # who write the last of the samples again before each epoch

    def __post_init__(self) -> None:
        self.position: dict[str, Any] | None = None  # within an epoch that is not over
        use_channels_last(self.model)
        self.optimizer = make_optimizer(self.model, self.peak_rate)
        self.device = self.samples.classes.device
        self._network: nn.Module = self.model if self.group.size == 1 else DistributedDataParallel(self.model)
        self._vary: Callable[[torch.Tensor], torch.Tensor] = self.augmentation
        if self.compiles:
            self._network = compile_network(self._network)
            if self.device.type == "cuda":
                self._vary = compile_variation(self.augmentation)
        self._shown = repeat_hiragana(self.samples.classes, self.hiragana_repeats)
        self.steps_per_epoch = max(1, len(self._shown) // self.batch_size)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._mixed_type() == torch.float16)
        self._sums = torch.zeros(2, device=self.device)  # of losses and right answers in this epoch, by this process
        self._step = self._make_step()

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
            between_steps: called after every step but the last, where several processes train after every
                REPORT_EVERY steps, and while fresh samples are written; `state()` may be taken in it, and it may raise.

        Raises:
            KanjinetError: the loss is no longer finite.
        """
        if self.fresh:
            self.fresh.fill(epoch, self.samples.images, between_steps)
        torch.manual_seed(self._derive_seed(epoch))
        order = self._shown[torch.randperm(len(self._shown), device=self.device)]
        first = self._start_epoch(epoch)
        share = self.batch_size // self.group.size
        self._network.train()
        for step in range(first, self.steps_per_epoch):
            rate = self.peak_rate * schedule_factor(epoch * self.steps_per_epoch + step, self._total_steps())
            mine = step * self.batch_size + self.group.rank * share
            self._set_rate(rate)
            torch.manual_seed(self._derive_seed(epoch, step, self.group.rank))
            self._step(order[mine : mine + share])
            is_time = step % REPORT_EVERY == REPORT_EVERY - 1
            if is_time or step == self.steps_per_epoch - 1:  # reading the sums waits for the device
                seen = (step + 1) * self.batch_size
                mean_loss, accuracy = (self.group.sum(self._sums) / seen).tolist()
                if not math.isfinite(mean_loss):
                    raise KanjinetError(
                        f"the loss is {mean_loss} in epoch {epoch + 1}, step {step + 1}",
                        "training stopped, and nothing of this epoch is kept; use a smaller --learning-rate",
                    )
                report(step + 1, mean_loss, accuracy, rate)
            if step < self.steps_per_epoch - 1 and (is_time or self.group.size == 1):
                self.position = {"epoch": epoch, "step": step + 1, "sums": self._sums}
                between_steps()
        self.position = None
        return EpochResult(mean_loss, accuracy, rate)

    def _derive_seed(self, *numbers: int) -> int:
        """A seed for an epoch's order, or for what a step leaves to chance: so no generator's state need be kept."""
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)[0])

    def _start_epoch(self, epoch: int) -> int:
        """The step to begin with; the sums are then those of the steps before it."""
        if self.position is None or self.position["epoch"] != epoch:
            self._sums.zero_()
            return 0
        self._sums.copy_(self.position["sums"])
        if not self.group.is_first:  # what all had summed up is the first one's now
            self._sums.zero_()
        return self.position["step"]

    def _make_step(self) -> Callable[[torch.Tensor], None]:
        """What makes a step; for a GPU that trains alone, a recording of it."""
        is_recorded = self.device.type == "cuda" and self.group.size == 1 and not self.scaler.is_enabled()
        return RecordedStep(self._train_step, self.optimizer) if is_recorded else self._train_step

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            own = rate * group["rate_fraction"]
            if isinstance(self._step, RecordedStep):
                group["lr"].fill_(own)
            else:
                group["lr"] = own

    def _train_step(self, picked: torch.Tensor) -> None:
        """One step with the samples of these indices, (B,); the sums grow by theirs."""
        classes = self.samples.classes[picked]
        varied = self._vary(as_input(self.samples.images[picked]))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self._mixed_type(), enabled=self.device.type == "cuda"):
            logits = self._network(varied.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, classes, label_smoothing=self.label_smoothing)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self._clip_gradient()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self._sums += torch.stack([loss * len(picked), (logits.argmax(1) == classes).sum()])

    def _clip_gradient(self) -> None:
        parameters = list(self.model.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # To scale by 1 would cost a CPU a pass over all of them; to look at the norm first would make a GPU wait.
        if self.device.type != "cpu" or norm > MAX_GRADIENT_NORM:
            nn.utils.clip_grads_with_norm_(parameters, MAX_GRADIENT_NORM, norm)

    def _mixed_type(self) -> torch.dtype:
        if self.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.float16
        return torch.bfloat16

    def _total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; all processes of the group must call it."""
        position = self.position and {
            name: self.group.sum(value).cpu().clone() if isinstance(value, torch.Tensor) else value
            for name, value in self.position.items()
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
        self._step = self._make_step()


@torch.inference_mode()
def compute_logits(model: nn.Module, images: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Scores (n, 3036) of (n, S, S) uint8 images, on the images' device; the network is put in evaluation mode."""
    model.eval()
    batches = [
        model(as_input(images[i : i + batch_size]).contiguous(memory_format=torch.channels_last)).float()
        for i in range(0, len(images), batch_size)
    ]
    return torch.cat(batches)


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and top-k accuracies (shares, 0-1) on `samples` images."""

    loss: float
    top: dict[int, float]
    samples: int

    def to_dict(self) -> dict[str, float]:
        """The figures as the JSON files name them."""
        return {"loss": self.loss, **{f"top{k}": share for k, share in self.top.items()}, "samples": self.samples}


@torch.inference_mode()
def evaluate(model: nn.Module, samples: Samples, group: ProcessGroup = ALONE, batch_size: int = 256) -> Evaluation:
    """Loss (without label smoothing) and top-1, 3 and 5 accuracy; each process of a group reads its share."""
    sums = torch.zeros(1 + len(TOP_K), dtype=torch.float64, device=samples.classes.device)  # of losses and of hits
    for first in range(batch_size * group.rank, len(samples), batch_size * group.size):
        classes = samples.classes[first : first + batch_size]
        logits = compute_logits(model, samples.images[first : first + batch_size], batch_size)
        ranked = logits.topk(max(TOP_K)).indices == classes[:, None]  # (B, 5)
        hits = [ranked[:, :k].sum() for k in TOP_K]
        sums += torch.stack([F.cross_entropy(logits, classes, reduction="sum"), *hits])
    loss, *shares = (group.sum(sums) / len(samples)).tolist()
    return Evaluation(loss, dict(zip(TOP_K, shares, strict=True)), len(samples))
