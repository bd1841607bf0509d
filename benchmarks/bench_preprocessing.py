"""Which way of normalizing images reads best: the same short training for each, over several seeds.

Reads:  ETL9G/ (two sample files will do), and real drawings if there are any
Writes: a table
Run:    python benchmarks/bench_preprocessing.py --etl-dir ETL9G --drawings drawings.npz --seeds 3

Each form of preprocessing trains version 3.0 on the same images (--sample-limit of them, split by writers) and is
judged by its test accuracy on writers never seen and on the drawings. `even lines` is what prepare_etl9g_dataset.py
does; `plain` is its --preprocess plain. The others are forms of the handwriting literature, and `box, stretched once`
is the simplest of them: contrast stretched, cropped to the ink, scaled, centered.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from short_training import (
    SIZE,
    Images,
    Result,
    add_options,
    as_samples,
    compare,
    judge,
    load_drawings,
    make_short_trainer,
    train_all_epochs,
)

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.contract import NORMALIZE, PLAIN
from kanjinet.data import etl9g
from kanjinet.data.dataset import concatenate_labels, decode_labels
from kanjinet.data.preprocessing import FILL, INK_SCALE, crop_to_ink, preprocess, resize
from kanjinet.data.splits import choose_samples, split_samples
from kanjinet.training.options import TrainingOptions
from kanjinet.training.samples import TrainingSamples

TARGET = round(SIZE * FILL)
SMALL = 0.3  # of the image's side: `floor` enlarges characters smaller than this to less than TARGET
MOMENT_SPAN = 4.2  # standard deviations of the ink that `moment` takes for a character's width

Form = Callable[[Images], Images]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_preprocessing.py --etl-dir ETL9G --seeds 3")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--forms", nargs="+", choices=FORM_NAMES, default=FORM_NAMES, help="which")
    parser.add_argument("--sample-limit", type=positive_int, default=15_000, help="images, before the split")
    add_options(parser)
    return parser.parse_args()


def keep_aspect(box: Images) -> Images:
    """The longer side to TARGET."""
    return scale_to(box, TARGET / max(box.shape), TARGET / max(box.shape))


def scale_to(box: Images, factor_x: float, factor_y: float) -> Images:
    """Resize by two factors, to whole pixels."""
    height, width = box.shape
    return resize(box, max(1, math.floor(width * factor_x + 0.5)), max(1, math.floor(height * factor_y + 0.5)))


def center(image: Images, center_x: float | None = None, center_y: float | None = None) -> Images:
    """Paste an image into the output so that the given point, or its middle, is in the middle; cut what stands out."""
    height, width = image.shape
    left = round(SIZE / 2 - (width / 2 if center_x is None else center_x))
    top = round(SIZE / 2 - (height / 2 if center_y is None else center_y))
    out = np.zeros((SIZE, SIZE), np.uint8)
    part = image[max(0, -top) : SIZE - top, max(0, -left) : SIZE - left]
    out[max(0, top) : max(0, top) + part.shape[0], max(0, left) : max(0, left) + part.shape[1]] = part
    return out


def form_box(box: Images) -> Images:
    """The ink's box, aspect kept."""
    return center(keep_aspect(box))


def form_floor(box: Images, share: float) -> Images:
    """The box, but characters that take a small share of their image stay smaller, down to half of TARGET."""
    factor = TARGET / max(box.shape) * min(1.0, max(0.5, share / SMALL))
    return center(scale_to(box, factor, factor))


def form_adaptive(box: Images) -> Images:
    """Aspect ratio made milder: the shorter side by sqrt(sin(pi / 2 x ratio)) of the longer.

    Source: Liu et al., "Handwritten digit recognition: investigation of normalization and feature extraction
    techniques", 2004.
    """
    height, width = box.shape
    shorter = TARGET * math.sqrt(math.sin(math.pi / 2 * min(box.shape) / max(box.shape)))
    return center(
        scale_to(box, TARGET / width, shorter / height)
        if width >= height
        else scale_to(box, shorter / width, TARGET / height)
    )


def form_moment(box: Images) -> Images:
    """Centered on the ink's center of gravity, scaled by its second moments."""
    weight = box.astype(np.float64)
    total = weight.sum()
    across, down = np.arange(box.shape[1]) + 0.5, np.arange(box.shape[0]) + 0.5
    columns, rows = weight.sum(axis=0) / total, weight.sum(axis=1) / total
    mean_x, mean_y = columns @ across, rows @ down
    spread = math.sqrt(max(columns @ (across - mean_x) ** 2, rows @ (down - mean_y) ** 2))
    factor = min(TARGET / max(1.0, MOMENT_SPAN * spread), 1.25 * TARGET / max(box.shape))
    return center(scale_to(box, factor, factor), mean_x * factor, mean_y * factor)


