"""How much each version of the network learns from the same characters by the same recipe.

Reads:  the package kanjivg, and real drawings if there are any
Writes: a table
Run:    python benchmarks/compare_versions.py --drawings drawings.npz --seeds 1
"""

import argparse

from bench_writers import add_writer_options, compare_on_new_writers, judge_on_new_writers, write_samples
from short_training import Result, make_short_trainer, train_all_epochs

from kanjinet.cli import make_parser, run_script
from kanjinet.model import MODEL_VERSIONS
from kanjinet.synth.glyph_table import read_glyph_table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/compare_versions.py --seeds 1")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, default=MODEL_VERSIONS, help="networks")
    add_writer_options(parser)
    return parser.parse_args()


def train_and_judge(version: str, seed: int, args: argparse.Namespace) -> Result:
    """One training of one version."""
    table = read_glyph_table()
    samples = write_samples(table, args.sets, 2 * seed, "nothing")
    trainer = make_short_trainer(samples, epochs=args.epochs, seed=seed, jobs=args.jobs, version=version)
    return judge_on_new_writers(version, seed, train_all_epochs(trainer), table, args)


def main() -> None:
    """Train each version."""
    args = parse_args()
    compare_on_new_writers(train_and_judge, args.versions, args)


if __name__ == "__main__":
    run_script(main)
