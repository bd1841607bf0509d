"""What every script does with its output, as the shell sees it."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PRELUDE = "import sys; from kanjinet.cli import run_script; from kanjinet.errors import KanjinetError\n"
PRINTING = "def main():\n  for number in range(100_000): print(number)\n"
FLUSHING = "def main():\n  for number in range(100_000): print(number, flush=True)\n"
HELP = "import argparse\ndef main(): argparse.ArgumentParser().parse_args(['--help'])\n"
FAILING = "def main():\n  print(1)\n  raise KanjinetError('x.png: wrong')\n"


def run(code: str, *, unbuffered: bool, **streams: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *["-u"] * unbuffered, "-c", f"{PRELUDE}{code}run_script(main)"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams},
    )


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("code", [PRINTING, FLUSHING, HELP])
def test_a_reader_that_has_enough_ends_a_script_without_a_word(code: str, unbuffered: bool) -> None:
    process = run(code, unbuffered=unbuffered)
    if code != HELP:
        assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == (0 if code == HELP and unbuffered else 141)  # argparse keeps its own errors to itself


@pytest.mark.parametrize("unbuffered", [False, True])
def test_where_nobody_reads_the_errors_either_the_status_stays(unbuffered: bool) -> None:
    process = run(PRINTING, unbuffered=unbuffered, stderr=subprocess.STDOUT)
    process.stdout.close()
    assert process.wait(30) == 141
    process = run(FAILING, unbuffered=unbuffered)
    process.stderr.close()
    assert process.stdout.read() == "1\n"
    assert process.wait(30) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_output_on_a_full_disk_is_an_error(unbuffered: bool) -> None:
    with open("/dev/full", "w") as full:
        process = run(PRINTING, unbuffered=unbuffered, stdout=full)
    assert process.communicate()[1].startswith("error: No space left on device: free some disk space")
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux names what a file's number stands for")
def test_a_closed_pipe_of_windows() -> None:
    """There the system says EINVAL; another EINVAL is reported."""
    broken = (
        "import io, os\nclass Pipe(io.StringIO):\n  def fileno(self): return 1\n"
        "  def flush(self):\n    if os.readlink('/proc/self/fd/1') != os.devnull:\n"
        "      raise OSError(22, 'Invalid argument')\n"
    )
    process = run(f"{broken}def main(): sys.stdout = Pipe(); print(1)\n", unbuffered=False)
    assert process.communicate()[1] == ""
    assert process.returncode == 141
    process = run("def main(): raise OSError(22, 'Invalid argument')\n", unbuffered=False)
    assert process.communicate()[1] == "error: Invalid argument\n"
    assert process.returncode == 1


SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "setup_etl9g")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_each_default_and_no_absolute_path(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser) -> None:
        parsers.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", keep)
    with pytest.raises(SystemExit):
        importlib.import_module(script).parse_args()
    monkeypatch.setenv("COLUMNS", "1000")
    text = parsers[0].format_help()
    assert str(ROOT) not in text
    for action in parsers[0]._actions:
        if action.default not in (None, argparse.SUPPRESS) and action.default is not False:
            assert f"{action.help} (default: {action.default})" in text, action.option_strings


def test_options_that_would_be_ignored_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for command, problem in (
        ("serve_web.py --output-dir page --port 9000", "--output-dir serves nothing: leave --host and --port out"),
        ("make_sample_etl9g.py --contact-characters 田", "--contact-characters are for --contact-sheet"),
        ("make_sample_etl9g.py --contact-characters= --contact-sheet a.png", "expected some of the 3,036"),
        ("evaluate_model.py --images a --split test", "--images takes the place of --data-dir and --split"),
    ):
        monkeypatch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit):
            importlib.import_module(Path(sys.argv[0]).stem).main()
        assert problem in capsys.readouterr().err
