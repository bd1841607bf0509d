"""What every script's command line has in common: value checks, messages, exit status, Ctrl-C.

Scripts import it first, so that Ctrl-C shows no traceback while the packages are imported. Readable by an older Python,
so that set-up can say that it is too old.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, TextIO, TypeVar

from kanjinet.errors import KanjinetError, explain_os_error

Number = TypeVar("Number", int, float)
CLOSED_PIPE = 141  # the exit status by which shells report it: 128 + SIGPIPE
ALLOW_HELP = (
    '"kanji", "kana", "hiragana", "katakana", "digits", "latin", "etl9g", or a text of the characters (default: all)'
)


def _quit_at_once(_number: int, _frame: object) -> None:
    """Ends the process on SIGINT where nothing is to be cleaned up; an exception would pass through others' code."""
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(130)


def _handle_interrupts_of_imports() -> None:
    """Has Ctrl-C end a script without a traceback until its `main` runs; changes nothing in a process of others."""
    main_path = getattr(sys.modules["__main__"], "__file__", None)
    if "--multiprocessing-fork" in getattr(sys, "orig_argv", ()):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a script's worker: the script itself ends it
    elif main_path and Path(main_path).resolve().parent in (_ROOT, _ROOT / "benchmarks"):
        _replace_interrupt_handler(signal.default_int_handler, _quit_at_once)


def _replace_interrupt_handler(old: object, new: Any) -> None:
    if signal.getsignal(signal.SIGINT) is old:  # else a shell has it ignored, or somebody else handles it
        signal.signal(signal.SIGINT, new)


_ROOT = Path(__file__).resolve().parent.parent
_handle_interrupts_of_imports()


def run_script(main: Callable[[], None]) -> None:
    """Runs a script's `main` as `_run_main` does, and exits with 130 and one line on stderr after Ctrl-C."""
    try:
        try:
            _replace_interrupt_handler(_quit_at_once, signal.default_int_handler)
            _run_main(main)
        finally:
            _replace_interrupt_handler(signal.default_int_handler, _quit_at_once)  # while Python ends
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run_main(main: Callable[[], None]) -> None:
    """Runs a script's `main`, and exits with 1 and one line on stderr after an error.

    Where nobody reads the output to its end, as in `| head -1`, it exits with CLOSED_PIPE and without a word.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a cp932 or cp1252 console cannot show every character
    logging.basicConfig(format="%(levelname)s: %(name)s: %(message)s")  # warnings and worse, on stderr
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it advises where it cannot write into a home
    lost = None
    try:
        try:
            main()
        finally:  # after --help too; what cannot be printed is noticed here, not when Python has ended
            lost = _flush(sys.stdout) or _flush(sys.stderr)
            if lost:
                raise lost
    except KanjinetError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        _flush(sys.stderr)
        if (error is lost and error.errno == errno.EINVAL) or error.errno == errno.EPIPE:  # on Windows, and elsewhere
            sys.exit(CLOSED_PIPE)
        _fail(str(explain_os_error(error)))
    except MemoryError:
        _fail("out of memory: close other programs, or lower --sample-limit, --fresh-sets, --batch-size or --workers")
    except BrokenExecutor:
        _fail("a worker process was killed, as when memory runs out: use fewer --workers, run the same command again")


def _fail(message: str, status: int = 1) -> None:
    _flush(sys.stdout)
    with contextlib.suppress(OSError):  # nobody reads that either
        print(f"error: {message}", file=sys.stderr)
    _flush(sys.stderr)
    sys.exit(status)


def _flush(stream: TextIO | None) -> OSError | None:
    """Writes what a stream holds back; after an error, which is returned, it goes nowhere and fails no second time."""
    if stream is None:  # Python without a console
        return None
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _number(
    convert: Callable[[str], Number], accept: Callable[[Number], bool], expected: str
) -> Callable[[str], Number]:
    """Returns an argparse type that takes the numbers that `accept` does."""

    def parse(text: str) -> Number:
        with contextlib.suppress(ValueError):
            value = convert(text)
            if accept(value):
                return value
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")

    return parse


positive_int = _number(int, lambda value: value >= 1, "a whole number of at least 1")
seed_number = _number(int, lambda value: 0 <= value < 1 << 32, "a whole number from 0 to 4294967295")
port_number = _number(int, lambda value: 0 <= value < 1 << 16, "a whole number from 0 to 65535")  # 0: any that is free
positive_float = _number(float, lambda value: 0 < value < math.inf, "a number above 0")
fraction = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the script's own description line by line, and every default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_none = action.default is None or action.default is False  # 0 is one
        return action.help if has_none else super()._get_help_string(action)


def make_parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """Returns a parser whose help shows every default and closes with an example."""
    return argparse.ArgumentParser(
        description=description, epilog=f"example: {example}", formatter_class=_HelpFormatter
    )


def show_path(path: Path) -> str:
    """Returns a path as printed for people: relative to the current folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
