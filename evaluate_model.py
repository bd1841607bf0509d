"""Measure how well trained networks read: any exported files, on a part of a dataset or on a folder of images.

Reads:  models (.pth, .safetensors or .onnx), and dataset/ or, with --images, a folder with one sub-folder a character
Writes: evaluation/evaluation.json, evaluation/report.html (charts, confusions, mistakes), evaluation/predictions.png
Run:    python evaluate_model.py --model kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir dataset --split test
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import CHARACTERS, JIS_CODES
from kanjinet.cli import make_parser, positive_int, run_script, show_path
from kanjinet.data.dataset import DatasetInfo, Labels, read_dataset_info, read_images, read_labels
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.image_files import list_labeled_images, read_image, to_network_input
from kanjinet.data.splits import PARTS, Indices, check_split_rule, split_as_trained
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.image_grid import Reading, draw_readings, write_png
from kanjinet.evaluation.metrics import NOTHING, TOP_K, Answers, measure_calibration
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer
from kanjinet.evaluation.report import Evaluation, write_report
from kanjinet.storage.files import make_folder, write_json
from kanjinet.synth.kanjivg import stroke_counts
from kanjinet.training.history import read_training_epochs

RESULT_NAME = "evaluation.json"
REPORT_NAME = "report.html"
IMAGE_NAME = "predictions.png"
COLUMNS = 16
BLOCK = 1024  # images between two steps of the bar
CONFUSIONS_LISTED, HARDEST_LISTED = 100, 100


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        __doc__, "python evaluate_model.py --model best_kanji_model.pth --data-dir dataset --split test"
    )
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        required=True,
        help="a .pth, .safetensors or .onnx file; several are compared on the same images",
    )
    parser.add_argument("--data-dir", type=Path, help="the prepared dataset (default: dataset)")
    parser.add_argument(
        "--split",
        choices=(*PARTS, "all"),
        help="part of the dataset, divided as for the first model's training (default: test)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="instead of a dataset: a folder with one sub-folder of images a character, named 田, 7530 or U+7530",
    )
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="folder for the results")
    parser.add_argument("--pictures", type=positive_int, default=96, help="characters in predictions.png")
    args = parser.parse_args()
    if args.images and (args.data_dir or args.split):
        parser.error("--images takes the place of --data-dir and --split: give one or the other")
    return args


@dataclass(frozen=True)
class Exam:
    """The n images that all models read.

    Attributes:
        source: where they come from, as evaluation.json says it.
        classes: (n,) int64, the true ones.
        data_sets: (n,) numbers of the data sets, which stand for writers; None where nothing is known of the writers.
        name: index of an image -> where it comes from, for people.
        inputs: (image size, preprocessing version) -> (n, S, S) uint8 network inputs.
        has_character: (n,) whether there is anything to read.
        not_read: files that are no images, with the reason.
    """

    source: dict[str, Any]
    classes: npt.NDArray[np.int64]
    data_sets: npt.NDArray[np.uint8] | None
    name: Callable[[int], str]
    inputs: dict[tuple[int, str], npt.NDArray[np.uint8]]
    has_character: npt.NDArray[np.bool_]
    not_read: list[str]


def main() -> None:
    """Load, read, write the figures, the report and the image."""
    args = parse_args()
    recognizers = [load_recognizer(path) for path in args.model]
    if args.images:
        exam = read_folder(args.images, recognizers)
    else:
        exam = read_part(args.data_dir or Path("dataset"), args.split or "test", recognizers)
    strokes = np.array(stroke_counts())
    evaluations: list[Evaluation] = []
    for recognizer in recognizers:
        evaluation = evaluate(recognizer, exam, strokes)
        if evaluations:
            evaluation.figures.update(evaluation.answers.compare_with(evaluations[0].answers))
        evaluations.append(evaluation)
    output_dir = make_folder(args.output_dir)
    first, *others = (evaluation.figures for evaluation in evaluations)
    write_json(output_dir / RESULT_NAME, {**first, "others": others})
    write_report(output_dir / REPORT_NAME, evaluations)
    draw_image(output_dir / IMAGE_NAME, evaluations[0], args.pictures)
    for evaluation in evaluations:
        print_figures(evaluation.figures)
    written = (show_path(output_dir / name) for name in (RESULT_NAME, REPORT_NAME, IMAGE_NAME))
    print(f"written    {', '.join(written)}")
    if exam.not_read:
        total = len(exam.not_read) + len(exam.classes)
        raise KanjinetError(f"{len(exam.not_read)} of {total} files could not be read, and are left out", "see above")


def read_part(folder: Path, part: str, recognizers: Sequence[Recognizer]) -> Exam:
    """A part of a dataset, divided as for the training of the first model."""
    info = read_dataset_info(folder)
    for recognizer in recognizers:
        check_fit(recognizer, info)
        check_split_rule(recognizer.training, recognizer.path)
    labels = read_labels(info.folder, info.chunks)
    indices = choose_part(recognizers[0], info, labels, part)
    if part != "train":
        for recognizer in recognizers:
            warn_of_known_images(recognizer, info, labels, indices)
    data_sets, sheets = labels.data_sets[indices], labels.sheets[indices]
    return Exam(
        source={
            "dataset": str(info.folder),
            "dataset_sha256": info.sha256,
            "synthetic": info.synthetic,
            "split": part,
            "split_rule": recognizers[0].training["split"],
        },
        classes=labels.classes[indices].astype(np.int64),
        data_sets=data_sets,
        name=lambda index: f"data set {data_sets[index]}, sheet {sheets[index]}",
        inputs={(info.image_size, info.preprocessing): read_images(info, indices)},
        has_character=np.ones(len(indices), dtype=np.bool_),
        not_read=[],
    )


def check_fit(recognizer: Recognizer, info: DatasetInfo) -> None:
    """Refuse images of another size or preprocessing than the network was trained on.

    Raises:
        KanjinetError: with the remedy.
    """
    wanted = recognizer.image_size, recognizer.preprocessing
    if (info.image_size, info.preprocessing) != wanted:
        raise KanjinetError(
            f"{info.folder}: images of {info.image_size} pixels, preprocessing {info.preprocessing}; "
            f"{recognizer.path} needs {wanted[0]} pixels, {wanted[1]}",
            f"run prepare_etl9g_dataset.py --size {wanted[0]} into another folder",
        )


def choose_part(recognizer: Recognizer, info: DatasetInfo, labels: Labels, part: str) -> Indices:
    """Indices of the part's samples: the very ones of the model's own training where it was trained on this dataset."""
    if part == "all":
        return np.arange(len(labels))
    if recognizer.training["dataset_sha256"] != info.sha256:
        print(f"note       {show_path(recognizer.path)} was trained on another dataset; the split is made again here")
    return split_as_trained(labels, info.sha256, recognizer.training)[part]


def warn_of_known_images(recognizer: Recognizer, info: DatasetInfo, labels: Labels, indices: Indices) -> None:
    """Say so where a model was trained on some of the images, as one of another split may be."""
    if recognizer.training["dataset_sha256"] != info.sha256:
        return
    trained_on = split_as_trained(labels, info.sha256, recognizer.training)["train"]
    if known := len(np.intersect1d(trained_on, indices)):
        print(f"note       {show_path(recognizer.path)} was trained on {known:,} of these {len(indices):,} images")


def read_folder(folder: Path, recognizers: Sequence[Recognizer]) -> Exam:
    """Images of any kind, preprocessed as each model needs it."""
    found = list_labeled_images(folder)
    for name in found.skipped_folders:
        print(f"note       {folder / name}: left out: its name is none of the 3,036 characters, nor the code of one")
    forms = sorted({(recognizer.image_size, recognizer.preprocessing) for recognizer in recognizers})
    inputs: dict[tuple[int, str], list[npt.NDArray[np.uint8]]] = {form: [] for form in forms}
    read: list[int] = []
    has_character: list[bool] = []
    not_read: list[str] = []
    for index, path in enumerate(tqdm(found.paths, desc="images", unit="image", leave=False, disable=None)):
        try:
            ink = read_image(path, str(path))
        except KanjinetError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            not_read.append(str(error))
            continue
        seen = {form: to_network_input(ink, *form) for form in forms}
        for (size, version), image in seen.items():
            inputs[size, version].append(np.zeros((size, size), np.uint8) if image is None else image)
        has_character.append(seen[forms[0]] is not None)
        read.append(index)
    if not read:
        raise KanjinetError(f"{folder}: none of its {len(found.paths)} images can be read", "see the lines above")
    paths = [found.paths[index].relative_to(folder) for index in read]
    return Exam(
        source={"images": str(folder), "synthetic": None},
        classes=found.classes[read],
        data_sets=None,
        name=lambda index: str(paths[index]),
        inputs={form: np.stack(images) for form, images in inputs.items()},
        has_character=np.array(has_character),
        not_read=not_read,
    )


def evaluate(recognizer: Recognizer, exam: Exam, strokes: npt.NDArray[np.int64]) -> Evaluation:
    """Let a model read all images.

    Args:
        recognizer: the model.
        exam: the images.
        strokes: (3036,) the number of strokes of each class.
    """
    images = exam.inputs[recognizer.image_size, recognizer.preprocessing]
    ranked = np.empty((len(images), max(TOP_K)), dtype=np.int64)
    confidence = np.empty(len(images))
    start = time.perf_counter()
    with tqdm(total=len(images), desc=recognizer.path.name, unit="image", leave=False, disable=None) as bar:
        for first in range(0, len(images), BLOCK):
            rows = slice(first, first + BLOCK)
            best = recognizer.find_best(images[rows], max(TOP_K))
            ranked[rows], confidence[rows] = best.classes, best.probabilities[:, 0]
            bar.update(len(best.classes))
    elapsed_s = time.perf_counter() - start
    ranked[~exam.has_character], confidence[~exam.has_character] = NOTHING, 0
    answers = Answers(exam.classes, ranked, confidence)
    epochs = read_training_epochs(recognizer.path, recognizer.training)
    figures = describe_answers(recognizer, exam, answers, strokes, len(images) / elapsed_s)
    return Evaluation(figures, answers, images, epochs, exam.name)


def describe_answers(
    recognizer: Recognizer, exam: Exam, answers: Answers, strokes: npt.NDArray[np.int64], images_per_s: float
) -> dict[str, Any]:
    """What evaluation.json says of a model; accuracies, intervals and confidences are shares, 0-1."""
    calibration = measure_calibration(answers.confidence, answers.is_right)
    return {
        "model": recognizer.path.name,
        "size_bytes": recognizer.path.stat().st_size,
        "trained_on_synthetic_sample": recognizer.synthetic,
        **exam.source,
        **answers.measure_accuracy(),
        "without_character": int(np.count_nonzero(~exam.has_character)),
        "not_read": [message.encode("utf-8", "backslashreplace").decode("utf-8") for message in exam.not_read],
        "kanji": answers.measure_accuracy(~answers.is_hiragana),
        "hiragana": answers.measure_accuracy(answers.is_hiragana),
        "writers": [] if exam.data_sets is None else answers.measure_groups(exam.data_sets, "data_set"),
        "stroke_counts": answers.measure_groups(strokes[answers.truth], "stroke_count"),
        "calibration": calibration.to_dict(),
        "confusions": [
            {"character": CHARACTERS[truth], "read_as": name_reading(read), "count": count}
            for truth, read, count in answers.count_confusions()[:CONFUSIONS_LISTED]
        ],
        "hardest": [
            {
                **entry,
                "character": CHARACTERS[entry["class"]],
                "jis_code": f"{JIS_CODES[entry['class']]:04X}",
                "stroke_count": int(strokes[entry["class"]]),
                "read_as": [name_reading(read) for read in answers.list_readings(entry["class"])],
            }
            for entry in answers.rank_hardest()[:HARDEST_LISTED]
        ],
        "images_per_s": round(images_per_s, 1),
    }


def name_reading(read: int) -> str:
    """The character of a class that was read; empty where no character was found."""
    return "" if read == NOTHING else CHARACTERS[read]


def draw_image(path: Path, evaluation: Evaluation, count: int) -> None:
    """A random choice of characters with what was read, right in green and wrong in red."""
    answers = evaluation.answers
    chosen = np.random.default_rng(0).permutation(len(answers.truth))[:count]
    readings = [
        Reading(evaluation.images[i], CHARACTERS[int(answers.truth[i])], name_reading(int(answers.ranked[i, 0])))
        for i in chosen
    ]
    write_png(path, draw_readings(readings, COLUMNS))


def print_figures(figures: dict[str, Any]) -> None:
    """A model's figures, aligned."""
    note = f" ({SAMPLE_NOTE})" if figures["synthetic"] else ""
    where = figures["images"] if "images" in figures else f"split {figures['split']} of {figures['split_rule']}"
    print(f"model      {figures['model']}, {where}{note}")
    for name, group in (("all", figures), ("kanji", figures["kanji"]), ("hiragana", figures["hiragana"])):
        if group["samples"]:
            low, high = group["top1_interval"]
            shares = "  ".join(f"top-{k} {group[f'top{k}']:7.2%}" for k in TOP_K)
            print(f"{name:10} {shares}  of {group['samples']:,} images; top-1 within {low:.2%} to {high:.2%}")
    if len(figures["writers"]) > 1:
        by_writer = sorted(entry["top1"] for entry in figures["writers"])
        print(
            f"writers    top-1 {by_writer[0]:.2%} to {by_writer[-1]:.2%}, median {np.median(by_writer):.2%}, "
            f"in {len(by_writer)} data sets"
        )
    print(f"confidence expected calibration error {figures['calibration']['expected_calibration_error']:.2%}")
    if "only_this_right" in figures:
        print(
            f"compared   {figures['only_this_right']:,} images that only this model reads, "
            f"{figures['only_first_right']:,} that only the first one does"
        )
    print(f"speed      {figures['images_per_s']:,.0f} images/s")


if __name__ == "__main__":
    run_script(main)
