"""What every script's command line has in common: value checks, messages, exit status."""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TypeVar

from kanjinet.errors import KanjinetError
from kanjinet.storage.files import describe_os_error

Number = TypeVar("Number", int, float)


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main` and exit: 0 when it returns, 1 with one line on stderr for an error, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a cp932 or cp1252 console cannot show every character
    try:
        main()
    except KanjinetError as error:
        _fail(str(error))
    except OSError as error:
        _fail(describe_os_error(error))
    except MemoryError:
        _fail("out of memory: close other programs, or lower --sample-limit, --fresh-sets, --batch-size or --workers")
    except BrokenExecutor:
        _fail("a worker process was killed, as when memory runs out: use fewer --workers, run the same command again")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    return _checked(text, int, lambda value: value >= 1, "a whole number of at least 1")


def seed_number(text: str) -> int:
    """An argparse type: a seed that every random generator takes, 0 to 2**32 - 1."""
    return _checked(text, int, lambda value: 0 <= value < 1 << 32, "a whole number from 0 to 4294967295")


def port_number(text: str) -> int:
    """An argparse type: a TCP port, or 0 for any that is free."""
    return _checked(text, int, lambda value: 0 <= value < 1 << 16, "a whole number from 0 to 65535")


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    return _checked(text, float, lambda value: 0 < value < float("inf"), "a number above 0")


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    return _checked(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _checked(text: str, convert: Callable[[str], Number], accept: Callable[[Number], bool], wanted: str) -> Number:
    try:
        value = convert(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {wanted}") from error
    if not accept(value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {wanted}")
    return value


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the script's own description line by line, and every default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def make_parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """A parser whose help shows every default and closes with an example."""
    return argparse.ArgumentParser(
        description=description, epilog=f"example: {example}", formatter_class=_HelpFormatter
    )


def show_path(path: Path) -> str:
    """A path as printed for people: relative to the current folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
