"""Do to every stage what disks, power and other programs do, and count how often it ends right.

Reads:  nothing: small source files are made, and everything else from them
Writes: a table, one line for each fault and stage; exit status 1 when any trial did not end right
Run:    python -m tests.faults --seed 0

A trial is right when the stage gave the right result, or one line `error: ...` with file and remedy and status 1, left
nothing under a final name that is not whole, and, run again, ends with the bytes (a training: the weights) of an
undisturbed run. SIGKILL, tmpfs and read-only mounts (for root only) are the system's own; other disk errors arise where
Python's file objects meet the system, and what stands above them runs as it is. All of it takes hours on 2 cores; the
options choose less. POSIX only.
"""

from kanjinet.cli import make_parser, positive_int, run_script, seed_number

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from kanjinet.errors import KanjinetError
from tests.faults.campaign import KINDS, Row, can_mount, run_trials
from tests.faults.readers import READERS, Bench, run_mutations
from tests.faults.server import start_server
from tests.faults.stages import IMPORTED_LATER, SCRIPTS, STAGES, Workshop

COUNTS = {"kills": 120, "disk": 120, "mounts": 24, "inputs": 90, "results": 50, "pairs": 21, "clock": 14}
MUTATIONS = 2250
PARTS = (*COUNTS, "mutations")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python -m tests.faults --parts kills --kills 30 --stages prepare train")
    parser.add_argument("--seed", type=seed_number, default=0, help="of every choice but a process's own speed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is done")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="to which stages")
    for part, count in {**COUNTS, "mutations": MUTATIONS}.items():
        parser.add_argument(f"--{part}", type=positive_int, default=count, help="minimum number of trials of this part")
    parser.add_argument("--files", nargs="+", choices=READERS, default=list(READERS), help="files that are mutated")
    parser.add_argument("--temporary-dir", type=Path, help="where the trials take place (default: the system's choice)")
    return parser.parse_args()


def main() -> None:
    """One line for each fault and stage."""
    args = parse_args()
    if not hasattr(os, "fork"):
        raise KanjinetError("this forks and kills processes", "run it on Linux, macOS or WSL")
    start, rows = time.perf_counter(), []
    needs_inputs = "mutations" in args.parts or any(STAGES[stage].reads for stage in args.stages)
    modules = (*SCRIPTS, *IMPORTED_LATER) if needs_inputs else [STAGES[stage].command[0] for stage in args.stages]
    with tempfile.TemporaryDirectory(dir=args.temporary_dir) as folder, start_server(modules) as server:
        workshop = Workshop(server, Path(folder).resolve())
        if needs_inputs:
            workshop.make_inputs()
        print(f"{'what was done':38} {'to':24} {'struck':>7} {'right':>11} {'s':>7}")
        for part in args.parts:
            rows += run_mutation_part(args, workshop) if part == "mutations" else run_part(part, args, workshop)
    trials, wrong = sum(row.trials for row in rows), sum(len(row.wrong) for row in rows)
    print(f"{trials} trials, {sum(row.struck for row in rows)} faults, {time.perf_counter() - start:,.0f} s")
    if wrong:
        raise KanjinetError(f"{wrong} of {trials} trials did not end right", "see above")
    print("all ended right")


def run_part(part: str, args: argparse.Namespace, workshop: Workshop) -> list[Row]:
    """All kinds of faults of a part, evenly over kinds and stages."""
    if part == "mounts" and not can_mount(workshop.folder):
        print(f"{'mounts':38} {'left out: only root may mount a file system'}")
        return []
    chosen = [(kind, stage) for kind in KINDS if kind.part == part for stage in kind.stages if stage in args.stages]
    rows = []
    for kind, stage in chosen:
        began = time.perf_counter()
        rows.append(run_trials(kind, workshop, stage, args.seed, -(-getattr(args, part) // len(chosen))))
        print_row(kind.name, stage, rows[-1], time.perf_counter() - began)
    return rows


def run_mutation_part(args: argparse.Namespace, workshop: Workshop) -> list[Row]:
    """Damage each kind of file in this process."""
    torch.set_num_threads(1)
    bench, rows = Bench.make(workshop), []
    for name in args.files:
        began = time.perf_counter()
        row, ways = run_mutations(bench, name, args.seed, -(-args.mutations // len(args.files)))
        rows.append(row)
        print_row(
            f"damaged: {ways['refused']} refused, {ways['right']} harmless", name, row, time.perf_counter() - began
        )
    return rows


def print_row(what: str, to: str, row: Row, elapsed_s: float) -> None:
    """A line of the table, and a line for each trial that went wrong."""
    right = f"{row.trials - len(row.wrong)} of {row.trials}"
    print(f"{what:38} {to:24} {row.struck:7} {right:>11} {elapsed_s:7.1f}", flush=True)
    for message in row.wrong:
        print(f"    WRONG {message}", flush=True)


if __name__ == "__main__":
    run_script(main)
