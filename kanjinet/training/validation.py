"""A network's loss and accuracy on held-out images."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.storage.model_card import Metrics
from kanjinet.training.device import choose_memory_format
from kanjinet.training.distributed import ALONE, ProcessGroup
from kanjinet.training.samples import Samples, to_float_images

TOP_K = (1, 3, 5)


@torch.inference_mode()
def predict_logits(model: nn.Module, images: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Computes the logits (n, classes) of (n, S, S) uint8 images; the network is put in evaluation mode."""
    model.eval()
    layout = choose_memory_format(images.device)
    batches = [
        model(to_float_images(batch).contiguous(memory_format=layout)).float() for batch in images.split(batch_size)
    ]
    return torch.cat(batches)


@torch.inference_mode()
def compute_metrics(model: nn.Module, samples: Samples, group: ProcessGroup = ALONE, batch_size: int = 256) -> Metrics:
    """Computes the metrics of samples; where several processes are in the group, each takes some of the batches."""
    sums = [torch.zeros(1 + len(TOP_K), device=samples.labels.device)]  # of the losses and the hits of each batch
    for first in range(batch_size * group.rank, len(samples), batch_size * group.size):
        labels = samples.labels[first : first + batch_size]
        logits = predict_logits(model, samples.images[first : first + batch_size], batch_size)
        hits = logits.topk(max(TOP_K)).indices == labels[:, None]  # (B, 5)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums.append(torch.stack([loss, *(hits[:, :k].sum() for k in TOP_K)]))
    # Added up in float64 and one after the other; not on the device, as Apple's GPU has no float64.
    total = torch.stack(sums).cpu().numpy().cumsum(axis=0, dtype=np.float64)[-1]
    if group.size > 1:
        total = group.sum(torch.from_numpy(total).to(samples.labels.device)).cpu().numpy()
    loss_mean, top1, top3, top5 = (total / len(samples)).tolist()
    return Metrics(loss_mean, top1, top3, top5, len(samples))


def measure_parts(model: nn.Module, validation: Samples, test: Samples) -> dict[str, Metrics]:
    """Computes what a model card says of a network: its metrics on both held-out parts."""
    return {"validation": compute_metrics(model, validation), "test": compute_metrics(model, test)}
