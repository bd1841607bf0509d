"""How well a model recognizes writers that it never saw, and images worse than those that it was trained on.

Reads:  a model file (.pth, .safetensors or .onnx), the package kanjivg, and real drawings if there are any
Writes: a table, and the most frequent errors
Run:    python benchmarks/judge_model.py --model best_kanji_model.pth --drawings drawings.npz

The images are of characters by simulated writers with a seed of their own: as they are, and made worse in the ways
in which images from elsewhere are. A third of the characters are hiragana. With --views, the probabilities of several
augmented views of each image are averaged too: test-time augmentation. A second table has images of other things, by
more such writers: how many are predicted with more than 90 %, and how many are said to show none of the characters.
A model of more characters than ETL9G's is tested on those too, of each script, by strokes or with --fonts by these.
"""

import common  # noqa: F401  (puts the toolkit on the path)
from kanjinet.cli import ALLOW_HELP, make_parser, positive_int, run_script

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from kanjinet.classes import ETL9G_SET, NO_CLASS, NUM_CLASSES, NUM_HIRAGANA, SCRIPTS, CharacterSet, translate_classes
from kanjinet.data.drawings import Drawings, read_drawings
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.evaluation.metrics import Predictions
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer
from kanjinet.synth.font_writers import FontWriter, Way, draw_known_glyphs
from kanjinet.synth.fonts import Font, find_fonts
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.other_characters import Kind
from kanjinet.synth.others import list_kinds, write_others
from kanjinet.synth.repertoire import numbers_of
from kanjinet.synth.writers import DEFAULT_DIFFICULTY, sample_writer
from kanjinet.training.accuracy import bin_by_confidence, calibration_error
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.samples import to_float_images

SEED = 20_260_000  # of writers whom no sample file has
CHARACTERS_EACH = 40
OTHERS_EACH = 4  # of each kind
SURE = 0.9
ERRORS_SHOWN = 24
OTHER_VIEW = replace(Augmentation(), widen=0, narrow=0, contrast=0, coarse=0, halo=0, noise=0, gain=0)

ImageArray = npt.NDArray[np.uint8]


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/judge_model.py --model best_kanji_model.pth")
    parser.add_argument("--model", type=Path, required=True, help="the model: .pth, .safetensors or .onnx")
    parser.add_argument("--drawings", type=Path, help=".npz of real drawings (arrays images and characters)")
    parser.add_argument("--writers", type=positive_int, default=100, help="simulated writers, of 40 characters each")
    parser.add_argument("--allow", help=f"which characters may be predicted: {ALLOW_HELP}")
    parser.add_argument("--fonts", type=Path, help="fonts that write the characters beyond ETL9G's (default: strokes)")
    parser.add_argument("--views", type=positive_int, help="also average over so many augmented views of each image")
    return parser.parse_args()


def write_characters(writers: int) -> Drawings:
    """Writes cells (n, 127, 128) by writers of their own, without neighbors' fragments."""
    cells, classes = [], []
    for writer in range(writers):
        rng = np.random.default_rng([SEED, writer])
        is_kana = rng.random(CHARACTERS_EACH) < 1 / 3
        chosen = rng.integers(np.where(is_kana, 0, NUM_HIRAGANA), np.where(is_kana, NUM_HIRAGANA, NUM_CLASSES))
        style = sample_writer(rng, DEFAULT_DIFFICULTY)
        cells.append(write_sheet(chosen, style, rng, with_fragments=False) * np.uint8(INK_SCALE))
        classes.append(chosen)
    return Drawings(np.concatenate(cells), np.concatenate(classes))


def stretch(cell: ImageArray) -> npt.NDArray[np.float32]:
    """Scales a cell so that its darkest ink is 255."""
    return cell * np.float32(255 / max(1, int(cell.max())))


