"""One step of a training: forward, backward, update."""

import math
import warnings
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.classes import NO_CLASS
from kanjinet.errors import KanjinetError
from kanjinet.training.cuda_graph import RecordedStep
from kanjinet.training.device import choose_memory_format
from kanjinet.training.recipe import LABEL_SMOOTHING, MAX_GRADIENT_NORM, expect_frequencies
from kanjinet.training.samples import TrainingSamples, to_float_images


class TrainingStep:
    """Makes optimizer steps with batches of samples."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        samples: TrainingSamples,
        augment: Callable[[torch.Tensor], torch.Tensor],
        *,
        is_recorded: bool,
    ) -> None:
        """Prepares steps; with `is_recorded`, a CUDA graph repeats them where their arithmetic allows it."""
        self.network, self.optimizer, self.samples, self.augment = network, optimizer, samples, augment
        self.label_smoothing = LABEL_SMOOTHING
        self.device = samples.labels.device
        self._autocast = "cuda" if self.device.type == "cuda" else "cpu"
        self._layout = choose_memory_format(self.device)
        self.dtype = torch.bfloat16
        if self.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            self.dtype = torch.float16
        frequencies = expect_frequencies(samples.character_set)
        self.log_frequencies = None
        if frequencies is not None:
            self.log_frequencies = torch.from_numpy(np.log(frequencies)).to(self.device)
        self.scaler = torch.amp.GradScaler(self._autocast, enabled=self.dtype == torch.float16)
        self.has_others = samples.num_others > 0
        # Of losses, of correct predictions and, where some show none of the characters, of images that show one; until
        # set to zero again.
        self.sums = torch.zeros(3 if self.has_others else 2, device=self.device)
        self.is_recorded = is_recorded and not self.scaler.is_enabled()
        self.start_recording()

    def start_recording(self) -> None:
        """Forgets what was recorded, as when the optimizer's state was replaced."""
        self._run = RecordedStep(self.make, self.optimizer) if self.is_recorded else self.make

    def __call__(self, indices: torch.Tensor, learning_rate: float) -> None:
        """Makes one step with the samples of these indices, (B,), at the schedule's learning rate."""
        for group in self.optimizer.param_groups:
            scaled = learning_rate * group["lr_scale"]
            if self.is_recorded:
                group["lr"].fill_(scaled)
            else:
                group["lr"] = scaled
        self._run(indices)

    def make(self, indices: torch.Tensor) -> None:
        """Makes one step at the optimizer's learning rates, without a recording."""
        labels = self.samples.labels[indices]
        images = self.augment(to_float_images(self.samples.images[indices]))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._autocast, dtype=self.dtype, enabled=self._autocast == "cuda"):
            logits = self.network(images.contiguous(memory_format=self._layout))
            loss = self._compute_loss(logits, labels)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self._clip_gradient()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            counts = [(logits.argmax(1) == labels).sum(), *[(labels != NO_CLASS).sum()] * self.has_others]
            self.sums += torch.stack([loss * len(indices), *counts])

    def _compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Computes the mean cross-entropy.

        An image that shows none of the characters is to have all as equally probable ones; 0 is its least loss.
        What is expected less often than it is shown is made so here: see Menon and others, "Long-tail learning via
        logit adjustment" (2021).
        """
        shown = logits if self.log_frequencies is None else logits - self.log_frequencies
        if not self.has_others:
            return F.cross_entropy(shown, labels, label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(
            shown, labels, ignore_index=NO_CLASS, reduction="none", label_smoothing=self.label_smoothing
        )
        flat = -F.log_softmax(logits, dim=1, dtype=torch.float32).mean(1) - math.log(logits.shape[1])
        return torch.where(labels == NO_CLASS, flat, losses).mean()

    def _clip_gradient(self) -> None:
        parameters = list(self.network.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # To scale by 1 would cost a CPU a pass over all of them; to look at the norm first would make a GPU wait.
        if self.device.type != "cpu" or norm > MAX_GRADIENT_NORM:
            nn.utils.clip_grads_with_norm_(parameters, MAX_GRADIENT_NORM, norm)


def compile_network(network: nn.Module) -> nn.Module:
    """Returns the same network, to be compiled when it is first used.

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
    # What is multiplied in full precision are the few products of the augmentation.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    return cast(nn.Module, torch.compile(network))
