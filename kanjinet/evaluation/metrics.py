"""How good answers are: accuracies with their uncertainty, calibration, confusions."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_HIRAGANA

TOP_K = (1, 3, 5)
NOTHING = -1  # the class that was read where no character was found
CALIBRATION_BINS = 15
_Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """What was read in n images.

    Attributes:
        truth: (n,) int64 true classes.
        ranked: (n, 5) int64 classes that were read, best first; NOTHING where no character was found.
        confidence: (n,) float64 probability of the best one, 0-1.
    """

    truth: npt.NDArray[np.int64]
    ranked: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]

    @property
    def is_right(self) -> Mask:
        """(n,) whether the best class is the true one."""
        return self.ranked[:, 0] == self.truth

    @property
    def is_hiragana(self) -> Mask:
        """(n,) whether the true class is one of the hiragana."""
        return self.truth < NUM_HIRAGANA

    def measure_accuracy(self, chosen: Mask | None = None) -> dict[str, Any]:
        """Top-1, 3 and 5 accuracy of the chosen answers (n,), or of all: shares, 0-1, with 95 % intervals."""
        hits = self.ranked == self.truth[:, None]
        hits = hits if chosen is None else hits[chosen]
        figures: dict[str, Any] = {}
        for k in TOP_K if len(hits) else ():
            count = int(np.count_nonzero(hits[:, :k].any(axis=1)))
            figures[f"top{k}"] = count / len(hits)
            figures[f"top{k}_interval"] = wilson_interval(count, len(hits))
        return {**figures, "samples": len(hits)}

    def measure_groups(self, groups: npt.NDArray[np.integer[Any]], name: str) -> list[dict[str, Any]]:
        """Top-1 accuracy for each value of `groups` (n,), ascending: [{name: value, "top1": ...}, ...]."""
        values, members = np.unique(groups, return_inverse=True)
        totals = np.bincount(members, minlength=len(values))
        hits = np.bincount(members, weights=self.is_right, minlength=len(values)).astype(np.int64)
        return [
            {name: value, "top1": hit / total, "top1_interval": wilson_interval(hit, total), "samples": total}
            for value, hit, total in zip(values.tolist(), hits.tolist(), totals.tolist(), strict=True)
        ]

    def list_readings(self, true_class: int) -> list[int]:
        """The classes that a class was mistaken for, the commonest first, then by class."""
        mistaken = self.ranked[(self.truth == true_class) & ~self.is_right, 0].tolist()
        return [read for read, _ in sorted(Counter(mistaken).items(), key=lambda entry: (-entry[1], entry[0]))]

    def count_confusions(self) -> list[tuple[int, int, int]]:
        """(true class, class that was read, how often) of all mistakes: the commonest first, of those the surest."""
        count: Counter[tuple[int, int]] = Counter()
        sureness: Counter[tuple[int, int]] = Counter()
        for index in np.flatnonzero(~self.is_right).tolist():
            pair = int(self.truth[index]), int(self.ranked[index, 0])
            count[pair] += 1
            sureness[pair] += self.confidence[index]
        pairs = sorted(count, key=lambda pair: (-count[pair], -sureness[pair], pair))
        return [(*pair, count[pair]) for pair in pairs]

    def rank_hardest(self) -> list[dict[str, Any]]:
        """Characters with mistakes: first those whose accuracy is low beyond doubt, by the interval's upper end."""
        sureness = np.bincount(self.truth, weights=self.confidence * ~self.is_right)
        return sorted(
            (entry for entry in self.measure_groups(self.truth, "class") if entry["top1"] < 1),
            key=lambda entry: (entry["top1_interval"][1], -sureness[entry["class"]], entry["class"]),
        )

    def compare_with(self, other: "Answers") -> dict[str, int]:
        """How many of the same images only this one read, and only the other."""
        return {
            "only_this_right": int(np.count_nonzero(self.is_right & ~other.is_right)),
            "only_first_right": int(np.count_nonzero(other.is_right & ~self.is_right)),
        }


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, 0-1, of `hits` in `total` independent trials, `total` above 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share, z2 = hits / total, _Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = _Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = 0.0 if hits == 0 else middle - reach
    high = 1.0 if hits == total else middle + reach
    return low, high


@dataclass(frozen=True)
class Calibration:
    """Whether answers are right as often as they claim to be.

    Attributes:
        error: expected calibration error, 0-1: the mean distance between confidence and accuracy of the bins, each
            weighted by its answers.
        bins: for each bin that has answers: "from" and "to" of its confidence, "confidence" and "accuracy" as means,
            "accuracy_interval", "samples".
    """

    error: float
    bins: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """As evaluation.json has it."""
        return {"expected_calibration_error": self.error, "bins": self.bins}


def measure_calibration(
    confidence: npt.NDArray[np.float64], is_right: Mask, num_bins: int = CALIBRATION_BINS
) -> Calibration:
    """Calibration of n > 0 answers in bins of equal width; a bin holds its upper end, the first one 0 as well.

    Source: Guo and others, "On calibration of modern neural networks", 2017, section 2.
    """
    bin_of = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    bins = []
    for number in np.unique(bin_of).tolist():
        inside = bin_of == number
        bins.append(
            {
                "from": number / num_bins,
                "to": (number + 1) / num_bins,
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(is_right[inside].mean()),
                "accuracy_interval": wilson_interval(int(np.count_nonzero(is_right[inside])), int(inside.sum())),
                "samples": int(np.count_nonzero(inside)),
            }
        )
    gaps = [entry["samples"] * abs(entry["confidence"] - entry["accuracy"]) for entry in bins]
    return Calibration(sum(gaps) / len(confidence), bins)
