"""Ctrl-C, sent for real: one line and exit status 130 at any moment, and nothing changes for programs of others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from tests.conftest import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
# Sends SIGINT when a module is about to be imported: that of the variable, else the first one after kanjinet.cli.
INTERRUPTER = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        wanted = os.environ["INTERRUPT_AT"]
        is_ready = hasattr(sys.modules.get("kanjinet.cli"), "make_parser")
        if is_ready and (name == wanted or not wanted):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(INTERRUPTER, encoding="ascii")
    return folder


def run_until_import(site: Path, module: str, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(site), "INTERRUPT_AT": module}
    script, *options = command
    return subprocess.run(
        [sys.executable, str(ROOT / script), *options], env=environment, capture_output=True, text=True
    )


@POSIX
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_ends_with_one_line_from_its_first_import_on(script: str, site: Path) -> None:
    done = run_until_import(site, "", script, "--help")
    assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted\n", "")


@POSIX
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("torch.nn", ["train_etl9g_model.py"]),
        ("cv2", ["prepare_etl9g_dataset.py"]),
        ("onnxruntime", ["recognize_kanji.py", "none.png", "--model", str(PRETRAINED_PATH)]),  # imported by main
    ],
)
def test_an_import_that_is_interrupted_shows_no_traceback(module: str, command: list[str], site: Path) -> None:
    done = run_until_import(site, module, *command)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@POSIX
def test_a_program_of_others_keeps_its_handler_and_an_ignored_signal_stays_ignored(site: Path) -> None:
    code = "import signal, kanjinet.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n"
    command = f"trap '' INT; INTERRUPT_AT= PYTHONPATH='{site}' '{sys.executable}' '{ROOT}/convert_to_onnx.py' --help"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, "as a shell starts what runs in the background"


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("script", ["prepare_etl9g_dataset.py", "make_sample_etl9g.py"])
def test_workers_say_nothing_from_their_beginning_on(script: str, workplace: Path, tmp_path: Path) -> None:
    sources = ["--etl-dir", str(workplace / "ETL9G")] if script.startswith("prepare") else ["--sets", "1"]
    for number, delay_s in enumerate((0, 0.05)):
        command = [sys.executable, str(ROOT / script), "--workers", "2", *sources, "--output-dir", str(number)]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        parent = psutil.Process(process.pid)
        while process.poll() is None and not parent.children():
            time.sleep(0.001)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGINT)  # to the workers too, as a terminal does
        _, messages = process.communicate(timeout=120)
        assert (process.returncode, messages) == (130, b"interrupted\n"), f"after {delay_s} s"
