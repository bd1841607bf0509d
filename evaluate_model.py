"""Measure how well models recognize characters: any exported files, on a part of a dataset or a folder of images.

Reads:  models (.pth, .safetensors or .onnx), and dataset/ or, with --images, a folder with one sub-folder a character
Writes: evaluation/evaluation.json, evaluation/report.html (charts, confusions, errors), evaluation/predictions.png
Run:    python evaluate_model.py --model kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir dataset --split test
"""

from kanjinet.cli import make_parser, positive_int, run_script, show_path

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import CHARACTERS, NO_CLASS, NUM_CLASSES
from kanjinet.data.dataset import DatasetInfo, Labels, read_dataset_info, read_images, read_labels
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.data.image_files import list_labeled_images, read_gray
from kanjinet.data.splits import PARTS, Indices, split_as_trained
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.image_grid import draw_image_grid
from kanjinet.evaluation.metrics import TOP_K, Predictions
from kanjinet.evaluation.page import prepare_one
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer
from kanjinet.evaluation.report import ModelEvaluation, write_report
from kanjinet.evaluation.results import DatasetSource, FolderSource, HardClass, ModelMetrics, character_of
from kanjinet.storage.files import check_output_folder, make_folder, write_json
from kanjinet.storage.onnx_file import DEVICE_HELP, DEVICES
from kanjinet.storage.png import write_png
from kanjinet.synth.kanjivg import stroke_counts
from kanjinet.training.accuracy import bin_by_confidence
from kanjinet.training.history import read_history

RESULT_NAME = "evaluation.json"
REPORT_NAME = "report.html"
IMAGE_NAME = "predictions.png"
COLUMNS = 16
HARDEST_LISTED = 100
BLOCK = 1024  # images between two steps of the bar


def parse_args() -> argparse.Namespace:
    parser = make_parser(
        __doc__, "python evaluate_model.py --model best_kanji_model.pth --data-dir dataset --split test"
    )
    models_help = ".pth, .safetensors or .onnx; several are compared on the same images (default: the pretrained model)"
    parser.add_argument("--model", type=Path, nargs="+", help=models_help)
    parser.add_argument("--data-dir", type=Path, help="the prepared dataset (default: dataset)")
    split_help = "part of the dataset, split as for the first model's training (default: test)"
    parser.add_argument("--split", choices=(*PARTS, "all"), help=split_help)
    images_help = "instead of a dataset: a folder with one sub-folder of images a character, named 田, 7530 or U+7530"
    parser.add_argument("--images", type=Path, help=images_help)
    parser.add_argument("--device", choices=DEVICES, default="auto", help=f"what the models run on; {DEVICE_HELP}")
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="folder for the results")
    parser.add_argument("--pictures", type=positive_int, default=96, help="images in predictions.png")
    args = parser.parse_args()
    if args.images and (args.data_dir or args.split):
        parser.error("--images takes the place of --data-dir and --split: give one or the other")
    return args


@dataclass(frozen=True)
class EvaluationSet:
    """Represents the n labeled images that all models are evaluated on."""

    source: DatasetSource | FolderSource  # where they come from
    labels: npt.NDArray[np.int64]  # (n,) classes
    data_sets: npt.NDArray[np.uint8] | None  # (n,) which stand for writers; None where nothing is known of the writers
    name_image: Callable[[int], str]  # index of an image -> where it comes from, for people
    inputs: dict[tuple[int, str], npt.NDArray[np.uint8]]  # (image size, preprocessing version) -> (n, S, S)
    reading_s: dict[tuple[int, str], float]  # seconds that this took
    has_character: npt.NDArray[np.bool_]  # (n,) whether there is anything to recognize
    not_read: list[str]  # a message for each file that could not be read


def main() -> None:
    args = parse_args()
    check_output_folder(args.output_dir, "--output-dir")
    recognizers = [load_recognizer(path, args.device) for path in args.model or [None]]
    if args.images:
        images = read_folder(args.images, recognizers)
    else:
        images = read_part(args.data_dir or Path("dataset"), args.split or "test", recognizers)
    evaluations = [evaluate(recognizers[0], images)]
    evaluations += [evaluate(each, images, evaluations[0].predictions) for each in recognizers[1:]]
    output_dir = make_folder(args.output_dir)
    result, *others = (evaluation.metrics.to_dict() for evaluation in evaluations)
    write_json(output_dir / RESULT_NAME, {**result, "others": others})
    write_report(output_dir / REPORT_NAME, evaluations)
    write_grid(output_dir / IMAGE_NAME, evaluations[0], args.pictures)
    for evaluation in evaluations:
        print_metrics(evaluation.metrics)
    written = (show_path(output_dir / name) for name in (RESULT_NAME, REPORT_NAME, IMAGE_NAME))
    print(f"written    {', '.join(written)}")
    if images.not_read:
        total = len(images.not_read) + len(images.labels)
        raise KanjinetError(f"{len(images.not_read)} of {total} files could not be read, and are left out", "see above")


