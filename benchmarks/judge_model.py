"""How a trained model reads hands that it never saw, and images worse than those that it was trained on.

Reads:  a model file (.pth, .safetensors or .onnx), the package kanjivg, and real drawings if there are any
Writes: a table, and the commonest mistakes
Run:    python benchmarks/judge_model.py --model best_kanji_model.pth --drawings drawings.npz

The images are of characters by simulated writers with a seed of their own: as they are, and made worse in the ways
in which images from elsewhere are. A third of the characters are hiragana. With --views, each image is also read
several times, turned and bent a little otherwise, and the mean of the probabilities counts: test-time augmentation.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.classes import CHARACTERS, NUM_CLASSES, NUM_HIRAGANA
from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.data.drawings import Drawings, read_drawings
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.evaluation.metrics import measure_calibration
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer
from kanjinet.synth.glyph_table import read_glyph_table
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.writers import DEFAULT_DIFFICULTY, sample_writer
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.trainer import as_input

SEED = 20_260_000  # of writers whom no sample file has
CHARACTERS_EACH = 40
MISTAKES_SHOWN = 24
OTHER_VIEW = replace(Augmentation(), widen=0, narrow=0, contrast=0, coarse=0, halo=0, noise=0, gain=0)

ImageArray = npt.NDArray[np.uint8]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/judge_model.py --model best_kanji_model.pth")
    parser.add_argument("--model", type=Path, required=True, help="the model: .pth, .safetensors or .onnx")
    parser.add_argument("--drawings", type=Path, help=".npz of real drawings (arrays images and characters)")
    parser.add_argument("--writers", type=positive_int, default=100, help="simulated writers, of 40 characters each")
    parser.add_argument("--views", type=positive_int, help="also read so many more views of each image")
    return parser.parse_args()


def write_characters(writers: int) -> Drawings:
    """Cells (n, 127, 128) by writers of their own, without neighbors' fragments."""
    table = read_glyph_table()
    cells, classes = [], []
    for writer in range(writers):
        rng = np.random.default_rng([SEED, writer])
        is_kana = rng.random(CHARACTERS_EACH) < 1 / 3
        chosen = rng.integers(np.where(is_kana, 0, NUM_HIRAGANA), np.where(is_kana, NUM_HIRAGANA, NUM_CLASSES))
        hand = sample_writer(rng, DEFAULT_DIFFICULTY)
        cells.append(write_sheet(table, chosen, hand, rng, with_fragments=False) * np.uint8(INK_SCALE))
        classes.append(chosen)
    return Drawings(np.concatenate(cells), np.concatenate(classes))


def stretch(cell: ImageArray) -> npt.NDArray[np.float32]:
    """The same with 255 for the darkest ink."""
    return cell * np.float32(255 / max(1, int(cell.max())))


def make_one_bit(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """Half the size, black or white."""
    small = cv2.resize(stretch(cell), (64, 63), interpolation=cv2.INTER_AREA)
    return np.where(small > 0.4 * small.max(), np.uint8(255), np.uint8(0))


def make_small_jpeg(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """A quarter of the size, dark on white, as JPEG: with a gray halo round the ink."""
    small = 255 - np.rint(cv2.resize(stretch(cell), (32, 32), interpolation=cv2.INTER_AREA)).astype(np.uint8)
    _, file = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return 255 - np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def make_dirty(cell: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Faint ink on gray paper that is noisy, and darker towards one side."""
    paper = rng.uniform(5, 40) + rng.normal(0, 4, cell.shape) + np.linspace(0, rng.uniform(-15, 15), cell.shape[1])
    return np.clip(0.6 * stretch(cell) + paper, 0, 255).astype(np.uint8)


def make_thin(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """Strokes narrower by two pixels of the cell."""
    return np.asarray(cv2.erode(stretch(cell), np.ones((3, 3))), dtype=np.uint8)


WAYS: dict[str, Callable[[ImageArray, np.random.Generator], ImageArray]] = {
    "as they are": lambda cell, _rng: cell,
    "one bit, 64 pixels": make_one_bit,
    "JPEG of 32 pixels": make_small_jpeg,
    "faint on dirty paper": make_dirty,
    "thin strokes": make_thin,
}


def list_tests(args: argparse.Namespace) -> Iterator[tuple[str, Drawings]]:
    """Images to judge by, with their names."""
    written = write_characters(args.writers)
    for name, change in WAYS.items():
        rng = np.random.default_rng(SEED)
        worse = np.stack([change(cell, rng) for cell in written.ink])
        yield f"sample writers, {name}", Drawings(worse, written.classes)
    if args.drawings:
        yield "real drawings", read_drawings(args.drawings)


def read(
    recognizer: Recognizer, images: Drawings, other_views: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The five best classes of each image, (n, 5), the best first, and how likely the best is said to be, (n,)."""
    inputs = preprocess(images.ink, recognizer.image_size, recognizer.preprocessing, cells=False)
    chances = compute_chances(recognizer, inputs)
    torch.manual_seed(SEED)
    for _ in range(other_views):
        chances += compute_chances(recognizer, vary(inputs))
    best = np.argsort(-chances, axis=1, kind="stable")[:, :5]
    return best, chances.max(axis=1) / (1 + other_views)


def compute_chances(recognizer: Recognizer, inputs: ImageArray) -> npt.NDArray[np.float64]:
    """The probability of each class, (n, 3036), for prepared images (n, S, S)."""
    logits = recognizer.compute_logits(inputs).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def vary(inputs: ImageArray) -> ImageArray:
    """Prepared images (n, S, S), each turned, sheared, stretched, shifted and bent a little."""
    varied = OTHER_VIEW(as_input(torch.from_numpy(inputs)))
    return np.asarray((varied[:, 0] * 255).round().to(torch.uint8).numpy())


def main() -> None:
    """Two lines a test, and two more for several views."""
    keep_freed_memory()
    args = parse_args()
    recognizer = load_recognizer(args.model)
    print(f"{args.model}, {args.writers} writers of {CHARACTERS_EACH} characters ({SAMPLE_NOTE})")
    print(f"{'':38}{'images':>9}{'top-1':>10}{'top-5':>10}{'hiragana':>10}{'kanji':>10}{'calibration error':>20}")
    for name, images in list_tests(args):
        print_test(name, images.classes, *read(recognizer, images, 0))
        if args.views:
            found = read(recognizer, images, args.views)
            print_test(f"    {args.views} other views of each too", images.classes, *found)


def print_test(
    name: str, classes: npt.NDArray[np.int64], best: npt.NDArray[np.int64], confidence: npt.NDArray[np.float64]
) -> None:
    """The figures of a test and its commonest mistakes, from the classes (n,) and what `read` found."""
    hits = best == classes[:, None]
    is_kana = classes < NUM_HIRAGANA
    shares = [hits[:, 0].mean(), hits.any(axis=1).mean(), hits[is_kana, 0].mean(), hits[~is_kana, 0].mean()]
    error = measure_calibration(confidence, hits[:, 0]).error
    print(f"{name:38}{len(hits):9,}" + "".join(f"{share:10.2%}" for share in shares) + f"{error:20.2%}")
    wrong = ~hits[:, 0]
    pairs = zip(classes[wrong], best[wrong, 0], strict=True)
    mistakes = Counter(f"{CHARACTERS[wanted]}>{CHARACTERS[found]}" for wanted, found in pairs)
    print("    " + " ".join(f"{pair} {count}" for pair, count in mistakes.most_common(MISTAKES_SHOWN)))


if __name__ == "__main__":
    run_script(main)
