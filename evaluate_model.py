"""Measure how well models recognize characters: any exported files, on a part of a dataset or a folder of images.

Reads:  models (.pth, .safetensors or .onnx), and dataset/ or, with --images, a folder with one sub-folder a character
Writes: evaluation/evaluation.json, evaluation/report.html (charts, confusions, errors), evaluation/predictions.png
Run:    python evaluate_model.py --model kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir dataset --split test
"""

from kanjinet.cli import ALLOW_HELP, make_parser, positive_int, run_script, show_path

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import NO_CLASS, SCRIPTS, CharacterSet, find_largest_set, translate_classes
from kanjinet.data.dataset import DatasetInfo, Labels, read_dataset_info, read_images, read_labels
from kanjinet.data.image_files import list_labeled_images, read_gray
from kanjinet.data.splits import PARTS, Indices, split_as_trained
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.image_grid import draw_image_grid
from kanjinet.evaluation.metrics import TOP_K, Predictions
from kanjinet.evaluation.page import prepare_one
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer
from kanjinet.evaluation.report import ModelEvaluation, write_report
from kanjinet.evaluation.results import DatasetSource, FolderSource, HardClass, ModelMetrics, describe_metrics
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
    parser.add_argument("--allow", help=f"which characters may be predicted: {ALLOW_HELP}")
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
    character_set: CharacterSet  # whose classes labels and predictions are
    labels: npt.NDArray[np.int64]  # (n,) classes
    data_sets: npt.NDArray[np.uint8] | None  # (n,) which stand for writers; None where nothing is known of the writers
    name_image: Callable[[int], str]  # index of an image -> where it comes from, for people
    inputs: dict[tuple[int, str], npt.NDArray[np.uint8]]  # (image size, preprocessing version) -> (n, S, S)
    reading_s: dict[tuple[int, str], float]  # seconds that this took
    has_character: npt.NDArray[np.bool_]  # (n,) whether there is anything to recognize
    not_read: list[str]  # a message for each file that could not be read
    allow: str | None = None  # which characters may be predicted; all by default


def main() -> None:
    args = parse_args()
    check_output_folder(args.output_dir, "--output-dir")
    recognizers = [load_recognizer(path, args.device) for path in args.model or [None]]
    if args.allow is not None:
        for recognizer in recognizers:
            recognizer.character_set.find_allowed(args.allow)
    if args.images:
        images = read_folder(args.images, recognizers)
    else:
        images = read_part(args.data_dir or Path("dataset"), args.split or "test", recognizers)
    images = replace(images, allow=args.allow)
    evaluations = [evaluate(recognizers[0], images)]
    evaluations += [evaluate(each, images, evaluations[0].predictions) for each in recognizers[1:]]
    output_dir = make_folder(args.output_dir)
    result, *others = (evaluation.metrics.to_dict() for evaluation in evaluations)
    write_json(output_dir / RESULT_NAME, {**result, "others": others})
    write_report(output_dir / REPORT_NAME, evaluations)
    write_grid(output_dir / IMAGE_NAME, evaluations[0], args.pictures)
    for evaluation in evaluations:
        print("\n".join(describe_metrics(evaluation.metrics)))
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
    labels = read_labels(info)
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
    character_set = find_largest_set([info.character_set, *(each.character_set for each in recognizers)])
    data_sets, sheets = labels.data_sets[indices], labels.sheets[indices]
    form, start = (info.image_size, info.preprocessing), time.perf_counter()
    inputs = read_images(info, indices)
    return EvaluationSet(
        source=DatasetSource(
            str(info.folder), info.sha256, info.database, info.synthetic, part, split_rule=options.split
        ),
        character_set=character_set,
        labels=translate_classes(labels.classes[indices].astype(np.int64), info.character_set, character_set),
        data_sets=data_sets,
        name_image=lambda index: f"data set {data_sets[index]}, sheet {sheets[index]}",
        inputs={form: inputs},
        reading_s={form: time.perf_counter() - start},
        has_character=np.ones(len(indices), dtype=np.bool_),
        not_read=[],
    )


