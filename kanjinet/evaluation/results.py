"""What evaluation.json says. Fractions, intervals and confidences are 0-1; data sets are AIST's, 1-200."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kanjinet.classes import NO_CLASS, CharacterSet
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.training.accuracy import Accuracy, CalibrationBin, calibration_error

CONFUSIONS_LISTED = 100


@dataclass(frozen=True)
class DatasetSource:
    """Represents a part of a dataset.

    Its folder, SHA-256, database, whether it is a synthetic sample in that one's format, part and rule of the split.
    """

    dataset: str
    dataset_sha256: str
    database: str
    synthetic: bool
    split: str
    split_rule: str


@dataclass(frozen=True)
class FolderSource:
    """Represents a folder of images, of whose origin nothing else is known."""

    images: str
    synthetic: None = None


@dataclass(frozen=True)
class HardClass:
    """Represents a class with errors: its accuracy, its number of strokes, and what was predicted instead."""

    label: int
    accuracy: Accuracy
    stroke_count: int
    predicted: Sequence[int]
    jis_code: str  # four hex digits


@dataclass(frozen=True)
class ModelMetrics:
    """Represents how well a model recognizes images: its entry in evaluation.json."""

    model: str  # name of its file
    size_bytes: int  # of the file
    trained_on_synthetic_sample: bool
    trained_on: Sequence[str]  # sources of data, as the model card names them
    license: str  # that follows from them
    source: DatasetSource | FolderSource  # where the images come from
    without_character: int  # images without a character, which count as errors
    num_characters: int  # that it reads, which may be fewer than `character_set` has
    said_none: int | None  # images that are said to show none of the characters; None: the model never says so
    not_read: Sequence[str]  # a message for each file that could not be read
    character_set: CharacterSet  # whose classes labels and predictions are
    accuracy: dict[int, Accuracy]  # k -> top-k accuracy
    up_to_twins: dict[int, Accuracy]  # the same, twins taken for equal; empty where the set has none
    scripts: dict[str, dict[int, Accuracy]]  # of each script alone, kanji first; empty where there are none of it
    writers: dict[int, Accuracy]  # data set, which stands for its writers -> top-1 accuracy; empty where not known
    stroke_counts: dict[int, Accuracy]  # number of strokes -> top-1 accuracy
    calibration: list[CalibrationBin]
    confusions: Sequence[tuple[int, int, int]]  # (label, predicted class, count), the most frequent first
    hardest: Sequence[HardClass]  # the hardest first
    images_per_s: float  # once they are read and preprocessed
    images_per_s_with_reading: float  # from the files on
    comparison: dict[str, int]  # images that only this model and only the first one has right; empty for the first
    allow: str | None  # what alone may be predicted, as --allow says it; None: everything

    def __post_init__(self) -> None:
        scripts = sum(part[1].samples for part in self.scripts.values() if part)
        strokes = sum(group.samples for group in self.stroke_counts.values())
        binned = sum(each.accuracy.samples for each in self.calibration)
        if not scripts == strokes == binned == self.samples:
            raise ValueError("the groups do not add up to all images")

    @property
    def samples(self) -> int:
        """The number of images."""
        return self.accuracy[1].samples

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0-1."""
        return calibration_error(self.calibration)

    def character_of(self, label: int) -> str:
        """Returns the character of a predicted class; nothing for NO_CLASS."""
        return "" if label == NO_CLASS else self.character_set.characters[label]

    def to_dict(self) -> dict[str, Any]:
        """Returns the object of evaluation.json."""
        return {
            "model": self.model,
            "size_bytes": self.size_bytes,
            "trained_on_synthetic_sample": self.trained_on_synthetic_sample,
            "trained_on": list(self.trained_on),
            "license": self.license,
            "allow": self.allow,
            **asdict(self.source),
            **_accuracy_to_dict(self.accuracy),
            "without_character": self.without_character,
            "said_none": self.said_none,
            "not_read": list(self.not_read),
            **({"up_to_twins": _accuracy_to_dict(self.up_to_twins)} if self.up_to_twins else {}),
            **{script: _accuracy_to_dict(accuracy) for script, accuracy in self.scripts.items()},
            "writers": _groups_to_list("data_set", self.writers),
            "stroke_counts": _groups_to_list("stroke_count", self.stroke_counts),
            "calibration": {
                "expected_calibration_error": self.calibration_error,
                "bins": list(map(_bin_to_dict, self.calibration)),
            },
            "confusions": [
                {"character": self.character_of(label), "read_as": self.character_of(predicted), "count": count}
                for label, predicted, count in self.confusions[:CONFUSIONS_LISTED]
            ],
            "hardest": list(map(self._describe_hard_class, self.hardest)),
            "images_per_s": round(self.images_per_s, 1),
            "images_per_s_with_reading": round(self.images_per_s_with_reading, 1),
            **self.comparison,
        }

    def _describe_hard_class(self, hard: HardClass) -> dict[str, Any]:
        return {
            "class": hard.label,
            **_accuracy_to_dict({1: hard.accuracy}),
            "character": self.character_of(hard.label),
            "jis_code": hard.jis_code,
            "stroke_count": hard.stroke_count,
            "read_as": list(map(self.character_of, hard.predicted)),
        }


