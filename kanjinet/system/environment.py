"""The toolkit's virtual environment: made, checked, and filled with the packages of the requirement files.

Standard library only, and readable by an older Python: it is imported before any package is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kanjinet.errors import KanjinetError
from kanjinet.system.machine import (
    Gpu,
    choose_torch_wheels,
    describe_python_range,
    fits_onnxruntime_gpu,
    index_has_torch,
    is_python_untested,
)
from kanjinet.system.packages import list_requirement_files, read_requirements

ONNXRUNTIMES = {"onnxruntime", "onnxruntime-gpu"}  # for the CPU, and for CUDA too


@dataclass(frozen=True)
class Environment:
    """Represents the virtual environment in a folder."""

    folder: Path  # absolute
    root: Path  # the toolkit's folder, where the requirement files lie
    report: Callable[[str], None]  # takes a line about what is done next

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp_path(self) -> Path:
        """The file that says what was installed."""
        return self.folder / "setup_etl9g.json"

    @property
    def unfinished_path(self) -> Path:
        """The file that is there while pip works; left over when pip was killed."""
        return self.folder / "setup_etl9g.unfinished"

    def make(self) -> None:
        """Makes the environment, or keeps the one there if it works."""
        if self.is_usable():
            return
        if Path(sys.prefix).resolve() == self.folder:
            remedy = "run 'deactivate', then this script again"
            raise KanjinetError(f"{self.folder}: needs to be made again, but is in use", remedy)
        self._refuse_foreign_folder()
        self.report(f"making the virtual environment {self.folder} with Python {platform.python_version()}")
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if result.returncode != 0 or not self.is_usable():
            raise KanjinetError(
                f"{format_command(command)}: failed with exit status {result.returncode}:\n{result.stdout.strip()}\n"
                "Where the message names ensurepip or venv, this Python lacks them",
                f"on Debian and Ubuntu run 'sudo apt install python3.{sys.version_info.minor}-venv', elsewhere use "
                "the installer from python.org; then run this script again",
            )

    def is_usable(self) -> bool:
        """Returns whether it runs this version of Python, has pip, and pip was not killed in it."""
        if not (self.folder / "pyvenv.cfg").is_file() or self.unfinished_path.exists():
            return False
        check = (
            "import importlib.util, sys\n"
            f"same = sys.version_info[:2] == {sys.version_info[:2]} and sys.prefix != sys.base_prefix\n"
            "sys.exit(0 if same and importlib.util.find_spec('pip.__main__') else 1)"
        )
        try:
            return subprocess.run([str(self.python), "-I", "-c", check], capture_output=True).returncode == 0
        except OSError:
            return False  # no interpreter, or the one it points to is gone

    def _refuse_foreign_folder(self) -> None:
        """Raises unless the folder may be cleared: absent, empty, or (half of) a virtual environment."""
        if self.folder.exists() and not self.folder.is_dir():
            raise KanjinetError(f"{self.folder}: is a file", "remove it, or choose another --venv-dir")
        if self.folder.is_dir() and not (self.folder / "pyvenv.cfg").is_file() and any(self.folder.iterdir()):
            remedy = "remove the folder, or choose another --venv-dir"
            raise KanjinetError(f"{self.folder}: has files, but is no virtual environment", remedy)

    def install(self, requirement_files: Sequence[str], gpu: Gpu | None) -> bool:
        """Installs what the stamp does not have yet; returns False when there was nothing to do."""
        files = [each for name in requirement_files for each in list_requirement_files(self.root / name)]
        files.append(self.root / "constraints.txt")
        expected = {
            "python": platform.python_version(),
            "device": "cuda" if gpu else "cpu",
            "files": {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files},
        }
        names = {item.name for file in requirement_files for item in read_requirements(self.root / file)}
        stamp = self._read_stamp()
        if _covers(stamp, expected) and self._has_packages(names):
            return False

        self.unfinished_path.touch()
        try:
            if "torch" in names:
                self._install_torch(sorted(names & {"torch", "torchvision"}), stamp, gpu)
                self._write_stamp({**expected, "files": {}})
            self.report(f"installing {' and '.join(requirement_files)}")
            requirements = [argument for name in requirement_files for argument in ("-r", name)]
            if is_python_untested():
                requirements.append("--only-binary=:all:")  # else pip compiles for minutes what has no wheel yet
            self._run_pip("install", *requirements, "-c", "constraints.txt")
            if "onnxruntime" in names:
                self._choose_onnxruntime(gpu)
            self._write_stamp(expected)
        except KanjinetError:
            self.unfinished_path.unlink()  # pip gave up by itself, and so leaves every package whole
            raise
        self.unfinished_path.unlink()
        return True

    def _install_torch(self, names: Sequence[str], stamp: dict[str, Any], gpu: Gpu | None) -> None:
        """Installs PyTorch, and what is built for it, from PyTorch's own index where that is the better source.

        Else the requirements bring it.

        Only the wheels themselves come from there (--no-deps): what they depend on comes with the requirements.
        """
        device = "cuda" if gpu else "cpu"
        is_replacement = stamp.get("device", device) != device
        pins = {name: _read_pin(self.root, name) for name in names}
        installed = self._list_versions()
        if not is_replacement and all(installed.get(name, "").partition("+")[0] == pins[name] for name in names):
            return
        version = pins["torch"]
        index_url, reason = choose_torch_wheels(
            gpu, platform.system(), lambda url: index_has_torch(self.python, url, version)
        )
        self.report(f"PyTorch {version}: {reason}")
        options = ["--force-reinstall"] if is_replacement else []
        options += ["--index-url", index_url] if index_url else []
        if options:
            self._run_pip("install", *(f"{name}=={pin}" for name, pin in pins.items()), "--no-deps", *options)

    def _choose_onnxruntime(self, gpu: Gpu | None) -> None:
        """Replaces onnxruntime by onnxruntime-gpu where that fits, and the other way round where it does not.

        The two fill the same folder, so that both must go before one comes.
        """
        versions = self._list_versions()
        fits = fits_onnxruntime_gpu(gpu, versions.get("torch", ""), platform.system())
        options = ["--no-deps", "--only-binary=:all:", "-c", "constraints.txt"]
        if gpu and not fits:
            self.report("onnxruntime for the CPU: onnxruntime-gpu needs Python 3.11 and PyTorch for CUDA 13")
        if fits or "onnxruntime-gpu" in versions:
            self._run_pip("uninstall", "--yes", *sorted(ONNXRUNTIMES & versions.keys()))
            try:
                self._run_pip("install", "onnxruntime-gpu" if fits else "onnxruntime", *options)
            except KanjinetError:
                if not fits:
                    raise
                self.report("onnxruntime for the CPU: no wheel of onnxruntime-gpu fits this machine (see above)")
                self._run_pip("install", "onnxruntime", *options)

    def _has_packages(self, names: set[str]) -> bool:
        """Returns whether every package is still there; either onnxruntime will do."""
        found = self._list_versions().keys()
        return found >= names - ONNXRUNTIMES and (found & ONNXRUNTIMES != set() or "onnxruntime" not in names)

    def _list_versions(self) -> dict[str, str]:
        """Returns the versions of the packages that are installed."""
        command = [str(self.python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        packages = json.loads(result.stdout) if result.returncode == 0 else []
        return {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}

    def _run_pip(self, *arguments: str) -> None:
        """Runs the environment's pip in the toolkit's folder."""
        command = [str(self.python), "-m", "pip", *arguments, "--disable-pip-version-check"]
        self.report(format_command(command))
        messages = ""
        with subprocess.Popen(command, cwd=self.root, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            assert process.stderr is not None
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                messages += line
        if process.returncode != 0:
            raise KanjinetError(
                f"pip failed with {describe_status(process.returncode)}; its messages are above. The command was:\n"
                f"  {format_command(command)}\n{advise_after_pip(messages)}, then run this script again"
            )

    def _read_stamp(self) -> dict[str, Any]:
        """Returns the stamp, or {} where it is absent or damaged."""
        try:
            stamp = json.loads(self.stamp_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _write_stamp(self, content: dict[str, Any]) -> None:
        """Writes the stamp, whole or not at all."""
        partial = self.stamp_path.with_name(self.stamp_path.name + ".part")
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.stamp_path)


def _covers(stamp: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Returns whether the stamp says what is expected; an environment for the tests serves the stages as well."""
    is_same = (stamp.get("python"), stamp.get("device")) == (expected["python"], expected["device"])
    return is_same and expected["files"].items() <= stamp.get("files", {}).items()