def form_line_density(box: Images) -> Images:
    """Lines spread evenly: each axis is stretched where strokes are dense.

    Source: Tsukumo and Tanaka, "Classification of handprinted Chinese characters using nonlinear normalization and
    correlation methods", 1988.
    """
    image = keep_aspect(box)
    height, width = image.shape
    strokes = image >= 96
    left = even_out(measure_density(strokes))
    top = even_out(measure_density(strokes.T))
    across = np.interp((np.arange(width) + 0.5) / width, left, np.linspace(0, width, width + 1)) - 0.5
    down = np.interp((np.arange(height) + 0.5) / height, top, np.linspace(0, height, height + 1)) - 0.5
    map_x, map_y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    return center(
        np.asarray(cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    )


def measure_density(strokes: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(height, width) -> (width,): the sum over the rows of 1 / distance between the strokes on either side."""
    height, width = strokes.shape
    starts = strokes & ~np.pad(strokes, ((0, 0), (1, 0)))[:, :-1]
    number = np.cumsum(starts, axis=1) + np.arange(height)[:, None] * (width + 1)  # of each pixel's run
    lengths = np.bincount(number.ravel(), minlength=height * (width + 1))
    density = 1 / lengths[number]
    is_outside = (np.cumsum(starts, axis=1) == 0) | (np.cumsum(starts, axis=1) == starts.sum(axis=1)[:, None])
    density[is_outside] = 0.5 / width
    total: npt.NDArray[np.float64] = density.sum(axis=0)
    return total


def even_out(density: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) density -> (n + 1,) rising from 0 to 1: where each border between pixels goes."""
    damped = density + density.mean()
    return np.concatenate([[0.0], np.cumsum(damped) / damped.sum()])


VERSIONS = {"plain": PLAIN, "even lines": NORMALIZE}  # those of the toolkit
FORMS: dict[str, Form] = {
    "box": form_box,
    "box, stretched once": form_box,
    "adaptive": form_adaptive,
    "moment": form_moment,
    "line density": form_line_density,
}

FORM_NAMES = ["plain", "floor", *FORMS, "even lines"]


def apply_form(name: str, ink: Images, *, cells: bool) -> Images:
    """(n, height, width) -> (n, 64, 64) by a form's name."""
    if name in VERSIONS:
        return preprocess(ink, SIZE, VERSIONS[name], cells=cells)
    out = np.zeros((len(ink), SIZE, SIZE), np.uint8)
    for index, box in crop_to_ink(ink, cells=cells):
        box = stretch(box)
        out[index] = form_floor(box, max(box.shape) / max(ink.shape[1:])) if name == "floor" else FORMS[name](box)
    if name != "box, stretched once":  # thin strokes of large drawings become faint as they shrink
        for image in out:
            image[:] = stretch(image)
    return out


def stretch(image: Images) -> Images:
    """The darkest pixel to 255."""
    return np.rint(image * (255 / max(1, int(image.max())))).astype(np.uint8)


def train_and_judge(name: str, seed: int, args: argparse.Namespace) -> Result:
    """One training with one form."""
    parts = load_parts(args.etl_dir, name, args.sample_limit, seed)
    trainer = make_short_trainer(parts["train"], TrainingOptions(epochs=args.epochs, seed=seed), args.jobs)
    drawings = load_drawings(args.drawings, lambda ink: apply_form(name, ink, cells=False))
    return judge(name, seed, train_all_epochs(trainer), parts["test"], drawings)


def load_parts(etl_dir: Path, name: str, limit: int, seed: int) -> dict[str, TrainingSamples]:
    """Training and test images, straight from the ETL9G files."""
    files = etl9g.find_etl9g_files(etl_dir)
    opened = [etl9g.open_records(file.path) for file in files]
    labels = concatenate_labels([decode_labels(file, records) for file, records in zip(files, opened, strict=True)])
    packed = np.concatenate([records["pixels"] for records in opened])
    parts = split_samples(labels, choose_samples(labels.classes, limit, seed), "writers", seed)
    return {
        part: as_samples(
            apply_form(name, etl9g.unpack_pixels(packed[indices], INK_SCALE), cells=True), labels.classes[indices]
        )
        for part, indices in parts.items()
        if part != "validation"
    }


def main() -> None:
    """Train with every form."""
    args = parse_args()
    print(f"{args.sample_limit:,} images, {args.epochs} epochs, {args.seeds} seeds")
    compare(train_and_judge, args.forms, args)


if __name__ == "__main__":
    run_script(main)