def check_fit(recognizer: Recognizer, info: DatasetInfo) -> None:
    """Refuses images of another size or preprocessing than the network was trained on, or of other characters."""
    if set(info.character_set.characters) - set(recognizer.character_set.characters):
        raise KanjinetError(
            f"{info.folder}: of {info.character_set.title}; {recognizer.path} reads {recognizer.character_set.title}",
            f"prepare a dataset with --characters {recognizer.character_set.name}, or name another model",
        )
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
    smallest = min((each.character_set for each in recognizers), key=lambda each: each.num_classes)
    character_set = find_largest_set([each.character_set for each in recognizers])
    found = list_labeled_images(folder, smallest)
    for name in found.skipped_folders:
        print(f"note       {folder / name}: left out: its name is none of {smallest.title}, nor the code of one")
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
        character_set=character_set,
        labels=translate_classes(found.classes[read], smallest, character_set),
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
    predictions, said_none = predict(recognizer, inputs, images)
    elapsed_s = time.perf_counter() - start
    character_set, codes = images.character_set, images.character_set.jis_codes
    strokes = np.array(stroke_counts(character_set))
    metrics = ModelMetrics(
        model=recognizer.path.name,
        size_bytes=recognizer.path.stat().st_size,
        trained_on_synthetic_sample=recognizer.card.synthetic,
        trained_on=recognizer.card.sources,
        license=recognizer.card.license,
        source=images.source,
        without_character=int(np.count_nonzero(~images.has_character)),
        num_characters=recognizer.character_set.num_classes,
        said_none=said_none,
        not_read=images.not_read,
        character_set=character_set,
        accuracy=predictions.top_k_accuracy(),
        up_to_twins=predictions.top_k_accuracy(up_to_twins=True) if character_set.has_twins else {},
        scripts={
            script: predictions.top_k_accuracy(predictions.is_of(script))
            for script in sorted(SCRIPTS, key=lambda script: script != "kanji")
            if character_set.is_of(script).any()
        },
        writers={} if images.data_sets is None else predictions.accuracy_by(images.data_sets),
        stroke_counts=predictions.accuracy_by(strokes[predictions.labels]),
        calibration=bin_by_confidence(predictions.confidence, predictions.is_correct),
        confusions=predictions.count_confusions(),
        hardest=[
            HardClass(label, accuracy, int(strokes[label]), predictions.list_errors(label), f"{codes[label]:04X}")
            for label, accuracy in predictions.rank_hardest()[:HARDEST_LISTED]
        ],
        images_per_s=len(inputs) / elapsed_s,
        images_per_s_with_reading=len(inputs) / (elapsed_s + images.reading_s[form]),
        comparison=predictions.compare_with(first) if first else {},
        allow=images.allow,
    )
    epochs = read_history(recognizer.path, recognizer.card.options)
    return ModelEvaluation(metrics, predictions, inputs, epochs, images.name_image)


def predict(
    recognizer: Recognizer, inputs: npt.NDArray[np.uint8], images: EvaluationSet
) -> tuple[Predictions, int | None]:
    """Returns predictions, and of how many images the model says that they show none; None where it never says so."""
    allowed = None if images.allow is None else recognizer.character_set.find_allowed(images.allow)
    ranked = np.full((len(inputs), max(TOP_K)), NO_CLASS, dtype=np.int64)
    confidence, of_any = np.empty(len(inputs)), np.empty(len(inputs))
    with tqdm(total=len(inputs), desc=recognizer.path.name, unit="image", leave=False, disable=None) as bar:
        for first in range(0, len(inputs), BLOCK):
            rows = slice(first, first + BLOCK)
            best = recognizer.find_best(inputs[rows], max(TOP_K), allowed)
            ranked[rows, : best.classes.shape[1]], confidence[rows] = best.classes, best.probabilities[:, 0]
            of_any[rows] = best.confidence
            bar.update(len(best.classes))
    ranked[~images.has_character], confidence[~images.has_character] = NO_CLASS, 0
    said_none = None
    if recognizer.card.rejection:
        said_none = int(np.count_nonzero(recognizer.says_none(of_any) & images.has_character))
    ranked = translate_classes(ranked, recognizer.character_set, images.character_set)
    return Predictions(images.labels, ranked, confidence, images.character_set), said_none


def write_grid(path: Path, evaluation: ModelEvaluation, count: int) -> None:
    """Writes a random choice of images with their predictions."""
    predictions = evaluation.predictions
    chosen = np.random.default_rng(0).permutation(len(predictions.labels))[:count]
    character_of = evaluation.metrics.character_of
    labels, predicted = (
        list(map(character_of, classes[chosen].tolist())) for classes in (predictions.labels, predictions.ranked[:, 0])
    )
    write_png(path, draw_image_grid(list(evaluation.images[chosen]), labels, COLUMNS, predicted))


if __name__ == "__main__":
    run_script(main)
