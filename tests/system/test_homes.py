"""A user without a home that can be written to, as in containers and for services."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from tests.conftest import ROOT
from tests.evaluation.test_recognize import write_image


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no such folder")
def test_no_package_gives_advice_about_a_home_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "田").mkdir()
    write_image(tmp_path / "田" / "1.png", "田")
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "MPLCONFIGDIR", "XDG_CACHE_HOME"}}
    for variables in ({"HOME": "/dev/null/home"}, {"HOME": "/dev/null/home", "XDG_CONFIG_HOME": "/dev/null/config"}):
        command = [sys.executable, str(ROOT / "evaluate_model.py"), "--model", str(PRETRAINED_PATH), "--images", "."]
        done = subprocess.run(command, cwd=tmp_path, env={**kept, **variables}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "evaluation" / "report.html").is_file()
