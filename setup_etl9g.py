#!/usr/bin/env python3
"""Set up the toolkit: a virtual environment in venv/ with every package; then, if asked, the demo or the tests.

Reads requirements.txt, requirements-dev.txt (with --test) and constraints.txt; writes venv/. It needs Python 3.10 to
3.13 and nothing else, and may be run again at any time: what is already there is kept.

    python setup_etl9g.py            the environment only
    python setup_etl9g.py --demo     ... then every stage, from sample files to an image of characters read
    python setup_etl9g.py --test     ... then the tests
"""

from __future__ import annotations  # so that an older Python gets as far as check_python's message

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kanjinet.system.machine import NEWEST_PYTHON, Gpu, describe_python_range, find_gpu, is_python_supported
from kanjinet.system.packages import list_requirement_files, read_requirements

ROOT = Path(__file__).resolve().parent

TORCH_INDEX = "https://download.pytorch.org/whl"
INDEX_TIMEOUT_S = 5
CUDA_13, CUDA_12 = "cu130", "cu126"  # the indexes for present and for older NVIDIA drivers and GPUs
CUDA_13_DRIVER = 580  # the first driver branch that runs CUDA 13
CUDA_13_CAPABILITY = 7.5  # Turing; CUDA 13 dropped Maxwell, Pascal and Volta

STAMP_NAME = "setup_etl9g.json"  # in the environment: what was installed there
UNFINISHED_NAME = "setup_etl9g.unfinished"  # in the environment while pip works; left over when it was killed

DEMO_DIR = "demo"
DEMO_EPOCHS = 4
# The stages in order, as a user types them; training_commands.ps1 is the same workflow for the real files.
DEMO_STAGES = (
    "make_sample_etl9g.py --output-dir demo/ETL9G --files 2 --seed 0",
    "preflight_check.py --etl-dir demo/ETL9G",
    "prepare_etl9g_dataset.py --etl-dir demo/ETL9G --output-dir demo/dataset",
    "test_etl9g_setup.py --data-dir demo/dataset --test-model",
    f"train_etl9g_model.py --data-dir demo/dataset --output-dir demo --epochs {DEMO_EPOCHS} --split writers",
    "convert_to_onnx.py --model-path demo/best_kanji_model.pth --data-dir demo/dataset",
    "convert_to_safetensors.py --model-path demo/best_kanji_model.pth --verify",
    "generate_enhanced_mapping.py --output-path demo/kanji_etl9g_enhanced_mapping.json",
    "evaluate_model.py --model demo/kanji_model_etl9g_64x64_3036classes_tract.onnx --data-dir demo/dataset"
    " --split test --output-dir demo/evaluation",
)


