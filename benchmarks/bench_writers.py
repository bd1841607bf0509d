"""What each source of variety among the simulated writers is worth: a short training without it.

Reads:  the package kanjivg, and real drawings if there are any
Writes: a table
Run:    python benchmarks/bench_writers.py --drawings drawings.npz --seeds 3

Every training sees the same number of characters, by writers who do not vary in one respect, and is judged on the
characters of complete writers whom it never saw, and on the drawings. The lower a line, the more its source is worth.
The last lines are of trainings that differ otherwise: in the difficulty of all writers, or in what is shown how often.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from short_training import (
    NO_AUGMENTATION,
    SIZE,
    Result,
    TrainAndJudge,
    add_options,
    as_samples,
    compare,
    judge,
    load_drawings,
    make_short_trainer,
    train_all_epochs,
)

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.contract import NORMALIZE
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.model import LightweightKanjiNet
from kanjinet.synth.glyph_table import FORMS, GlyphTable, read_glyph_table
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.rasterizer import Ink
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import DEFAULT_DIFFICULTY, sample_writer
from kanjinet.training.options import TrainingOptions
from kanjinet.training.samples import TrainingSamples

TEST_SETS = 2


# name -> what is constant in the writers of a training; what varies from stroke to stroke within a style stays
SOURCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "proportions of parts": {"component_shift": 0, "component_scale": 0, "component_sizes": np.ones(3)},
    "place, angle, length of strokes": dict.fromkeys(
        ("stroke_shift", "stroke_turn", "stroke_length", "touch_slide", "mark_freedom"), 0
    ),
    "shape of strokes": {"kanji_reshape": 0, "kana_reshape": 0},
    "curvature, tremor, corners": dict.fromkeys(
        ("bow", "bow_across", "bow_down", "tremor", "roundness", "angularity"), 0
    ),
    "hooks": {"hook_length": 1},
    "joined strokes and flicks": {"join_rate": 0, "kana_join_rate": 0, "flick_rate": 0},
    "order of strokes": {"swap_rate": 0},
    "other forms of characters": {"form_weights": np.eye(len(FORMS))[0]},
    "slant, warp, aspect": {"slant": 0, "rise": 0, "warp": np.zeros((2, 6)), "aspect": 0.85, "kana_aspect": 1},
    "pens and ink": {"pen_width": 3.1, "pressure": 0.3, "ink": Ink(level=7.35, grain=0.1, grain_size=0.8, blur=0.55)},
    "neighbors' fragments": {},
    "haste and most variety": {},
    "augmentation": {},
    "repetition": {},  # as many images, every one of them new
}
DIFFICULTIES = {"haste and most variety": 0.0, "(difficulty 0.25)": 0.25, "(difficulty 0.75)": 0.75}
REPEATS = {"(hiragana shown 6 times)": 6}
LINES = list(dict.fromkeys([*SOURCES, *DIFFICULTIES, *REPEATS]))


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_writers.py --drawings drawings.npz --seeds 3")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=LINES, help="lines of the table")
    add_writer_options(parser)
    return parser.parse_args()


def add_writer_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the comparisons that write their own images."""
    parser.add_argument("--sets", type=positive_int, default=4, help="data sets of 3,036 characters to train on")
    add_options(parser)


def write_samples(table: GlyphTable, number_of_sets: int, seed: int, line: str) -> TrainingSamples:
    """Writes data sets by new writers, 20 sheets by 20 writers each, and preprocesses them."""
    difficulty = DIFFICULTIES.get(line, DEFAULT_DIFFICULTY)
    images, classes = [], []
    for number in range(number_of_sets):
        for sheet, sheet_classes in enumerate(list_sheet_classes()):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, sheet)))
            writer = replace(sample_writer(rng, difficulty), **SOURCES.get(line, {}))
            cells = write_sheet(table, sheet_classes, writer, rng, with_fragments=line != "neighbors' fragments")
            images.append(preprocess(cells * np.uint8(INK_SCALE), SIZE, NORMALIZE, cells=True))
            classes.append(sheet_classes)
    return as_samples(np.concatenate(images), np.concatenate(classes))


def train_and_judge(line: str, seed: int, args: argparse.Namespace) -> Result:
    """Trains for one line of the table, and judges the result."""
    table = read_glyph_table()
    sets, epochs = (args.sets * args.epochs, 1) if line == "repetition" else (args.sets, args.epochs)
    samples = write_samples(table, sets, 2 * seed, line)
    augmentation = NO_AUGMENTATION if line == "augmentation" else None
    options = TrainingOptions(epochs=epochs, seed=seed, hiragana_repeats=REPEATS.get(line, 1))
    trainer = make_short_trainer(samples, options, args.jobs, augmentation)
    return judge_on_new_writers(line, seed, train_all_epochs(trainer), table, args)


def judge_on_new_writers(
    name: str, seed: int, model: LightweightKanjiNet, table: GlyphTable, args: argparse.Namespace
) -> Result:
    """Judges a network on complete writers whom no training of this seed saw, and on the drawings."""
    drawings = load_drawings(args.drawings, lambda ink: preprocess(ink, SIZE, NORMALIZE, cells=False))
    return judge(name, seed, model, write_samples(table, TEST_SETS, 2 * seed + 1, "nothing"), drawings)


def compare_on_new_writers(train_and_judge: TrainAndJudge, names: list[str], args: argparse.Namespace) -> None:
    """Prints what is compared, and compares it."""
    print(f"{args.sets} data sets, {args.epochs} epochs, {args.seeds} seeds; judged on {TEST_SETS} data sets unseen")
    compare(train_and_judge, names, args)


def main() -> None:
    """Trains for each line."""
    args = parse_args()
    compare_on_new_writers(train_and_judge, args.lines, args)


if __name__ == "__main__":
    run_script(main)
