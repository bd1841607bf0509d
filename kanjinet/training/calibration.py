"""Temperature scaling: one divisor of all logits after which probabilities match accuracy.

Label smoothing leaves a network underconfident, long training without it overconfident. Dividing all logits by one
number changes no prediction; dividing the last layer's weights by it spares every client the division.

Sources: C. Guo and others, "On calibration of modern neural networks", 2017, section 4.2; targets that fall short of
1 by 1 / (n + 2) as in J. Platt, "Probabilistic outputs for support vector machines", 1999, so that n images that are
all recognized do not make a network certain.
"""

import numpy as np
import torch
from torch import nn

from kanjinet.model import LightweightKanjiNet
from kanjinet.storage.model_card import Calibration
from kanjinet.training.accuracy import bin_by_confidence, calibration_error
from kanjinet.training.samples import Samples
from kanjinet.training.validation import predict_logits

MAX_IMAGES = 8192
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 10.0
_HALVINGS = 16


def calibrate(model: LightweightKanjiNet, validation: Samples, test: Samples) -> Calibration:
    """Fits the temperature to validation images and folds it into the network, which is put in evaluation mode.

    The images are taken as they are: augmented ones, which are harder, leave a good network underconfident.
    """
    fitted_to, tested = thin_out(validation), thin_out(test)
    temperature = fit_temperature(predict_logits(model, fitted_to.images), fitted_to.labels)
    logits = predict_logits(model, tested.images)
    last = model.classifier[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return Calibration(
        value=temperature,
        samples=len(fitted_to),
        test_calibration_error_before=_compute_calibration_error(logits, tested.labels),
        test_calibration_error_after=_compute_calibration_error(logits / temperature, tested.labels),
    )


def describe_calibration(calibration: Calibration) -> str:
    """Describes the result of `calibrate` for people."""
    return (
        f"temperature {calibration.value:.3f}, calibration error on the test "
        f"{calibration.test_calibration_error_before:.2%} before, {calibration.test_calibration_error_after:.2%} after"
    )


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Finds the temperature at which the labels (n,) are likeliest by the logits (n, classes)."""
    doubt = 1 / (len(logits) + 2)
    target = (1 - doubt) * logits.gather(1, labels[:, None])[:, 0].mean() + doubt * logits.mean()
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE  # of the factor 1 / temperature
    for _ in range(_HALVINGS):  # the likelihood's derivative, target - expected, falls in the factor
        factor = (low * high) ** 0.5
        expected = ((logits * factor).softmax(1) * logits).sum(1).mean()
        low, high = (factor, high) if expected < target else (low, factor)
    return 1 / factor


def thin_out(samples: Samples) -> Samples:
    """Chooses at most MAX_IMAGES, always the same ones."""
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:MAX_IMAGES]
    chosen = chosen.to(samples.labels.device)
    return Samples(samples.images[chosen], samples.labels[chosen])


def _compute_calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> float:
    confidence, best = logits.softmax(1).max(1)
    is_correct = (best == labels).cpu().numpy()
    return calibration_error(bin_by_confidence(confidence.cpu().numpy().astype(np.float64), is_correct))
