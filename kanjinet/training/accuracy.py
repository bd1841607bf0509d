"""Accuracy with its uncertainty, and by confidence. NumPy only: who evaluates an ONNX file needs no torch.

scikit-learn's `calibration_curve` makes the same bins, but does not say how many predictions each of them holds, by
which the calibration error weights them. SciPy's `binomtest` gives the same intervals in 1.5 ms each, of which an
evaluation may have 3,036, after 2 seconds of import.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NUM_BINS = 15
_Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Accuracy:
    """Represents the fraction of correct predictions among `samples`, of which there is at least one.

    Raises:
        ValueError: more hits than samples, or no samples.
    """

    hits: int
    samples: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.samples or not self.samples:
            raise ValueError(f"{self.hits} hits in {self.samples} samples")

    @property
    def value(self) -> float:
        """The fraction, 0-1."""
        return self.hits / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % confidence interval, 0-1, as if the predictions were independent of each other.

        Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
        """
        fraction, total, z2 = self.value, self.samples, _Z_95**2
        middle = (fraction + z2 / (2 * total)) / (1 + z2 / total)
        reach = _Z_95 / (1 + z2 / total) * math.sqrt(fraction * (1 - fraction) / total + z2 / (4 * total**2))
        low = 0.0 if self.hits == 0 else middle - reach
        high = 1.0 if self.hits == total else middle + reach
        return low, high


@dataclass(frozen=True)
class CalibrationBin:
    """Represents the predictions whose confidence lies above `low` and up to `high`: its mean, and their accuracy."""

    low: float
    high: float
    confidence: float
    accuracy: Accuracy


def bin_by_confidence(
    confidence: npt.NDArray[np.float64], is_correct: npt.NDArray[np.bool_], num_bins: int = NUM_BINS
) -> list[CalibrationBin]:
    """Returns the bins of equal width, 0-1, that hold predictions; 0 itself is in the first one.

    Source: Guo and others, "On calibration of modern neural networks", 2017, section 2.

    Args:
        confidence: (n,) probability of the predicted class, 0-1.
        is_correct: (n,) whether the predicted class is the label.
        num_bins: number of bins, with and without predictions.
    """
    bin_of = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    bins = []
    for number in np.unique(bin_of).tolist():
        inside = bin_of == number
        accuracy = Accuracy(int(np.count_nonzero(is_correct[inside])), int(np.count_nonzero(inside)))
        ends = number / num_bins, (number + 1) / num_bins
        bins.append(CalibrationBin(*ends, float(confidence[inside].mean()), accuracy))
    return bins


def calibration_error(bins: list[CalibrationBin]) -> float:
    """Computes the expected calibration error, 0-1: the bins' mean distance of confidence and accuracy, by samples."""
    gaps = [each.accuracy.samples * abs(each.confidence - each.accuracy.value) for each in bins]
    return sum(gaps) / sum(each.accuracy.samples for each in bins)
