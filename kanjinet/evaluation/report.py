"""An evaluation to look at: one page with charts, confused pairs, the hardest characters and a wall of mistakes.

Images are shown as the network saw them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.evaluation.charts import Chart, make_axis, show_count, show_fraction
from kanjinet.evaluation.metrics import NOTHING, Answers
from kanjinet.evaluation.page import make_cell, make_figure, make_table, make_text, write_page
from kanjinet.synth.printed import draw_character

PAIRS_SHOWN, CELLS_A_PAIR = 12, 4
HARDEST_SHOWN, CELLS_A_CHARACTER = 16, 6
WALL_SIZE = 180  # cells
TRAINING_PARTS = {"validation": "validation", "train": "training, on images distorted at random"}


@dataclass(frozen=True)
class Evaluation:
    """One model's answers to n images.

    Attributes:
        figures: what evaluation.json says of it.
        answers: to the images.
        images: (n, S, S) uint8 as the network saw them, bright ink on 0.
        epochs: of its training, as `read_training_epochs` gives them.
        name_image: index of an image -> where it comes from, for people.
    """

    figures: dict[str, Any]
    answers: Answers
    images: npt.NDArray[np.uint8]
    epochs: list[dict[str, float]]
    name_image: Callable[[int], str]


def write_report(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write the page of one or several models' answers to the same images."""
    names = [make_text(evaluation.figures["model"]) for evaluation in evaluations]
    subject = f"{names[0]} reads" if len(names) == 1 else f"{len(names)} models read"
    sections = [
        describe_images(evaluations[0].figures, f"How well {subject}"),
        describe_accuracy(evaluations, names),
        describe_training(evaluations, names),
        describe_conditions(evaluations, names),
    ]
    for evaluation, name in zip(evaluations, names, strict=True):
        sections.append(f"<h2>Mistakes{'' if len(names) == 1 else f' of {name}'}</h2>")
        sections += describe_mistakes(evaluation)
    write_page(path, f"How well {subject}", sections)


def describe_images(figures: dict[str, Any], title: str) -> str:
    """The title, and what was read."""
    if "images" in figures:
        source = f"in the folder {make_text(figures['images'])}"
    else:
        source = f"the part “{figures['split']}” of {make_text(figures['dataset'])}"
    notes = []
    if figures["synthetic"]:
        notes.append(f"The images are a {SAMPLE_NOTE}: these figures say nothing about real writers.")
    if figures["not_read"]:
        notes.append(f"Files that could not be read: {len(figures['not_read'])}. evaluation.json names them.")
    if figures["without_character"]:
        notes.append(f"Images with nothing in them to read: {figures['without_character']}, counted as mistakes.")
    paragraphs = "".join(f'<p class="note">{note}</p>' for note in notes)
    return f"<h1>{title}</h1><p>{figures['samples']:,} images of handwritten characters, {source}.</p>{paragraphs}"


