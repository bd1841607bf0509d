"""Which way of normalizing images reads best: the same short training for each, over several seeds.

Reads:  ETL9G/ (two sample files will do), and real drawings if there are any
Writes: a table
Run:    python benchmarks/bench_preprocessing.py --etl-dir ETL9G --drawings drawings.npz --seeds 3

Each form of preprocessing trains version 3.0 on the same images (--sample-limit of them, split by writers) and is
judged by its test accuracy on writers never seen and on the drawings. `even lines` is what prepare_etl9g_dataset.py
does, `plain` is its --preprocess plain, and `box` crops to the ink, keeps the aspect, scales and centers.
"""

import argparse
from pathlib import Path

import numpy as np
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

VERSIONS = {"plain": PLAIN, "even lines": NORMALIZE}  # those of the toolkit
FORMS = ["plain", "box", "even lines"]


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_preprocessing.py --etl-dir ETL9G --seeds 3")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="which")
    parser.add_argument("--sample-limit", type=positive_int, default=15_000, help="images, before the split")
    add_options(parser)
    return parser.parse_args()


def apply_form(name: str, ink: Images, *, cells: bool) -> Images:
    """Preprocesses images (n, height, width) by a form's name, to (n, 64, 64)."""
    if name in VERSIONS:
        return preprocess(ink, SIZE, VERSIONS[name], cells=cells)
    out = np.zeros((len(ink), SIZE, SIZE), np.uint8)
    for index, box in crop_to_ink(ink, cells=cells):
        height, width = (max(1, round(side * SIZE * FILL / max(box.shape))) for side in box.shape)
        image = resize(stretch(box), width, height)
        top, left = (SIZE - height) // 2, (SIZE - width) // 2
        out[index, top : top + height, left : left + width] = stretch(image)  # thin strokes pale as they shrink
    return out


def stretch(image: Images) -> Images:
    """Stretches the contrast until the darkest pixel is 255."""
    return np.rint(image * (255 / max(1, int(image.max())))).astype(np.uint8)


def train_and_judge(name: str, seed: int, args: argparse.Namespace) -> Result:
    """Trains once with one form, and judges the result."""
    parts = load_parts(args.etl_dir, name, args.sample_limit, seed)
    trainer = make_short_trainer(parts["train"], TrainingOptions(epochs=args.epochs, seed=seed), args.jobs)
    drawings = load_drawings(args.drawings, lambda ink: apply_form(name, ink, cells=False))
    return judge(name, seed, train_all_epochs(trainer), parts["test"], drawings)


def load_parts(etl_dir: Path, name: str, limit: int, seed: int) -> dict[str, TrainingSamples]:
    """Loads training and test images, straight from the ETL9G files."""
    files = etl9g.find_etl9g_files(etl_dir)
    opened = [etl9g.open_records(file.path) for file in files]
    labels = concatenate_labels([decode_labels(file, records) for file, records in zip(files, opened, strict=True)])
    packed = np.concatenate([records["pixels"] for records in opened])
    parts = split_samples(labels, choose_samples(labels.classes, limit, seed), "writers", seed)
    return {
        part: as_samples(
            apply_form(name, etl9g.unpack_pixels(packed[parts[part]], INK_SCALE), cells=True),
            labels.classes[parts[part]],
        )
        for part in ("train", "test")
    }


def main() -> None:
    """Trains with every form."""
    args = parse_args()
    print(f"{args.sample_limit:,} images, {args.epochs} epochs, {args.seeds} seeds")
    compare(train_and_judge, args.forms, args)


if __name__ == "__main__":
    run_script(main)
