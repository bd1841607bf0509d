"""The report of an evaluation: one page with charts, confused pairs, the hardest characters and a wall of errors."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kanjinet.classes import NO_CLASS
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.evaluation.charts import MARKS, SERIES, Chart, draw_groups, draw_history, draw_reliability
from kanjinet.evaluation.metrics import Predictions
from kanjinet.evaluation.results import FolderSource, ModelMetrics
from kanjinet.storage.files import replace_on_success
from kanjinet.storage.png import encode_png
from kanjinet.synth.printed import draw_character
from kanjinet.training.accuracy import Accuracy

PAIRS_SHOWN, IMAGES_PER_PAIR = 12, 4
HARDEST_SHOWN, IMAGES_PER_CHARACTER = 16, 6
WALL_SIZE = 180  # images
Indices = npt.NDArray[np.int64]
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ModelEvaluation:
    """Represents a model's predictions for n images."""

    metrics: ModelMetrics
    predictions: Predictions
    images: npt.NDArray[np.uint8]  # (n, S, S) as the network saw them, bright ink on 0
    epochs: list[dict[str, float]]  # of its training, as `read_history` gives them
    name_image: Callable[[int], str]  # index of an image -> where it comes from, for people

    def find_pairs(self) -> list[tuple[int, int, int, Indices, Indices]]:
        """Returns the most confused pairs: label, predicted class, count, images of the error, images of the other."""
        labels, predicted = self.predictions.labels, self.predictions.ranked[:, 0]
        pairs = []
        for label, other, count in self.metrics.confusions[:PAIRS_SHOWN]:
            mistaken = np.flatnonzero((labels == label) & (predicted == other))[:IMAGES_PER_PAIR]
            correct = np.flatnonzero((labels == other) & (predicted == other))[:IMAGES_PER_PAIR]
            pairs.append((label, other, count, mistaken, correct))
        return pairs

    def find_errors(self, label: int | None = None) -> Indices:
        """Returns the indices of wrongly recognized images, of a class in their order or of all by confidence."""
        wrong = np.flatnonzero(~self.predictions.is_correct)
        if label is not None:
            return wrong[self.predictions.labels[wrong] == label][:IMAGES_PER_CHARACTER]
        return wrong[np.argsort(-self.predictions.confidence[wrong], kind="stable")]


def write_report(path: Path, evaluations: Sequence[ModelEvaluation]) -> None:
    """Writes the report of one or several models' predictions for the same images, well-formed as XML too."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_replace_not_in_xml,
    )
    environment.filters.update(percent=lambda fraction: f"{fraction * 100:.2f} %", data_uri=_to_data_uri)
    models = [evaluation.metrics for evaluation in evaluations]
    groups = {"number of strokes": [each.stroke_counts for each in models]}
    if len(models[0].writers) > 1:
        groups["data set"] = [each.writers for each in models]
    page = environment.get_template("report.html.j2").render(
        evaluations=evaluations,
        models=models,
        in_folder=isinstance(models[0].source, FolderSource),
        trainings=_draw_trainings(evaluations),
        reliability=[draw_reliability(each, series) for series, each in enumerate(models)],
        groups=[(name, each, draw_groups(each, name)) for name, each in groups.items()],
        legend=[(MARKS[series % SERIES], series % SERIES, each.model) for series, each in enumerate(models)],
        character_of=models[0].character_of,
        kinds=list(_list_kinds(models[0])),
        of_kinds=lambda model, show: [show(each[1]) if each else "–" for each in _list_kinds(model).values()],
        draw_character=draw_character,
        sample_note=SAMPLE_NOTE,
        no_class=NO_CLASS,
        wall_size=WALL_SIZE,
        hardest_shown=HARDEST_SHOWN,
    )
    with replace_on_success(path) as file:
        file.write(page.lstrip().encode("utf-8"))


def _list_kinds(model: ModelMetrics) -> dict[str, dict[int, Accuracy]]:
    """Lists the accuracies that stand in columns of their own: of each script, and up to twins."""
    return model.scripts | ({"top-1 up to twins": model.up_to_twins} if model.up_to_twins else {})


def _replace_not_in_xml(value: Any) -> Any:
    """Replaces the characters of text, such as a file's name, that XML does not allow; markup stays as it is."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return _NOT_IN_XML.sub("\ufffd", value) if is_text else value


def _draw_trainings(
    evaluations: Sequence[ModelEvaluation],
) -> list[tuple[list[str], list[dict[str, float]], list[Chart]]]:
    """Draws the trainings whose history is known: (names of the models that come from it, epochs, charts)."""
    trainings: list[tuple[list[str], list[dict[str, float]], list[Chart]]] = []
    for epochs in (evaluation.epochs for evaluation in evaluations):
        if epochs and epochs not in (drawn for _, drawn, _ in trainings):
            names = [each.metrics.model for each in evaluations if each.epochs == epochs]
            charts = [draw_history(epochs, metric, len(trainings)) for metric in ("accuracy", "loss")]
            trainings.append((names, epochs, charts))
    return trainings


def _to_data_uri(image: npt.NDArray[np.uint8]) -> str:
    """Returns an image (S, S) uint8, bright ink on 0, as an address that holds it as dark ink on white."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(255 - image)).decode('ascii')}"
