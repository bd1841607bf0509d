"""One temperature that makes a trained network as sure as it is right, folded into its last layer.

Label smoothing leaves a network too modest, long training without it too sure. Dividing all scores by one number
changes no answer; dividing the last layer's weights by it spares every client the division.

Sources: C. Guo and others, "On calibration of modern neural networks", 2017, section 4.2; targets that fall short of
1 by 1 / (n + 2) as in J. Platt, "Probabilistic outputs for support vector machines", 1999, so that n pictures that are
all read do not make a network certain.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from kanjinet.evaluation.metrics import measure_calibration
from kanjinet.model import LightweightKanjiNet
from kanjinet.training.trainer import Samples, compute_scores

MOST_PICTURES = 8192
LEAST, MOST = 0.1, 10.0
_HALVINGS = 16


def calibrate(model: LightweightKanjiNet, validation: Samples, test: Samples) -> dict[str, Any]:
    """Fit the temperature to validation pictures and fold it into the network, which is put in evaluation mode.

    The pictures are taken as they are: varied ones, which are harder, leave a network that reads well too modest.

    Returns:
        The temperature, the number of pictures it was fitted to, and the expected calibration error on the test
        pictures before and after, 0-1.
    """
    chosen = _thin_out(validation)
    temperature = fit_temperature(compute_scores(model, chosen.images), chosen.classes)
    judged = _thin_out(test)
    scores = compute_scores(model, judged.images)
    last = model.classifier[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return {
        "value": temperature,
        "samples": len(chosen),
        "test_calibration_error_before": _measure_error(scores, judged.classes),
        "test_calibration_error_after": _measure_error(scores / temperature, judged.classes),
    }


def describe_temperature(figures: dict[str, Any]) -> str:
    """What `calibrate` did, for people."""
    before, after = (figures[f"test_calibration_error_{when}"] for when in ("before", "after"))
    return f"temperature {figures['value']:.3f}, calibration error on the test {before:.2%} before, {after:.2%} after"


def fit_temperature(scores: torch.Tensor, classes: torch.Tensor) -> float:
    """The number, LEAST to MOST, by which to divide scores (n, 3036) so that the true classes (n,) are likeliest."""
    doubt = 1 / (len(scores) + 2)
    wanted = (1 - doubt) * scores.gather(1, classes[:, None])[:, 0].mean() + doubt * scores.mean()
    low, high = 1 / MOST, 1 / LEAST  # of the factor; the likelihood's derivative, wanted - expected, falls in it
    for _ in range(_HALVINGS):
        factor = (low * high) ** 0.5
        expected = ((scores * factor).softmax(1) * scores).sum(1).mean()
        low, high = (factor, high) if expected < wanted else (low, factor)
    return 1 / factor


def _thin_out(samples: Samples) -> Samples:
    """At most MOST_PICTURES, always the same ones."""
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:MOST_PICTURES]
    chosen = chosen.to(samples.classes.device)
    return Samples(samples.images[chosen], samples.classes[chosen])


def _measure_error(scores: torch.Tensor, classes: torch.Tensor) -> float:
    confidence, best = scores.softmax(1).max(1)
    return measure_calibration(confidence.cpu().numpy().astype(np.float64), (best == classes).cpu().numpy()).error
