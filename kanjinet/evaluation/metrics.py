"""Metrics of predictions: accuracies with their uncertainty, confused pairs, the hardest classes.

NumPy counts, not scikit-learn: its `top_k_accuracy_score` takes the logits of all 3,036 classes, which are never held
for a whole dataset, and its `confusion_matrix` holds a count for each of 9 million pairs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import NO_CLASS, NUM_CLASSES, NUM_HIRAGANA
from kanjinet.training.accuracy import Accuracy

TOP_K = (1, 3, 5)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Predictions:
    """Represents what a model predicted for n images."""

    labels: npt.NDArray[np.int64]  # (n,) true classes
    ranked: npt.NDArray[np.int64]  # (n, 5) predicted classes, the most probable first; NO_CLASS for no character
    confidence: npt.NDArray[np.float64]  # (n,) probability of the first one, 0-1

    @property
    def is_correct(self) -> Mask:
        """(n,) whether the most probable class is the label."""
        return self.ranked[:, 0] == self.labels

    @property
    def is_hiragana(self) -> Mask:
        """(n,) whether the label is one of the hiragana."""
        return self.labels < NUM_HIRAGANA

    def top_k_accuracy(self, chosen: Mask | None = None) -> dict[int, Accuracy]:
        """Computes top-1, 3 and 5 accuracy of the chosen predictions (n,), or of all; nothing where there are none."""
        hits = self.ranked == self.labels[:, None]
        hits = hits if chosen is None else hits[chosen]
        counts = {k: int(np.count_nonzero(hits[:, :k].any(axis=1))) for k in TOP_K}
        return {k: Accuracy(count, len(hits)) for k, count in counts.items() if len(hits)}

    def accuracy_by(self, groups: npt.NDArray[np.integer[Any]]) -> dict[int, Accuracy]:
        """Computes top-1 accuracy for each value of `groups` (n,), ascending."""
        values, members, totals = np.unique(groups, return_inverse=True, return_counts=True)
        hits = np.bincount(members, weights=self.is_correct, minlength=len(values)).astype(np.int64)
        counts = zip(values.tolist(), hits.tolist(), totals.tolist(), strict=True)
        return {value: Accuracy(hit, total) for value, hit, total in counts}

    def count_confusions(self) -> list[tuple[int, int, int]]:
        """Returns (label, predicted class, count) of all errors: by count, then by their total confidence."""
        wrong = ~self.is_correct
        codes = self.labels[wrong] * (NUM_CLASSES + 1) + self.ranked[wrong, 0] - NO_CLASS
        pairs, members, counts = np.unique(codes, return_inverse=True, return_counts=True)
        confidence = np.bincount(members, weights=self.confidence[wrong], minlength=len(pairs))
        order = np.lexsort((pairs, -confidence, -counts))
        labels, predicted = np.divmod(pairs[order], NUM_CLASSES + 1)
        return list(zip(labels.tolist(), (predicted + NO_CLASS).tolist(), counts[order].tolist(), strict=True))

    def list_errors(self, label: int) -> list[int]:
        """Returns the classes that were predicted for images of another one, by count, then by class."""
        wrong = self.ranked[(self.labels == label) & ~self.is_correct, 0]
        classes, counts = np.unique(wrong, return_counts=True)
        return classes[np.argsort(-counts, kind="stable")].tolist()

    def rank_hardest(self) -> list[tuple[int, Accuracy]]:
        """Returns the classes with errors, first those that are surely hard: by the interval's upper end."""
        confidence = np.bincount(self.labels, weights=self.confidence * ~self.is_correct)
        return sorted(
            ((label, found) for label, found in self.accuracy_by(self.labels).items() if found.hits < found.samples),
            key=lambda entry: (entry[1].interval[1], -confidence[entry[0]], entry[0]),
        )

    def compare_with(self, first: "Predictions") -> dict[str, int]:
        """Counts the images that only these predictions have right, and only the first model's."""
        return {
            "only_this_right": int(np.count_nonzero(self.is_correct & ~first.is_correct)),
            "only_first_right": int(np.count_nonzero(first.is_correct & ~self.is_correct)),
        }
