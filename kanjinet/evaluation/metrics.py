"""Metrics of predictions: accuracies with their uncertainty, confused pairs, the hardest classes.

NumPy counts, not scikit-learn: its `top_k_accuracy_score` takes the logits of all classes, which are never held
for a whole dataset, and its `confusion_matrix` holds a count for each of millions of pairs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET, NO_CLASS, CharacterSet
from kanjinet.training.accuracy import Accuracy

TOP_K = (1, 3, 5)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Predictions:
    """Represents what a model predicted for n images."""

    labels: npt.NDArray[np.int64]  # (n,) true classes
    ranked: npt.NDArray[np.int64]  # (n, 5) predicted classes, the most probable first; NO_CLASS for no character
    confidence: npt.NDArray[np.float64]  # (n,) probability of the first one, 0-1
    character_set: CharacterSet = ETL9G_SET  # whose classes they are

    @property
    def is_correct(self) -> Mask:
        """(n,) whether the most probable class is the label."""
        return self.ranked[:, 0] == self.labels

    def is_of(self, script: str) -> Mask:
        """(n,) whether the label is of a script, one of SCRIPTS."""
        return self.character_set.is_of(script)[self.labels]

    def top_k_accuracy(self, chosen: Mask | None = None, *, up_to_twins: bool = False) -> dict[int, Accuracy]:
        """Computes top-1, 3 and 5 accuracy of the chosen predictions (n,), or of all; nothing where there are none.

        With `up_to_twins`, a character that cannot be told from the label is as good as the label.
        """
        ranked, labels = self.ranked, self.labels
        if up_to_twins:
            group = np.append(self.character_set.twin_group, NO_CLASS)  # which NO_CLASS, the last place, stays
            ranked, labels = group[ranked], group[labels]
        hits = ranked == labels[:, None]
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
        base = self.character_set.num_classes + 1
        codes = self.labels[wrong] * base + self.ranked[wrong, 0] - NO_CLASS
        pairs, members, counts = np.unique(codes, return_inverse=True, return_counts=True)
        confidence = np.bincount(members, weights=self.confidence[wrong], minlength=len(pairs))
        order = np.lexsort((pairs, -confidence, -counts))
        labels, predicted = np.divmod(pairs[order], base)
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
