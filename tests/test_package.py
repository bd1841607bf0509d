"""The package as pip installs it: what is in the wheel, what it brings, and that it works away from the checkout."""

import email
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kanjinet
from kanjinet.system.packages import read_requirements
from tests.conftest import ROOT

HEAVY = ("cv2", "numpy", "onnx", "onnxruntime", "PIL", "torch")


def run_python(code: str, folder: Path, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("kanjinet", "pretrained"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements-base.txt", "requirements-train.txt"):
        shutil.copy(ROOT / name, folder)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder / "out"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, folder], check=True)
    return next((folder / "out").glob("*.whl"))


def test_the_import_brings_no_other_package() -> None:
    code = f"import sys, kanjinet; print(sorted(set({HEAVY}) & set(sys.modules)), dir(kanjinet), kanjinet.__version__)"
    assert run_python(code, ROOT).split("\n")[0] == f"[] {dir(kanjinet)} {kanjinet.__version__}"
    for name in kanjinet.__all__:
        assert getattr(kanjinet, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kanjinet.nothing


def test_the_wheel_holds_the_package_and_the_pretrained_models(wheel: Path) -> None:
    assert wheel.name == f"kanjinet-{kanjinet.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 3.5e6
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("kanjinet/")}
    package = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("kanjinet/**/*") if path.suffix != ".pyc"}
    model = {
        f"kanjinet/{path.relative_to(ROOT).as_posix()}"
        for path in ROOT.glob("pretrained/*")
        if path.suffix != ".safetensors"
    }
    assert names == {name for name in package if (ROOT / name).is_file()} | model
    rooms = {module.name for module in pkgutil.iter_modules(kanjinet.__path__) if module.ispkg}
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == rooms | {"pretrained"}


def test_what_the_wheel_brings(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        requirements = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or []
    extra = {each.partition(";")[0] for each in requirements if 'extra == "train"' in each}
    base = {each for each in requirements if "extra" not in each}
    for found, name in ((base, "requirements-base.txt"), (extra, "requirements-train.txt")):
        assert found == {f"{each.name}>={each.minimum}" for each in read_requirements(ROOT / name)}
    assert {each.partition(">")[0] for each in base} == {"numpy", "onnxruntime", "opencv-python-headless", "pillow"}


def test_the_wheel_alone_reads_an_image(wheel: Path, tmp_path: Path) -> None:
    """Where the packages that it does not bring cannot be imported."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    gray = np.full((90, 90), 255, dtype=np.uint8)
    for left in (15, 42, 69):
        gray[15:75, left : left + 5] = 0  # 川
    Image.fromarray(gray).save(tmp_path / "empty" / "川.png")
    missing = [each.import_name or each.name for each in read_requirements(ROOT / "requirements-train.txt")]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing})); import kanjinet; "
        "print(kanjinet.__file__, kanjinet.load().read('川.png', top=1))"
    )
    output = run_python(code, tmp_path / "empty", PYTHONPATH=str(tmp_path / "site"), PYTHONUTF8="1")
    path, _, candidates = output.partition(" ")
    assert Path(path).is_relative_to(tmp_path)
    assert "character='川'" in candidates
