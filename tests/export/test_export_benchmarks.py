"""The benchmarks of exports run, shortened by their own options, and fail where an engine does not agree."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import export_network
from kanjinet.export.weight_compression import store_int8_weights
from tests.browser import CHROMIUM_REMEDY, find_chromium
from tests.conftest import ROOT, require, run_script
from tests.random_checkpoint import draw_images, make_network, write_checkpoint

WEB = ROOT / "web"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_an_export_that_differs_fails_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], benchmarks: None
) -> None:
    import check_parity

    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    monkeypatch.setattr(check_parity, "BACKENDS", ("strict",))
    monkeypatch.setattr(check_parity, "QUANTIZATIONS", ("int8",))  # left out without a dataset
    monkeypatch.setattr(check_parity, "run_pytorch", lambda network, inputs: np.zeros((len(inputs), 3036), np.float32))
    options = ["--model", str(checkpoint), "--writers", "1", "--data-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["check_parity.py", *options])
    with pytest.raises(KanjinetError, match="1 of 1 exports failed"):
        check_parity.main()
    assert "FAILED: onnxruntime" in capsys.readouterr().out


def test_parity_is_measured_in_each_engine(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    command = ["benchmarks/check_parity.py", "--model", checkpoint, "--writers", "1"]
    result = run_script(command, tmp_path, check=False)
    output = result.stdout
    failed = set(re.findall(r"^(\S.*?) +FAILED", output, re.MULTILINE))
    # Random weights, unlike trained ones, may not bear being rounded to 8 bits; everything else must be equal.
    assert (result.returncode, failed) in ((0, set()), (1, {"tract int8-weights"})), result.stderr
    for name in ("tract", "ort-tract", "strict", "tract fp16"):
        for engine in ("onnxruntime", "tract"):
            assert re.search(rf"^{name} +\d\.\d\d +{engine} \S+ +1 .* \d+\.\d\d%$", output, re.MULTILINE), output


def test_speed_is_measured_in_each_format_and_engine(tmp_path: Path) -> None:
    output = run_script(["benchmarks/bench_inference.py", "--rounds", "1"], tmp_path).stdout
    for name in ("2.1 +float32", "2.1 +int8", "3.0 +float32", "3.0 +fp16", "3.0 +int8-weights"):
        for engine in ("onnxruntime", "tract"):
            assert re.search(
                rf"^{name} +{engine} +[\d.]+ +\d+ +[\d.]+ +[\d.]+x +[\d,]+ +[\d.]+x$", output, re.MULTILINE
            ), output
    assert re.search(r"^2\.1: 7\.56 million multiply-adds", output, re.MULTILINE)  # counted by hand from the table


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """onnxruntime-web in Chromium, with the package that the page in web/ is pinned to."""
    from browser_engine import open_browser_engine

    dist, npm = WEB / "node_modules" / "onnxruntime-web" / "dist", shutil.which("npm")
    if not dist.is_dir() and npm and (WEB / "package.json").is_file():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=WEB, check=True)
    require(dist.is_dir(), f"{dist} is missing: npm ci in web/")
    require(find_chromium(), CHROMIUM_REMEDY)
    with open_browser_engine(dist) as engine:
        yield engine


def test_the_browser_computes_what_onnxruntime_does(browser: Any) -> None:
    images = draw_images(32)[:6].numpy()
    model = export_network(make_network("3.0", 32), "tract").model
    for exported in (model, store_int8_weights(model)):
        content = exported.SerializeToString()
        assert browser.load(content) > 0
        found = browser.run(images, batch=4)
        expected = onnxruntime.InferenceSession(content).run(None, {"input": images})[0]
        assert np.abs(found - expected).max() < 1e-3
    assert all(each > 0 for each in browser.time(images[:1], 3))


def test_the_browser_names_what_is_wrong_with_a_file(browser: Any) -> None:
    with pytest.raises(KanjinetError, match="onnxruntime-web"):
        browser.load(b"nonsense")