def make_one_bit(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """Halves the size, in black and white."""
    small = cv2.resize(stretch(cell), (64, 63), interpolation=cv2.INTER_AREA)
    return np.where(small > 0.4 * small.max(), np.uint8(255), np.uint8(0))


def make_small_jpeg(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """Reduces to a quarter, as JPEG: with a gray halo round the ink."""
    small = 255 - np.rint(cv2.resize(stretch(cell), (32, 32), interpolation=cv2.INTER_AREA)).astype(np.uint8)
    _, file = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return 255 - np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def make_dirty(cell: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Makes the ink faint and the paper gray, noisy, and darker towards one side."""
    paper = rng.uniform(5, 40) + rng.normal(0, 4, cell.shape) + np.linspace(0, rng.uniform(-15, 15), cell.shape[1])
    return np.clip(0.6 * stretch(cell) + paper, 0, 255).astype(np.uint8)


def make_thin(cell: ImageArray, _rng: np.random.Generator) -> ImageArray:
    """Narrows the strokes by two pixels of the cell."""
    return np.asarray(cv2.erode(stretch(cell), np.ones((3, 3))), dtype=np.uint8)


def make_specked(cell: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Adds three specks in or beside a character."""
    specked = np.rint(stretch(cell)).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(specked)
    for _ in range(3):
        across, down = rng.uniform(-0.1, 1.1, 2)
        middle = (round(left + across * width), round(top + down * height))
        cv2.circle(specked, middle, int(rng.integers(1, 3)), 255, cv2.FILLED)
    return specked


CORRUPTIONS: dict[str, Callable[[ImageArray, np.random.Generator], ImageArray]] = {
    "as they are": lambda cell, _rng: cell,
    "one bit, 64 pixels": make_one_bit,
    "JPEG of 32 pixels": make_small_jpeg,
    "faint on dirty paper": make_dirty,
    "thin strokes": make_thin,
    "three specks": make_specked,
}


def write_others_of(kind: Kind, writers: int, character_set: CharacterSet) -> Drawings:
    """Writes images (n, 127, 128) of one kind of other things."""
    cells = []
    for writer in range(writers):
        rng = np.random.default_rng([SEED, 1, writer])
        style = sample_writer(rng, DEFAULT_DIFFICULTY)
        cells.append(write_others([kind] * OTHERS_EACH, style, rng, character_set=character_set) * np.uint8(INK_SCALE))
    return Drawings(np.concatenate(cells), np.full(writers * OTHERS_EACH, NO_CLASS))


def write_more(character_set: CharacterSet, script: str, writers: int, fonts: tuple[Font, ...]) -> Drawings:
    """Writes cells (n, 127, 128) of a script's characters that ETL9G lacks, each writer with one of the fonts."""
    is_known = np.isin(list(character_set.characters), list(ETL9G_SET.characters))
    members = np.flatnonzero(character_set.is_of(script) & ~is_known)
    cells, classes = [], []
    for writer in range(writers):
        rng = np.random.default_rng([SEED, 2, writer])
        chosen, style = rng.choice(members, CHARACTERS_EACH), sample_writer(rng, DEFAULT_DIFFICULTY)
        font_writers = [FontWriter(fonts[writer % len(fonts)], Way.RAW, 0, 0, 0)] if fonts else []
        numbers = numbers_of(character_set, chosen)
        written = write_sheet(numbers, style, rng, with_fragments=False, font_writers=font_writers)
        is_by_font = np.ones(len(chosen), bool)
        for font_writer in font_writers:
            is_by_font = draw_known_glyphs(font_writer.font, numbers)[0]
        cells.append(written[is_by_font] * np.uint8(INK_SCALE))
        classes.append(chosen[is_by_font])
    return Drawings(np.concatenate(cells), np.concatenate(classes))


def list_tests(args: argparse.Namespace, character_set: CharacterSet) -> Iterator[tuple[str, Drawings]]:
    """Yields the images of each test, labeled with the set's classes, with its name."""
    written = write_characters(args.writers)
    for name, change in CORRUPTIONS.items():
        rng = np.random.default_rng(SEED)
        worse = np.stack([change(cell, rng) for cell in written.ink])
        yield f"sample writers, {name}", Drawings(worse, translate_classes(written.classes, ETL9G_SET, character_set))
    if args.drawings:
        yield "real drawings", read_drawings(args.drawings, character_set)
    fonts = find_fonts(args.fonts, character_set) if args.fonts else ()
    for script in SCRIPTS if character_set != ETL9G_SET else ():
        written = write_more(character_set, script, args.writers, fonts)
        if len(written.classes):  # else no font has any
            yield f"{'fonts' if fonts else 'sample writers'}, more {script}", written


def predict(
    recognizer: Recognizer, images: Drawings, other_views: int, allow: str | None = None
) -> tuple[Predictions, npt.NDArray[np.bool_]]:
    """Predicts labeled images as the recognizer does, averaged over as many other views of each.

    Returns:
        The predictions, whose confidence is that of twins together, and which images (n,) are said to be none.
    """
    known = recognizer.character_set
    inputs = preprocess(images.ink, recognizer.image_size, recognizer.card.preprocessing, cells=False)
    probabilities = compute_probabilities(recognizer, inputs)
    torch.manual_seed(SEED)
    for _ in range(other_views):
        probabilities += compute_probabilities(recognizer, augment(inputs))
    probabilities /= 1 + other_views
    said_none = recognizer.says_none(known.sum_twins(probabilities).max(axis=1))
    allowed = np.ones(known.num_classes, dtype=np.bool_) if allow is None else known.find_allowed(allow)
    probabilities[:, ~allowed] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    ranked = np.full((len(inputs), 5), NO_CLASS)
    count = min(5, int(np.count_nonzero(allowed)))
    ranked[:, :count] = recognizer.rank(probabilities, probabilities, count, allowed)
    return Predictions(images.classes, ranked, known.sum_twins(probabilities).max(axis=1), known), said_none


def compute_probabilities(recognizer: Recognizer, inputs: ImageArray) -> npt.NDArray[np.float64]:
    """Computes the probability of each class, (n, classes), for network inputs (n, S, S)."""
    logits = torch.from_numpy(recognizer.compute_logits(inputs).astype(np.float64))
    return np.asarray(logits.softmax(1).numpy())


def augment(inputs: ImageArray) -> ImageArray:
    """Turns, shears, stretches, shifts and bends each network input (n, S, S) a little."""
    augmented = OTHER_VIEW(to_float_images(torch.from_numpy(inputs)))
    return np.asarray((augmented[:, 0] * 255).round().to(torch.uint8).numpy())


def main() -> None:
    keep_freed_memory()
    args = parse_args()
    recognizer = load_recognizer(args.model)
    print(f"{args.model}, {args.writers} writers of {CHARACTERS_EACH} characters ({SAMPLE_NOTE})")
    print(
        f"{'':38}{'images':>9}{'top-1':>10}{'top-5':>10}{'hiragana':>10}{'kanji':>10}{'calibration error':>20}"
        f"{'up to twins' if recognizer.character_set.has_twins else '':>13}".rstrip()
    )
    found = {}
    for name, images in list_tests(args, recognizer.character_set):
        found[name] = predict(recognizer, images, 0, args.allow)
        print_test(name, found[name][0])
        if args.views:
            with_views, _ = predict(recognizer, images, args.views, args.allow)
            print_test(f"    {args.views} other views of each too", with_views)
    print(f"{'':38}{'images':>9}{'above 90 %':>16}{'said to be none':>16}")
    for kind in list_kinds(recognizer.character_set):
        found[kind.value] = predict(recognizer, write_others_of(kind, args.writers, recognizer.character_set), 0)
    for name, (predictions, said_none) in found.items():
        sure = (predictions.confidence > SURE).mean()
        print(f"{name:38}{len(said_none):9,}{sure:16.2%}{said_none.mean():16.2%}")


def print_test(name: str, predictions: Predictions) -> None:
    """Prints the metrics of a test and its most frequent errors."""
    both = predictions.top_k_accuracy()
    kana, kanji = (predictions.top_k_accuracy(predictions.is_of(script)) for script in ("hiragana", "kanji"))
    shown = (both[1], both[5], kana.get(1), kanji.get(1))
    columns = "".join(f"{accuracy.value:10.2%}" if accuracy else f"{'–':>10}" for accuracy in shown)
    group = predictions.character_set.twin_group
    is_one_of_twins = group[predictions.ranked[:, 0]] == group[predictions.labels]
    error = calibration_error(bin_by_confidence(predictions.confidence, is_one_of_twins))
    twins = ""
    if predictions.character_set.has_twins:
        twins = f"{predictions.top_k_accuracy(up_to_twins=True)[1].value:13.2%}"
    print(f"{name:38}{both[1].samples:9,}{columns}{error:20.2%}{twins}")
    errors = predictions.count_confusions()[:ERRORS_SHOWN]
    names = predictions.character_set.characters
    print("    " + " ".join(f"{names[label]}>{names[other]} {count}" for label, other, count in errors))


if __name__ == "__main__":
    run_script(main)