def _accuracy_to_dict(accuracy: dict[int, Accuracy]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for k, found in accuracy.items():
        entries |= {f"top{k}": found.value, f"top{k}_interval": found.interval}
    return {**entries, "samples": next((found.samples for found in accuracy.values()), 0)}


def _groups_to_list(name: str, groups: dict[int, Accuracy]) -> list[dict[str, Any]]:
    return [{name: value, **_accuracy_to_dict({1: accuracy})} for value, accuracy in groups.items()]


def _bin_to_dict(each: CalibrationBin) -> dict[str, Any]:
    accuracy = each.accuracy
    entries = {"accuracy": accuracy.value, "accuracy_interval": accuracy.interval, "samples": accuracy.samples}
    return {"from": each.low, "to": each.high, "confidence": each.confidence, **entries}


def describe_metrics(metrics: ModelMetrics) -> list[str]:
    """Returns what is printed of a model's metrics, line by line."""
    source = metrics.source
    note = f" ({SAMPLE_NOTE})" if source.synthetic else ""
    where = (
        source.images
        if isinstance(source, FolderSource)
        else f"{source.database}, split {source.split} of {source.split_rule}"
    )
    allowed = "" if metrics.allow is None else f", only {metrics.allow} allowed"
    lines = [f"model      {metrics.model}, {where}{note}{allowed}"]
    for name, accuracy in (("all", metrics.accuracy), ("to twins", metrics.up_to_twins), *metrics.scripts.items()):
        if accuracy:
            low, high = accuracy[1].interval
            fractions = "  ".join(f"top-{k} {found.value:7.2%}" for k, found in accuracy.items())
            lines.append(
                f"{name:10} {fractions}  of {accuracy[1].samples:,} images; top-1 within {low:.2%} to {high:.2%}"
            )
    if len(metrics.writers) > 1:
        by_writer = sorted(accuracy.value for accuracy in metrics.writers.values())
        spread = f"{by_writer[0]:.2%} to {by_writer[-1]:.2%}, median {np.median(by_writer):.2%}"
        lines.append(f"writers    top-1 {spread}, in {len(by_writer)} data sets")
    lines.append(f"confidence expected calibration error {metrics.calibration_error:.2%}")
    if metrics.said_none is not None:
        which = f"of the {metrics.num_characters:,} characters"
        lines.append(f"none       {metrics.said_none:,} images are said to show none {which}")
    if metrics.comparison:
        this, first = metrics.comparison["only_this_right"], metrics.comparison["only_first_right"]
        lines.append(f"compared   {this:,} images that only this model reads, {first:,} that only the first one does")
    network = f"{metrics.images_per_s:,.0f} once they are read and preprocessed"
    lines.append(f"speed      {metrics.images_per_s_with_reading:,.0f} images/s; {network}")
    return lines