def read_part(folder: Path, part: str, recognizers: Sequence[Recognizer]) -> EvaluationSet:
    """Reads a part of a dataset, split as for the training of the first model."""
    info = read_dataset_info(folder)
    for recognizer in recognizers:
        check_fit(recognizer, info)
    labels = read_labels(info.folder, info.chunks)
    options = recognizers[0].card.options
    if part == "all":
        indices = np.arange(len(labels))
    else:
        if options.dataset_sha256 != info.sha256:
            path = show_path(recognizers[0].path)
            advice = "the split is made again here; --split all takes every image"
            print(f"note       {path} was trained on another dataset; {advice}")
        indices = split_as_trained(labels, info.sha256, options)[part]
    if part != "train":
        for recognizer in recognizers:
            warn_of_training_images(recognizer, info, labels, indices)
    data_sets, sheets = labels.data_sets[indices], labels.sheets[indices]
    form, start = (info.image_size, info.preprocessing), time.perf_counter()
    inputs = read_images(info, indices)
    return EvaluationSet(
        source=DatasetSource(
            str(info.folder), info.sha256, info.database, info.synthetic, part, split_rule=options.split
        ),
        labels=labels.classes[indices].astype(np.int64),
        data_sets=data_sets,
        name_image=lambda index: f"data set {data_sets[index]}, sheet {sheets[index]}",
        inputs={form: inputs},
        reading_s={form: time.perf_counter() - start},
        has_character=np.ones(len(indices), dtype=np.bool_),
        not_read=[],
    )


def check_fit(recognizer: Recognizer, info: DatasetInfo) -> None:
    """Refuses images of another size or preprocessing than the network was trained on."""
    size, version = recognizer.image_size, recognizer.card.preprocessing
    if (info.image_size, info.preprocessing) != (size, version):
        raise KanjinetError(
            f"{info.folder}: images of {info.image_size} pixels, preprocessing {info.preprocessing}; "
            f"{recognizer.path} needs {size} pixels, {version}",
            f"run prepare_etl9g_dataset.py --size {size} into another folder",
        )


def warn_of_training_images(recognizer: Recognizer, info: DatasetInfo, labels: Labels, indices: Indices) -> None:
    """Prints how many of the images a model was trained on, as one of another split may be."""
    if recognizer.card.options.dataset_sha256 != info.sha256:
        return
    trained_on = split_as_trained(labels, info.sha256, recognizer.card.options)["train"]
    if known := len(np.intersect1d(trained_on, indices)):
        print(f"note       {show_path(recognizer.path)} was trained on {known:,} of these {len(indices):,} images")


def read_folder(folder: Path, recognizers: Sequence[Recognizer]) -> EvaluationSet:
    """Reads images of any kind, preprocessed as each model needs it."""
    found = list_labeled_images(folder)
    for name in found.skipped_folders:
        print(f"note       {folder / name}: left out: its name is none of the 3,036 characters, nor the code of one")
    if found.skipped_files:
        print(f"note       {folder}: {found.skipped_files}")
    forms = sorted({(recognizer.image_size, recognizer.card.preprocessing) for recognizer in recognizers})
    inputs: dict[tuple[int, str], list[npt.NDArray[np.uint8]]] = {form: [] for form in forms}
    reading_s = dict.fromkeys(forms, 0.0)
    read: list[int] = []
    has_character: list[bool] = []
    not_read: list[str] = []
    for index, path in enumerate(tqdm(found.paths, desc="images", unit="image", leave=False, disable=None)):
        start = time.perf_counter()
        try:
            gray = read_gray(path, str(path))
        except KanjinetError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            not_read.append(str(error).encode("utf-8", "backslashreplace").decode("utf-8"))
            continue
        opening_s = time.perf_counter() - start
        for form in forms:
            start = time.perf_counter()
            image = prepare_one(gray, *form)
            reading_s[form] += opening_s + time.perf_counter() - start
            inputs[form].append(np.zeros((form[0], form[0]), np.uint8) if image is None else image)
        has_character.append(image is not None)
        read.append(index)
    if not read:
        raise KanjinetError(f"{folder}: none of its {len(found.paths)} images can be read", "see the lines above")
    paths = [found.paths[index].relative_to(folder) for index in read]
    return EvaluationSet(
        source=FolderSource(str(folder)),
        labels=found.classes[read],
        data_sets=None,
        name_image=lambda index: str(paths[index]),
        inputs={form: np.stack(images) for form, images in inputs.items()},
        reading_s=reading_s,
        has_character=np.array(has_character),
        not_read=not_read,
    )


