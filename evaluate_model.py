"""Measure how well a trained network reads: any exported file, on any part of a dataset, with a picture of it.

Reads:  a model (.pth, .safetensors or .onnx) and dataset/
Writes: evaluation/evaluation.json, evaluation/predictions.png
Run:    python evaluate_model.py --model kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir dataset --split test
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS, NUM_HIRAGANA
from kanjinet.cli import SAMPLE_NOTE, make_parser, positive_int, run_script, show_path
from kanjinet.contact_sheet import Reading, draw_readings, write_png
from kanjinet.dataset import DatasetInfo, Labels, read_dataset_info, read_images, read_labels
from kanjinet.errors import KanjinetError
from kanjinet.files import make_folder, write_json
from kanjinet.recognizer import Recognizer, load_recognizer
from kanjinet.splits import PARTS, Indices, split_as_trained

TOP_K = (1, 3, 5)
RESULT_NAME = "evaluation.json"
PICTURE_NAME = "predictions.png"
COLUMNS = 16


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        __doc__, "python evaluate_model.py --model best_kanji_model.pth --data-dir dataset --split test"
    )
    parser.add_argument("--model", type=Path, required=True, help="a .pth, .safetensors or .onnx file")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the prepared dataset")
    parser.add_argument(
        "--split",
        choices=(*PARTS, "all"),
        default="test",
        help="part of the dataset, divided as for the model's training",
    )
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation"), help="folder for the results")
    parser.add_argument("--pictures", type=positive_int, default=96, help="characters in the picture")
    return parser.parse_args()


@dataclass(frozen=True)
class Answers:
    """For n pictures: the true classes (n,), and the five best classes (n, 5), best first."""

    truth: npt.NDArray[np.int64]
    ranked: npt.NDArray[np.int64]

    def accuracies(self, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, float | int]:
        """Top-1, 3 and 5 accuracy as shares, 0-1, with the number of pictures."""
        hits = self.ranked == self.truth[:, None]
        hits = hits if chosen is None else hits[chosen]
        if not len(hits):
            return {"samples": 0}
        return {**{f"top{k}": float(hits[:, :k].any(axis=1).mean()) for k in TOP_K}, "samples": len(hits)}


def main() -> None:
    """Load, read, write the figures and the picture."""
    args = parse_args()
    recognizer = load_recognizer(args.model)
    info = read_dataset_info(args.data_dir)
    check_fit(recognizer, info)
    labels = read_labels(info.folder, info.chunks)
    indices = choose_part(recognizer, info, labels, args.split)
    images = read_images(info, indices)
    start = time.perf_counter()
    scores = recognizer.compute_scores(images)
    elapsed_s = time.perf_counter() - start
    answers = Answers(labels.classes[indices].astype(np.int64), np.argsort(-scores, axis=1)[:, : max(TOP_K)])
    output_dir = make_folder(args.output_dir)
    result = describe_result(recognizer, info, args.split, answers)
    write_json(output_dir / RESULT_NAME, result)
    draw_picture(output_dir / PICTURE_NAME, images, answers, args.pictures)
    print_result(result, output_dir, elapsed_s)


def check_fit(recognizer: Recognizer, info: DatasetInfo) -> None:
    """Refuse pictures of another size or preprocessing than the network was trained on.

    Raises:
        KanjinetError: with the remedy.
    """
    wanted = recognizer.image_size, recognizer.preprocessing
    if (info.image_size, info.preprocessing) != wanted:
        raise KanjinetError(
            f"{info.folder}: pictures of {info.image_size} pixels, preprocessing {info.preprocessing}; "
            f"{recognizer.path} needs {wanted[0]} pixels, {wanted[1]}: "
            f"run prepare_etl9g_dataset.py --size {wanted[0]} into another folder"
        )


def choose_part(recognizer: Recognizer, info: DatasetInfo, labels: Labels, part: str) -> Indices:
    """Indices of the part's samples: the very ones of the model's own training where it was trained on this dataset."""
    if part == "all":
        return np.arange(len(labels))
    if recognizer.training["dataset_sha256"] != info.sha256:
        print(f"note       {show_path(recognizer.path)} was trained on another dataset; the split is made anew here")
    return split_as_trained(labels, info.sha256, recognizer.training)[part]


def describe_result(recognizer: Recognizer, info: DatasetInfo, part: str, answers: Answers) -> dict[str, Any]:
    """The content of evaluation.json; accuracies are shares, 0-1."""
    is_hiragana = answers.truth < NUM_HIRAGANA
    return {
        "model": recognizer.path.name,
        "dataset": str(info.folder),
        "dataset_sha256": info.sha256,
        "synthetic": info.synthetic,
        "split": part,
        "split_rule": recognizer.training["split"],
        **answers.accuracies(),
        "kanji": answers.accuracies(~is_hiragana),
        "hiragana": answers.accuracies(is_hiragana),
    }


def draw_picture(path: Path, images: npt.NDArray[np.uint8], answers: Answers, count: int) -> None:
    """A random choice of characters with what was read, right in green and wrong in red."""
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    readings = [
        Reading(images[i], CHARACTERS[int(answers.truth[i])], CHARACTERS[int(answers.ranked[i, 0])]) for i in chosen
    ]
    write_png(path, draw_readings(readings, COLUMNS))


def print_result(result: dict[str, Any], output_dir: Path, elapsed_s: float) -> None:
    """The figures, aligned, and where the files are."""
    note = f" ({SAMPLE_NOTE})" if result["synthetic"] else ""
    print(f"model      {result['model']}, split {result['split']} of {result['split_rule']}{note}")
    for name, figures in (("all", result), ("kanji", result["kanji"]), ("hiragana", result["hiragana"])):
        if figures["samples"]:
            shares = "  ".join(f"top-{k} {figures[f'top{k}']:7.2%}" for k in TOP_K)
            print(f"{name:10} {shares}  of {figures['samples']:,} pictures")
    print(f"speed      {result['samples'] / elapsed_s:,.0f} pictures/s")
    print(f"written    {show_path(output_dir / RESULT_NAME)}, {show_path(output_dir / PICTURE_NAME)}")


if __name__ == "__main__":
    run_script(main)
