"""One temperature that makes a trained network as sure as it is right, folded into its last layer.

Label smoothing leaves a network too modest, long training without it too sure. Dividing all logits by one number
changes no answer; dividing the last layer's weights by it spares every client the division.

Sources: C. Guo and others, "On calibration of modern neural networks", 2017, section 4.2; targets that fall short of
1 by 1 / (n + 2) as in J. Platt, "Probabilistic outputs for support vector machines", 1999, so that n images that are
all read do not make a network certain.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from kanjinet.model import LightweightKanjiNet
from kanjinet.training.accuracy import bin_by_confidence, calibration_error
from kanjinet.training.trainer import Samples, compute_logits

MAX_IMAGES = 8192
LEAST, MOST = 0.1, 10.0
_HALVINGS = 16


def calibrate(model: LightweightKanjiNet, validation: Samples, test: Samples) -> dict[str, Any]:
    """Fit the temperature to validation images and fold it into the network, which is put in evaluation mode.

    The images are taken as they are: varied ones, which are harder, leave a network that reads well too modest.

    Returns:
        The temperature, the number of images it was fitted to, and the expected calibration error on the test
        images before and after, 0-1.
    """
    chosen = _thin_out(validation)
    temperature = fit_temperature(compute_logits(model, chosen.images), chosen.classes)
    judged = _thin_out(test)
    logits = compute_logits(model, judged.images)
    last = model.classifier[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return {
        "value": temperature,
        "samples": len(chosen),
        "test_calibration_error_before": _measure_error(logits, judged.classes),
        "test_calibration_error_after": _measure_error(logits / temperature, judged.classes),
    }


def describe_temperature(figures: dict[str, Any]) -> str:
    """What `calibrate` did, for people."""
    before, after = (figures[f"test_calibration_error_{when}"] for when in ("before", "after"))
    return f"temperature {figures['value']:.3f}, calibration error on the test {before:.2%} before, {after:.2%} after"


def fit_temperature(logits: torch.Tensor, classes: torch.Tensor) -> float:
    """The number, LEAST to MOST, by which to divide logits (n, 3036) so that the true classes (n,) are likeliest."""
    doubt = 1 / (len(logits) + 2)
    wanted = (1 - doubt) * logits.gather(1, classes[:, None])[:, 0].mean() + doubt * logits.mean()
    low, high = 1 / MOST, 1 / LEAST  # of the factor; the likelihood's derivative, wanted - expected, falls in it
    for _ in range(_HALVINGS):
        factor = (low * high) ** 0.5
        expected = ((logits * factor).softmax(1) * logits).sum(1).mean()
        low, high = (factor, high) if expected < wanted else (low, factor)
    return 1 / factor


def _thin_out(samples: Samples) -> Samples:
    """At most MAX_IMAGES, always the same ones."""
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:MAX_IMAGES]
    chosen = chosen.to(samples.classes.device)
    return Samples(samples.images[chosen], samples.classes[chosen])


def _measure_error(logits: torch.Tensor, classes: torch.Tensor) -> float:
    confidence, best = logits.softmax(1).max(1)
    is_correct = (best == classes).cpu().numpy()
    return calibration_error(bin_by_confidence(confidence.cpu().numpy().astype(np.float64), is_correct))