def evaluate(recognizer: Recognizer, images: EvaluationSet, first: Predictions | None = None) -> ModelEvaluation:
    """Measures a model's predictions for all images, and compares them with those of the first model."""
    form = (recognizer.image_size, recognizer.card.preprocessing)
    inputs, start = images.inputs[form], time.perf_counter()
    predictions = predict(recognizer, inputs, images)
    elapsed_s = time.perf_counter() - start
    strokes = np.array(stroke_counts())
    metrics = ModelMetrics(
        model=recognizer.path.name,
        size_bytes=recognizer.path.stat().st_size,
        trained_on_synthetic_sample=recognizer.card.synthetic,
        trained_on=recognizer.card.sources,
        license=recognizer.card.license,
        source=images.source,
        without_character=int(np.count_nonzero(~images.has_character)),
        said_none=count_said_none(recognizer, predictions, images),
        not_read=images.not_read,
        accuracy=predictions.top_k_accuracy(),
        kanji=predictions.top_k_accuracy(~predictions.is_hiragana),
        hiragana=predictions.top_k_accuracy(predictions.is_hiragana),
        writers={} if images.data_sets is None else predictions.accuracy_by(images.data_sets),
        stroke_counts=predictions.accuracy_by(strokes[predictions.labels]),
        calibration=bin_by_confidence(predictions.confidence, predictions.is_correct),
        confusions=predictions.count_confusions(),
        hardest=[
            HardClass(label, accuracy, int(strokes[label]), predictions.list_errors(label))
            for label, accuracy in predictions.rank_hardest()[:HARDEST_LISTED]
        ],
        images_per_s=len(inputs) / elapsed_s,
        images_per_s_with_reading=len(inputs) / (elapsed_s + images.reading_s[form]),
        comparison=predictions.compare_with(first) if first else {},
    )
    epochs = read_history(recognizer.path, recognizer.card.options)
    return ModelEvaluation(metrics, predictions, inputs, epochs, images.name_image)


def count_said_none(recognizer: Recognizer, predictions: Predictions, images: EvaluationSet) -> int | None:
    """Counts the images of which the model says that they show none of the characters; None where it never does."""
    if recognizer.card.rejection is None:
        return None
    return int(np.count_nonzero(recognizer.says_none(predictions.confidence) & images.has_character))


def predict(recognizer: Recognizer, inputs: npt.NDArray[np.uint8], images: EvaluationSet) -> Predictions:
    ranked = np.empty((len(inputs), max(TOP_K)), dtype=np.int64)
    confidence = np.empty(len(inputs))
    with tqdm(total=len(inputs), desc=recognizer.path.name, unit="image", leave=False, disable=None) as bar:
        for first in range(0, len(inputs), BLOCK):
            rows = slice(first, first + BLOCK)
            best = recognizer.find_best(inputs[rows], max(TOP_K))
            ranked[rows], confidence[rows] = best.classes, best.probabilities[:, 0]
            bar.update(len(best.classes))
    ranked[~images.has_character], confidence[~images.has_character] = NO_CLASS, 0
    return Predictions(images.labels, ranked, confidence)


def write_grid(path: Path, evaluation: ModelEvaluation, count: int) -> None:
    """Writes a random choice of images with their predictions."""
    predictions = evaluation.predictions
    chosen = np.random.default_rng(0).permutation(len(predictions.labels))[:count]
    labels = [CHARACTERS[label] for label in predictions.labels[chosen].tolist()]
    predicted = list(map(character_of, predictions.ranked[chosen, 0].tolist()))
    write_png(path, draw_image_grid(list(evaluation.images[chosen]), labels, COLUMNS, predicted))


def print_metrics(metrics: ModelMetrics) -> None:
    source = metrics.source
    note = f" ({SAMPLE_NOTE})" if source.synthetic else ""
    where = (
        source.images
        if isinstance(source, FolderSource)
        else f"{source.database}, split {source.split} of {source.split_rule}"
    )
    print(f"model      {metrics.model}, {where}{note}")
    for name, accuracy in (("all", metrics.accuracy), ("kanji", metrics.kanji), ("hiragana", metrics.hiragana)):
        if accuracy:
            low, high = accuracy[1].interval
            fractions = "  ".join(f"top-{k} {found.value:7.2%}" for k, found in accuracy.items())
            print(f"{name:10} {fractions}  of {accuracy[1].samples:,} images; top-1 within {low:.2%} to {high:.2%}")
    if len(metrics.writers) > 1:
        by_writer = sorted(accuracy.value for accuracy in metrics.writers.values())
        spread = f"{by_writer[0]:.2%} to {by_writer[-1]:.2%}, median {np.median(by_writer):.2%}"
        print(f"writers    top-1 {spread}, in {len(by_writer)} data sets")
    print(f"confidence expected calibration error {metrics.calibration_error:.2%}")
    if metrics.said_none is not None:
        print(f"none       {metrics.said_none:,} images are said to show none of the {NUM_CLASSES:,} characters")
    if metrics.comparison:
        this, first = metrics.comparison["only_this_right"], metrics.comparison["only_first_right"]
        print(f"compared   {this:,} images that only this model reads, {first:,} that only the first one does")
    network = f"{metrics.images_per_s:,.0f} once they are read and preprocessed"
    print(f"speed      {metrics.images_per_s_with_reading:,.0f} images/s; {network}")


if __name__ == "__main__":
    run_script(main)