def describe_accuracy(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """The figures of all models, side by side."""
    head = ["model", "top-1", "top-3", "top-5", "kanji", "hiragana", "calibration error", "size", "images/s"]
    rows = []
    for evaluation, name in zip(evaluations, names, strict=True):
        figures = evaluation.figures
        cells = [_show_accuracy(figures, key) for key in ("top1", "top3", "top5")]
        cells += [_show_accuracy(figures[group], "top1") for group in ("kanji", "hiragana")]
        cells.append(_percent(figures["calibration"]["expected_calibration_error"]))
        cells += [f"{figures['size_bytes'] / 1e6:.2f} MB", f"{figures['images_per_s']:,.0f}"]
        rows.append([name, *cells])
    table = f'<div class="models">{make_table("Share of the images that were read right", head, rows)}</div>'
    text = (
        "<h2>Accuracy</h2><p>Top-3: the right character is among the three best candidates. The small figures are 95 % "
        "intervals (Wilson), as if images were independent of each other; those by one hand are not quite.</p>"
    )
    if len(evaluations) == 1:
        return text + table
    rows = [
        [name, str(figures["only_this_right"]), str(figures["only_first_right"])]
        for name, figures in ((name, each.figures) for name, each in zip(names[1:], evaluations[1:], strict=True))
    ]
    head = ["model", "images that only it reads", f"that only {names[0]} reads"]
    against = make_table("Against the first model, image by image", head, rows)
    return f'{text}{table}<div class="models">{against}</div>'


def _show_accuracy(figures: dict[str, Any], key: str) -> str:
    if not figures["samples"]:
        return "–"
    low, high = figures[f"{key}_interval"]
    return f"{_percent(figures[key])}<small>{low:.2%}–{high:.2%}</small>".replace("%–", "–").replace("%<", " %<")


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def describe_training(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """Loss and accuracy by epoch, of the models whose history is known."""
    trainings: list[tuple[list[str], list[dict[str, float]]]] = []  # several files may come from one training
    for evaluation, name in zip(evaluations, names, strict=True):
        same = next((members for members, epochs in trainings if epochs == evaluation.epochs), None)
        if same:
            same.append(name)
        elif evaluation.epochs:
            trainings.append(([name], evaluation.epochs))
    parts = [f"<h3>{', '.join(members)}</h3>{_draw_training(epochs)}" for members, epochs in trainings]
    return f"<h2>Training</h2>{''.join(parts)}" if parts else ""


def _draw_training(epochs: Sequence[dict[str, float]]) -> str:
    numbers = [epoch["epoch"] for epoch in epochs]
    losses = [epoch[f"{part}_loss"] for part in TRAINING_PARTS for epoch in epochs]
    charts = []
    for kind, axis in (
        ("accuracy", make_axis("accuracy", [0], show_fraction, top=1)),
        ("loss", make_axis("loss", [0, *losses], show_count)),
    ):
        chart = Chart(f"{kind} by epoch", make_axis("epoch", numbers, show_count, whole=True), axis)
        for series, part in enumerate(TRAINING_PARTS):
            chart.add_line([(epoch["epoch"], epoch[f"{part}_{kind}"]) for epoch in epochs], series)
        charts.append(make_figure(chart, list(enumerate(TRAINING_PARTS.values())), f"{kind.capitalize()} by epoch."))
    rows = [
        [
            f"{epoch['epoch']:.0f}",
            *(_percent(epoch[f"{part}_accuracy"]) for part in TRAINING_PARTS),
            *(f"{epoch[f'{part}_loss']:.3f}" for part in TRAINING_PARTS),
        ]
        for epoch in epochs
    ]
    head = ["epoch", "validation accuracy", "training accuracy", "validation loss", "training loss"]
    return (
        f'<div class="charts">{"".join(charts)}</div>'
        f"<details><summary>The same in figures</summary>{make_table('Training', head, rows)}</details>"
    )


def describe_conditions(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """Accuracy by confidence, by number of strokes, and by writers where there are several."""
    charts = [_draw_reliability(evaluations, names, series) for series in range(len(names))]
    charts.append(_draw_groups(evaluations, names, "stroke_counts", "stroke_count", "strokes", "Number of strokes"))
    if len(evaluations[0].figures["writers"]) > 1:
        charts.append(_draw_groups(evaluations, names, "writers", "data_set", "data set", "Writers (data sets)"))
    return (
        "<h2>When it is right</h2><p>A line through a mark is the 95 % interval: long where there are few images.</p>"
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _draw_reliability(evaluations: Sequence[Evaluation], names: Sequence[str], series: int) -> str:
    calibration = evaluations[series].figures["calibration"]
    bins = calibration["bins"]
    chart = Chart(
        "reliability diagram: how often answers of a confidence are right",
        make_axis("confidence", [0], show_fraction, top=1),
        make_axis("read right", [0], show_fraction, top=1),
    )
    chart.add_guide((0, 0), (1, 1))
    chart.add_bars([(entry["from"], entry["to"], entry["accuracy"]) for entry in bins], series)
    chart.add_whiskers([(entry["confidence"], *entry["accuracy_interval"]) for entry in bins], series)
    chart.add_marks([(entry["confidence"], entry["accuracy"]) for entry in bins], series)
    rows = [
        [
            f"{_percent(entry['from'])} – {_percent(entry['to'])}",
            *(_percent(entry[name]) for name in ("confidence", "accuracy")),
            f"{entry['samples']:,}",
        ]
        for entry in bins
    ]
    table = make_table("Calibration", ["confidence", "mean of it", "read right", "images"], rows)
    caption = (
        "Reliability: how often answers of a confidence are right. On the dashed line as often as they claim; above it "
        f"more often. Expected calibration error {_percent(calibration['expected_calibration_error'])}."
    )
    return make_figure(chart, [(series, names[series])] if len(names) > 1 else [], caption, table)


def _draw_groups(
    evaluations: Sequence[Evaluation], names: Sequence[str], key: str, group: str, axis: str, caption: str
) -> str:
    entries = [evaluation.figures[key] for evaluation in evaluations]
    groups = [entry[group] for entry in entries[0]]
    lowest = min(entry["top1"] for each in entries for entry in each)
    chart = Chart(
        f"accuracy by {axis}",
        make_axis(axis, groups, show_count, whole=True),
        make_axis("read right", [max(0.0, lowest - 0.02)], show_fraction, top=1),
    )
    for series, each in enumerate(entries):
        offset = (series - (len(entries) - 1) / 2) * 0.15
        chart.add_whiskers([(entry[group] + offset, *entry["top1_interval"]) for entry in each], series)
        chart.add_marks([(entry[group] + offset, entry["top1"]) for entry in each], series)
    rows = [
        [str(number), f"{entries[0][row]['samples']:,}", *(_show_accuracy(each[row], "top1") for each in entries)]
        for row, number in enumerate(groups)
    ]
    table = make_table(caption, [axis, "images", *names], rows)
    legend = list(enumerate(names)) if len(names) > 1 else []
    return make_figure(chart, legend, f"{caption}, with 95 % intervals.", table)


def describe_mistakes(evaluation: Evaluation) -> list[str]:
    """The most confused pairs, the hardest characters, and the mistakes that the network was surest of."""
    answers = evaluation.answers
    wrong = np.flatnonzero(~answers.is_right)
    if not len(wrong):
        return ["<p>None.</p>"]
    by_confidence = wrong[np.argsort(-answers.confidence[wrong], kind="stable")]
    shown = by_confidence[:WALL_SIZE]
    wall = _lay_out(_show_mistake(evaluation, index) for index in shown.tolist())
    extent = f"The {len(shown)} surest of" if len(shown) < len(wrong) else "All"
    return [
        f"<h3>Most confused pairs</h3>{_show_pairs(evaluation)}",
        f"<h3>Hardest characters</h3>{_show_hardest(evaluation)}",
        f"<h3>Wall of mistakes</h3><p>{extent} {len(wrong):,} mistakes, the surest first: "
        f'<span class="is-right">the true character</span>, what was read, and with what probability.</p>{wall}',
    ]


def _show_pairs(evaluation: Evaluation) -> str:
    answers = evaluation.answers
    read = answers.ranked[:, 0]
    rows = []
    for truth, wrongly, count in answers.count_confusions()[:PAIRS_SHOWN]:
        mistaken = np.flatnonzero((answers.truth == truth) & (read == wrongly))[:CELLS_A_PAIR]
        right = np.flatnonzero((answers.truth == wrongly) & answers.is_right)[:CELLS_A_PAIR]
        printed = (CHARACTERS[index] for index in (truth, wrongly) if index != NOTHING)
        rows.append(
            [
                f"{_kanji(truth)} read as {_kanji(wrongly)}",
                f"{count:,}",
                _show_cells(evaluation, mistaken),
                _lay_out(make_cell(draw_character(each), f"{each} in print") for each in printed),
                _show_cells(evaluation, right),
            ]
        )
    head = ["pair", "times", "mistaken", "both in print", "the other, read right"]
    return make_table("Pairs of characters, the most confused first", head, rows, left=(2, 3, 4))


def _show_hardest(evaluation: Evaluation) -> str:
    answers = evaluation.answers
    rows = []
    for entry in evaluation.figures["hardest"][:HARDEST_SHOWN]:
        mistaken = np.flatnonzero((answers.truth == entry["class"]) & ~answers.is_right)[:CELLS_A_CHARACTER]
        rows.append(
            [
                _kanji(entry["class"]),
                f"{_show_accuracy(entry, 'top1')}",
                f"{entry['samples']:,}",
                " ".join(map(_kanji, answers.list_readings(entry["class"]))),
                str(entry["stroke_count"]),
                entry["jis_code"],
                _show_cells(evaluation, mistaken),
            ]
        )
    head = ["character", "read right", "of images", "read as", "strokes", "JIS", "mistakes"]
    return make_table("Characters with mistakes, by the upper end of the interval", head, rows, left=(3, 6))


def _show_cells(evaluation: Evaluation, chosen: npt.NDArray[np.int64]) -> str:
    names = (_name_class(index) for index in evaluation.answers.truth[chosen].tolist())
    return _lay_out(
        make_cell(evaluation.images[index], name, origin=evaluation.name_image(index))
        for index, name in zip(chosen.tolist(), names, strict=True)
    )


def _lay_out(cells: Iterable[str]) -> str:
    return f'<div class="cells">{"".join(cells)}</div>'


def _show_mistake(evaluation: Evaluation, index: int) -> str:
    answers = evaluation.answers
    truth, read = int(answers.truth[index]), int(answers.ranked[index, 0])
    words = f"{_name_class(truth)} read as {_name_class(read)}"
    caption = (
        f'<span class="is-right">{_kanji(truth)}</span> {_kanji(read)}<br/>{answers.confidence[index] * 100:.0f} %'
    )
    return make_cell(evaluation.images[index], words, caption, evaluation.name_image(index))


def _name_class(index: int) -> str:
    return "nothing" if index == NOTHING else CHARACTERS[index]


def _kanji(index: int) -> str:
    return "nothing" if index == NOTHING else f'<span class="kanji" lang="ja">{CHARACTERS[index]}</span>'
