"""What a coverage-guided fuzzer finds in the readers of files that may come from anyone.

A finding is any error but KanjinetError, a file that takes longer than --patience seconds, or more than --memory MiB.

Reads:  nothing but the readers' own seeds
Writes: a table; with --output-dir, the files that led to findings
Run:    python -m tests.fuzz --seconds 60
"""

from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kanjinet.errors import KanjinetError
from kanjinet.storage.files import make_folder
from tests.fuzz.readers import READERS

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_BYTES = 200_000
ENDINGS = {"timeout-": "took too long", "oom-": "took too much memory", "crash-": "ended the process"}


@dataclass(frozen=True)
class Outcome:
    """What came of fuzzing one reader: how many files it read, and what was found."""

    executions: int
    findings: list[str]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python -m tests.fuzz --seconds 60 --readers chunk image")
    parser.add_argument("--seconds", type=positive_int, default=60, help="for each reader")
    parser.add_argument("--readers", nargs="+", choices=tuple(READERS), default=list(READERS), help="which ones")
    parser.add_argument("--patience", type=positive_int, default=20, help="seconds that one file may take")
    parser.add_argument("--memory", type=positive_int, default=2048, help="MiB for a process, with Python itself")
    parser.add_argument("--seed", type=positive_int, default=1, help="of the fuzzer's choices")
    parser.add_argument("--output-dir", type=Path, help="folder for the files that led to findings")
    return parser.parse_args()


def main() -> None:
    """Fuzz one reader after the other.

    Raises:
        KanjinetError: something was found, or atheris is missing.
    """
    args = parse_args()
    try:
        import atheris  # noqa: F401 - the other process needs it
    except ImportError as error:
        raise KanjinetError(
            "the package atheris is missing", "python -m pip install atheris (Linux, Python 3.11 or later)"
        ) from error
    print(f"{'reader':<14}{'files read':>12}{'findings':>10}")
    total = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.readers:
            folder = make_folder((args.output_dir or Path(temporary)) / name)
            outcome = fuzz(name, folder, args)
            total += len(outcome.findings)
            print(f"{name:<14}{outcome.executions:>12,}{len(outcome.findings):>10}", flush=True)
            for finding in outcome.findings:
                print(f"  {finding}")
    if total:
        raise KanjinetError(f"{total} findings, as listed above", "--output-dir keeps the files that led to them")


def fuzz(name: str, folder: Path, args: argparse.Namespace) -> Outcome:
    """Fuzz one reader in a process of its own.

    Raises:
        KanjinetError: the process did not come to fuzzing.
    """
    options = (
        f"-max_total_time={args.seconds} -timeout={args.patience} -rss_limit_mb={args.memory} -seed={args.seed} "
        f"-max_len={MAX_FILE_BYTES} -print_final_stats=1"
    )
    command = [sys.executable, "-m", "tests.fuzz.one_reader", name, str(folder), *options.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    counts = re.findall(r"number_of_executed_units: *(\d+)|^#(\d+)\t", done.stderr, re.MULTILINE)
    if not counts:
        last = done.stderr.strip().rpartition("\n")[2]
        raise KanjinetError(f"{name}: the fuzzer ended with exit status {done.returncode}: {last}")
    return Outcome(int(max(counts[-1], key=len)), list_findings(folder))


def list_findings(folder: Path) -> list[str]:
    """What the process wrote down, and what libFuzzer left where it ended the process."""
    findings = []
    if (folder / "findings.jsonl").is_file():
        for line in (folder / "findings.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            findings.append(f"{entry['kind']}: {entry['message']} ({entry['file']})")
    for path in sorted(folder.iterdir()):
        findings += [f"{what} ({path.name})" for prefix, what in ENDINGS.items() if path.name.startswith(prefix)]
    return findings


if __name__ == "__main__":
    run_script(main)
