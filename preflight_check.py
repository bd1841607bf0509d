#!/usr/bin/env python3
"""Check that training can start: Python, packages, GPU, memory, disk, ETL9G files, scripts.

Reads ETL9G/ (the sizes of its files and a few records of each); writes nothing. It works before anything is
installed, and ends with status 0 only when training can start.

    python preflight_check.py --etl-dir ETL9G
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from kanjinet.system.preflight import Check, run_checks

ROOT = Path(__file__).resolve().parent
MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}
ASCII_MARKS = {"ok": "[ok]", "warning": "[--]", "failed": "[!!]"}  # a cp932 or cp1252 console has no ticks


def main() -> None:
    args = parse_args()
    checks = run_checks(args.etl_dir, ROOT)
    failed = [check.name for check in checks if check.status == "failed"]
    if args.json:
        print(json.dumps({"ready": not failed, "checks": [dataclasses.asdict(check) for check in checks]}, indent=2))
    else:
        print_table(checks)
        if failed:
            print(f"\ntraining cannot start yet: {len(failed)} failed ({', '.join(failed)})")
        else:
            print(f"\ntraining can start; next: python prepare_etl9g_dataset.py --etl-dir {show_path(args.etl_dir)}")
    if failed:
        sys.exit(1)


def parse_args() -> argparse.Namespace:
    parser = make_parser("Check that training can start.", "python preflight_check.py --etl-dir ETL9G")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def print_table(checks: list[Check]) -> None:
    """Prints one line a check under its group, and what to do under those that are not well."""
    marks = choose_marks(sys.stdout.encoding)
    mark_width = max(map(len, marks.values()))
    name_width = max(len(check.name) for check in checks)
    group = None
    for check, following in zip(checks, [*checks[1:], None], strict=True):
        if check.group != group:
            group = check.group
            print(group)
        print(f"  {marks[check.status]:<{mark_width}} {check.name:<{name_width}}  {check.value}")
        is_repeated = following is not None and (following.group, following.remedy) == (check.group, check.remedy)
        if check.remedy and not is_repeated:
            print(f"  {'':<{mark_width}} {'':<{name_width}}  -> {check.remedy}")


def choose_marks(encoding: str | None) -> dict[str, str]:
    """Returns ticks and crosses where the output's encoding has them, else plain letters."""
    try:
        "".join(MARKS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_MARKS
    return MARKS


if __name__ == "__main__":
    run_script(main)
