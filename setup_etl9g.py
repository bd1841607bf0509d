#!/usr/bin/env python3
"""Set up the toolkit: a virtual environment in venv/ with every package; then, if asked, the demo or the tests.

Reads requirements.txt, requirements-dev.txt (with --test) and constraints.txt; writes venv/. It needs Python 3.10 to
3.14, or a newer one where the packages have wheels for it, and may be run again at any time: what is there is kept.

    python setup_etl9g.py            the environment only
    python setup_etl9g.py --demo     ... then every stage, from sample files to an image of characters read
    python setup_etl9g.py --test     ... then the tests
"""

from __future__ import annotations  # so that an older Python gets as far as check_python's message

from kanjinet.cli import run_script, show_path

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kanjinet.errors import KanjinetError
from kanjinet.system.environment import Environment, describe_status, format_command
from kanjinet.system.machine import (
    describe_python_range,
    find_gpu,
    find_obstacle,
    is_python_untested,
    read_interpreter,
)

ROOT = Path(__file__).resolve().parent
ALL_TESTS = ("-m", "")  # pytest alone: the quick ones

# The stages in order, as a user types them; training_commands.ps1 is the same workflow for the real files.
DEMO_STAGES = (
    "make_sample_etl9g.py --output-dir demo/ETL9G --files 2 --seed 0",
    "preflight_check.py --etl-dir demo/ETL9G",
    "prepare_etl9g_dataset.py --etl-dir demo/ETL9G --output-dir demo/dataset",
    "test_etl9g_setup.py --data-dir demo/dataset --test-model",
    "train_etl9g_model.py --data-dir demo/dataset --output-dir demo --epochs 4 --split writers",
    "convert_to_onnx.py --model-path demo/best_kanji_model.pth --data-dir demo/dataset",
    "convert_to_safetensors.py --model-path demo/best_kanji_model.pth --verify",
    "generate_enhanced_mapping.py --output-path demo/kanji_etl9g_enhanced_mapping.json",
    "evaluate_model.py --model demo/kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir demo/dataset"
    " --split test --output-dir demo/evaluation",
)


def main() -> None:
    check_python()
    args = parse_args()
    environment = Environment(Path(args.venv_dir).resolve() if args.venv_dir else ROOT / "venv", ROOT, report=say)
    started = time.monotonic()

    environment.make()
    requirement_files = ["requirements.txt", "requirements-dev.txt"] if args.test else ["requirements.txt"]
    installed = environment.install(requirement_files, gpu=None if args.cpu else find_gpu())
    state, elapsed_s = "ready" if installed else "up to date", time.monotonic() - started
    say(f"environment {state}: {show_path(environment.folder)} ({elapsed_s:.0f} s)")
    print_activation(environment)

    if args.demo:
        run_demo(environment)
    if args.test:
        run_tests(environment, args.pytest_args)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make a virtual environment with everything that the toolkit needs.",
        epilog="example: python setup_etl9g.py --demo",
    )
    parser.add_argument("--demo", action="store_true", help="then run every stage on sample files, in demo/")
    parser.add_argument("--test", action="store_true", help="then run the tests; arguments after -- go to pytest")
    parser.add_argument("--cpu", action="store_true", help="install PyTorch's CPU wheels even if there is a GPU")
    parser.add_argument("--venv-dir", help="folder of the virtual environment (default: venv, beside this script)")
    parser.add_argument("pytest_args", nargs="*", metavar="-- PYTEST_ARGUMENT", help="passed on to pytest")
    args = parser.parse_args()
    if args.pytest_args and not args.test:
        parser.error(f"unexpected: {' '.join(args.pytest_args)} (arguments for pytest need --test)")
    return args


def check_python() -> None:
    obstacle = find_obstacle(read_interpreter())
    if obstacle:
        problem, remedy = obstacle
        raise KanjinetError(f"Python {platform.python_version()} at {sys.executable}: {problem}", remedy)
    if is_python_untested():
        say(f"note: Python {platform.python_version()} is newer than the tested {describe_python_range()}")


def run_demo(environment: Environment) -> None:
    started = time.monotonic()
    say("demo: the whole workflow on sample files; 'python' is the environment's")
    for number, stage in enumerate(DEMO_STAGES, start=1):
        print(f"\n[{number}/{len(DEMO_STAGES)}] > python {stage}", flush=True)
        status = subprocess.run([str(environment.python), *stage.split()], cwd=ROOT).returncode
        if status != 0:
            raise KanjinetError(
                f"demo: stage {number} of {len(DEMO_STAGES)} failed with {describe_status(status)}; its messages are "
                f"above. The command was:\n  python {stage}",
                exit_status=abs(status),
            )
    print_demo_report(ROOT / "demo", elapsed_s=time.monotonic() - started)
    print("\nwith the real data (ETL9G_01 ... ETL9G_50 in the folder ETL9G):")
    print_activation(environment)
    print("then begin with\n  python preflight_check.py --etl-dir ETL9G")


def print_demo_report(demo_dir: Path, elapsed_s: float) -> None:
    top1 = json.loads((demo_dir / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))["top1"]
    say(f"demo finished in {elapsed_s / 60:.1f} minutes")
    print(f"read correctly: {top1:.1%} of characters by writers never seen in training")
    print("                (synthetic sample: this says nothing about real handwriting)")
    print(f"characters read, right and wrong marked: {show_path(demo_dir / 'evaluation' / 'predictions.png')}")
    print("\nfiles made:")
    for path in sorted(path for path in demo_dir.rglob("*") if path.is_file()):
        print(f"  {path.stat().st_size / 1e6:9.2f} MB  {show_path(path)}")


def run_tests(environment: Environment, pytest_args: Sequence[str]) -> None:
    command = [str(environment.python), "-m", "pytest", *ALL_TESTS, *pytest_args]
    print(f"> {format_command(command)}", flush=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    if status != 0:
        raise KanjinetError(f"the tests failed: pytest ended with {describe_status(status)}", exit_status=abs(status))


def print_activation(environment: Environment) -> None:
    scripts = Path(show_path(environment.folder), "Scripts" if os.name == "nt" else "bin")
    in_powershell = str(scripts / "Activate.ps1")
    if not re.fullmatch(r"[\w./\\:-]+", in_powershell):
        in_powershell = "& '{}'".format(in_powershell.replace("'", "''"))
    print("activate it with")
    print(f"  PowerShell: {in_powershell}")
    print(f"  bash:       source {shlex.quote((scripts / 'activate').as_posix())}", flush=True)


def say(message: str) -> None:
    """Prints a line that stands out from what pip and the stages print."""
    print(f"\n== {message}", flush=True)


if __name__ == "__main__":
    run_script(main)