def _read_pin(root: Path, name: str) -> str:
    """Returns the version of a package in constraints.txt."""
    match = re.search(rf"^{name}==(\S+)", (root / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise KanjinetError(f"constraints.txt: no line '{name}==VERSION'", "get the file again")
    return match[1]


def advise_after_pip(messages: str) -> str:
    """Returns what to do about the failure that pip's messages tell of."""
    if re.search(r"No space left|Errno 28|not enough space", messages):
        return "Free some disk space"
    if re.search(r"connection|timed out|timeout|ProxyError|SSLError|Temporary failure", messages, re.IGNORECASE):
        return "Check the network connection"
    missing = re.search(r"No matching distribution found for (\S+)", messages)
    if missing:
        here = f"Python {platform.python_version()} on {sysconfig.get_platform()}"
        return (
            f"pip found no {missing[1]} for {here}: use Python {describe_python_range()}, and see that pip's own "
            "settings ('pip config list') leave it its usual index"
        )
    return "Do what its messages say"


def format_command(command: Sequence[str]) -> str:
    """Returns a command line that can be pasted into a shell."""
    if os.name == "nt":
        return subprocess.list2cmdline(command)
    return shlex.join(command)


def describe_status(status: int) -> str:
    """Returns an exit status in words; below 0 it is a signal's number, such as -9 where memory ran out."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