class SetupError(Exception):
    """Something that the user can put right: what is wrong, and the remedy."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class TorchWheels:
    """Which PyTorch wheels to install, from where, and why."""

    device: str  # "cuda" or "cpu": what the machine asks for
    index_url: str | None  # None: the platform's default
    reason: str


def main() -> None:
    """Check Python, make the environment, install the packages, then run the demo or the tests."""
    check_python()
    args = parse_args()
    venv_dir = Path(args.venv_dir).resolve() if args.venv_dir else ROOT / "venv"
    started = time.monotonic()

    python = make_environment(venv_dir)
    gpu = None if args.cpu else find_gpu()
    requirement_files = ["requirements.txt", "requirements-dev.txt"] if args.test else ["requirements.txt"]
    installed = install_packages(venv_dir, python, requirement_files, gpu)
    say(f"environment {'ready' if installed else 'up to date'}: {show(venv_dir)} ({time.monotonic() - started:.0f} s)")
    print_activation(venv_dir)

    if args.demo:
        run_demo(venv_dir)
    if args.test:
        run_tests(python, args.pytest_args)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
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
    """Refuse a Python for which not every package has wheels."""
    if not is_python_supported():
        newest = "{}.{}".format(*NEWEST_PYTHON)
        raise SetupError(
            f"Python {platform.python_version()} at {sys.executable}: the packages need Python "
            f"{describe_python_range()}: install one of these and run it on this script, for example with "
            f"'py -{newest} setup_etl9g.py' on Windows or 'python{newest} setup_etl9g.py' elsewhere"
        )


# The virtual environment


def venv_python(venv_dir: Path) -> Path:
    """The environment's interpreter."""
    return venv_dir / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(venv_dir: Path) -> Path:
    """Make the virtual environment, or keep the one there if it works; returns its interpreter."""
    python = venv_python(venv_dir)
    if is_environment_usable(venv_dir):
        return python
    if Path(sys.prefix).resolve() == venv_dir:
        raise SetupError(f"{venv_dir}: needs to be made again, but is in use: run 'deactivate', then this script again")
    refuse_foreign_folder(venv_dir)
    say(f"making the virtual environment {show(venv_dir)} with Python {platform.python_version()}")
    command = [sys.executable, "-m", "venv", "--clear", str(venv_dir)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if result.returncode == 0 and is_environment_usable(venv_dir):
        return python
    raise SetupError(
        f"{format_command(command)}: failed with exit status {result.returncode}:\n{result.stdout.strip()}\n"
        "Where the message names ensurepip or venv, this Python lacks them: on Debian and Ubuntu run "
        f"'sudo apt install python3.{sys.version_info.minor}-venv', elsewhere use the installer from python.org; "
        "then run this script again"
    )


def is_environment_usable(venv_dir: Path) -> bool:
    """Whether the environment is whole: it runs this version of Python, has pip, and pip was not killed there."""
    if not (venv_dir / "pyvenv.cfg").is_file() or (venv_dir / UNFINISHED_NAME).exists():
        return False
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check = (
        "import importlib.util, sys\n"
        f"same = '%d.%d' % sys.version_info[:2] == '{version}' and sys.prefix != sys.base_prefix\n"
        "sys.exit(0 if same and importlib.util.find_spec('pip.__main__') else 1)"
    )
    try:
        return subprocess.run([str(venv_python(venv_dir)), "-I", "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False  # no interpreter, or the one it points to is gone


def refuse_foreign_folder(venv_dir: Path) -> None:
    """Raise unless `venv_dir` may be cleared: absent, empty, or (half of) a virtual environment."""
    if venv_dir.exists() and not venv_dir.is_dir():
        raise SetupError(f"{venv_dir}: is a file: remove it, or choose another --venv-dir")
    if venv_dir.is_dir() and not (venv_dir / "pyvenv.cfg").is_file() and any(venv_dir.iterdir()):
        raise SetupError(
            f"{venv_dir}: has files, but is no virtual environment: remove the folder, or choose another --venv-dir"
        )


# The packages


def install_packages(venv_dir: Path, python: Path, requirement_files: Sequence[str], gpu: Gpu | None) -> bool:
    """Install what the stamp in the environment does not have yet; False when there was nothing to do."""
    stamp_path, unfinished_path = venv_dir / STAMP_NAME, venv_dir / UNFINISHED_NAME
    wanted = describe_installation(requirement_files, "cuda" if gpu else "cpu")
    stamp = read_stamp(stamp_path)
    if is_installed(stamp, wanted) and are_packages_present(python, requirement_files):
        return False

    unfinished_path.touch()
    try:
        if "torch" in package_names(requirement_files) and not is_torch_right(python, stamp, wanted["device"]):
            install_torch(python, gpu, is_replacement=stamp.get("device", wanted["device"]) != wanted["device"])
            write_stamp(stamp_path, {**wanted, "files": {}})
        say(f"installing {' and '.join(requirement_files)}")
        requirements = [argument for name in requirement_files for argument in ("-r", name)]
        run_pip(python, ["install", *requirements, "-c", "constraints.txt"])
        write_stamp(stamp_path, wanted)
    except SetupError:
        unfinished_path.unlink()  # pip gave up by itself, and so leaves every package whole
        raise
    unfinished_path.unlink()
    return True


def describe_installation(requirement_files: Sequence[str], device: str) -> dict[str, Any]:
    """What a finished environment is made from, for the stamp."""
    files = [each for name in requirement_files for each in list_requirement_files(ROOT / name)]
    return {
        "python": platform.python_version(),
        "device": device,
        "files": {
            each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in [*files, ROOT / "constraints.txt"]
        },
    }


def is_installed(stamp: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the stamp covers what is wanted; an environment for the tests serves the stages as well."""
    files = stamp.get("files", {})
    same = all(stamp.get(key) == wanted[key] for key in ("python", "device"))
    return same and all(files.get(name) == digest for name, digest in wanted["files"].items())


def read_stamp(path: Path) -> dict[str, Any]:
    """The stamp, or {} where it is absent or damaged."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(path: Path, content: dict[str, Any]) -> None:
    """Write the stamp, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def installed_versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that the environment has, from their metadata: nothing is imported."""
    script = (
        "import importlib.metadata, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        found[name] = importlib.metadata.version(name)\n"
        "    except importlib.metadata.PackageNotFoundError:\n"
        "        pass\n"
        "print(json.dumps({name: version for name, version in found.items() if version}))"
    )
    command = [str(python), "-I", "-c", script, *packages]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return json.loads(result.stdout) if result.returncode == 0 else {}


def are_packages_present(python: Path, requirement_files: Sequence[str]) -> bool:
    """Whether the environment still has every package of the files."""
    names = package_names(requirement_files)
    return len(installed_versions(python, names)) == len(set(names))


def package_names(requirement_files: Sequence[str]) -> list[str]:
    """The packages that the files name."""
    return [requirement.name for file in requirement_files for requirement in read_requirements(ROOT / file)]


def run_pip(python: Path, arguments: Sequence[str]) -> None:
    """Run the environment's pip in the toolkit's folder."""
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check"]
    print(f"> {format_command(command)}", flush=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    if status != 0:
        raise SetupError(
            f"pip failed with {describe_status(status)}; its messages are above. The command was:\n"
            f"  {format_command(command)}\n"
            "Check the network connection and the free disk space, then run this script again"
        )


# PyTorch


def choose_torch_wheels(gpu: Gpu | None, system: str, has_torch: Callable[[str], bool]) -> TorchWheels:
    """Choose PyTorch's wheels for a machine.

    Args:
        gpu: its NVIDIA GPU, if any.
        system: `platform.system()`; the platform's default has CUDA on Linux, and only CPU code on Windows and macOS.
        has_torch: whether the wheel index at a URL can be reached and has a PyTorch for this machine.
    """
    if gpu is None:
        if system == "Darwin":
            return TorchWheels("cpu", None, "macOS: PyTorch's default wheels")
        url = f"{TORCH_INDEX}/cpu"
        if has_torch(url):
            return TorchWheels("cpu", url, "no NVIDIA GPU: PyTorch's CPU wheels, about 200 MB")
        size = ", with CUDA packages that go unused (about 3 GB)" if system == "Linux" else ""
        return TorchWheels("cpu", None, f"no NVIDIA GPU, and {url} cannot be reached: the platform's default{size}")

    capability = CUDA_13_CAPABILITY if gpu.capability is None else gpu.capability
    is_current = int(gpu.driver.partition(".")[0]) >= CUDA_13_DRIVER and capability >= CUDA_13_CAPABILITY
    found = f"{gpu.name}, driver {gpu.driver}"
    if is_current and system == "Linux":
        return TorchWheels("cuda", None, f"{found}: the platform's default, with CUDA")
    url = f"{TORCH_INDEX}/{CUDA_13 if is_current else CUDA_12}"
    if has_torch(url):
        return TorchWheels("cuda", url, f"{found}: PyTorch's CUDA wheels")
    effect = "it may need a newer driver or GPU" if system == "Linux" else "it does not use the GPU"
    return TorchWheels("cuda", None, f"{found}, but {url} cannot be reached: the platform's default; {effect}")


def tested_torch_version() -> str:
    """The version of PyTorch in constraints.txt."""
    match = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SetupError("constraints.txt: no line 'torch==VERSION': get the file again")
    return match[1]


def index_has_torch(index_url: str) -> bool:
    """Whether the index answers within seconds and lists the tested PyTorch for this Python and machine."""
    version, tag = re.escape(tested_torch_version()), python_tag()
    system = {"Windows": "win", "Linux": "linux"}.get(platform.system(), "")
    wheel = rf"torch-{version}(?:\+|%2B)\w+-{tag}-{tag}-\w*{system}\w*{platform.machine().lower()}\.whl"
    try:
        with urllib.request.urlopen(f"{index_url}/torch/", timeout=INDEX_TIMEOUT_S) as response:
            page = response.read().decode("utf-8", errors="replace")
    except (OSError, ValueError):  # URLError is an OSError
        return False
    return re.search(wheel, page) is not None


def python_tag() -> str:
    """What wheels call this Python, such as cp312."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def is_torch_right(python: Path, stamp: dict[str, Any], device: str) -> bool:
    """Whether the environment has the tested PyTorch, installed for this device."""
    version = installed_versions(python, ["torch"]).get("torch", "")
    return version.partition("+")[0] == tested_torch_version() and stamp.get("device", device) == device


def install_torch(python: Path, gpu: Gpu | None, *, is_replacement: bool) -> None:
    """Install PyTorch from its own index where that is the better source; else the requirements bring it.

    Only the wheel itself comes from there (--no-deps): what it depends on comes with the requirements.
    """
    wheels = choose_torch_wheels(gpu, platform.system(), index_has_torch)
    say(f"PyTorch {tested_torch_version()}: {wheels.reason}")
    source = ["--index-url", wheels.index_url] if wheels.index_url else []
    if source or is_replacement:
        force = ["--force-reinstall"] if is_replacement else []
        run_pip(python, ["install", f"torch=={tested_torch_version()}", "--no-deps", *force, *source])


# The demo and the tests


def run_demo(venv_dir: Path) -> None:
    """Run every stage on sample files in demo/, showing each command, and report what came out."""
    python = venv_python(venv_dir)
    started = time.monotonic()
    say("demo: the whole workflow on sample files; 'python' is the environment's")
    for number, stage in enumerate(DEMO_STAGES, start=1):
        print(f"\n[{number}/{len(DEMO_STAGES)}] > python {stage}", flush=True)
        status = subprocess.run([str(python), *stage.split()], cwd=ROOT).returncode
        if status != 0:
            raise SetupError(
                f"demo: stage {number} of {len(DEMO_STAGES)} failed with {describe_status(status)}; its messages are "
                f"above. The command was:\n  python {stage}",
                status=abs(status),
            )
    print_demo_report(ROOT / DEMO_DIR, elapsed_s=time.monotonic() - started)
    print("\nwith the real data (ETL9G_01 ... ETL9G_50 in the folder ETL9G):")
    print_activation(venv_dir)
    print("then begin with")
    print("  python preflight_check.py --etl-dir ETL9G")


def print_demo_report(demo_dir: Path, elapsed_s: float) -> None:
    """Print time, accuracy, the image and the files made."""
    report_path = demo_dir / "evaluation" / "evaluation.json"
    try:
        top1 = float(json.loads(report_path.read_text(encoding="utf-8"))["top1"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"demo: {show(report_path)}: no accuracy to read in it ({error!r})") from error
    say(f"demo finished in {elapsed_s / 60:.1f} minutes")
    print(f"read correctly: {top1:.1%} of characters by writers never seen in training")
    print("                (synthetic sample: this says nothing about real handwriting)")
    image = demo_dir / "evaluation" / "predictions.png"
    if image.is_file():
        print(f"characters read, right and wrong marked: {show(image)}")
    print("\nfiles made:")
    for path in sorted(path for path in demo_dir.rglob("*") if path.is_file()):
        print(f"  {path.stat().st_size / 1e6:9.2f} MB  {show(path)}")


def run_tests(python: Path, pytest_args: Sequence[str]) -> None:
    """Run pytest in the toolkit's folder; its exit status becomes this script's."""
    command = [str(python), "-m", "pytest", *pytest_args]
    print(f"> {format_command(command)}", flush=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    if status != 0:
        raise SetupError(f"the tests failed: pytest ended with {describe_status(status)}", status=abs(status))


# Messages


def say(message: str) -> None:
    """Print a line that stands out from what pip and the stages print."""
    print(f"\n== {message}", flush=True)


def show(path: Path) -> str:
    """A path relative to the current folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def format_command(command: Sequence[str]) -> str:
    """A command line that can be pasted into a shell."""
    if os.name == "nt":
        return subprocess.list2cmdline(command)
    return " ".join(map(shlex.quote, command))


def describe_status(status: int) -> str:
    """An exit status in words; below 0 it is a signal's number, such as -9 where memory ran out."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


def print_activation(venv_dir: Path) -> None:
    """Print how to activate the environment in PowerShell and in bash."""
    folder = show(venv_dir)
    scripts = "Scripts" if os.name == "nt" else "bin"
    print("activate it with")
    print(f"  PowerShell: {Path(folder, scripts, 'Activate.ps1')}")
    print(f"  bash:       source {Path(folder, scripts, 'activate').as_posix()}", flush=True)


def fail(message: str, status: int) -> NoReturn:
    """Print an error and exit."""
    sys.stdout.flush()
    print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        main()
    except SetupError as error:
        fail(str(error), error.status)
    except OSError as error:
        fail(f"{error}: check the folder's permissions and the free disk space", 1)
    except KeyboardInterrupt:
        fail("interrupted; run the same command again to go on", 130)
