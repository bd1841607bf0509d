"""The packages that the requirement files name, and whether an interpreter can import them.

Standard library only: it is imported before any package is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "kanjivg": "",  # data files only
}
_IMPORT_TIMEOUT_S = 300  # the first import of torch on a slow disk takes a minute


@dataclass(frozen=True)
class Requirement:
    """A package by its name in the registry, and its lowest version where the file gives one."""

    name: str
    minimum: str | None = None

    @property
    def import_name(self) -> str:
        """What an import statement calls it; "" for a package that holds only data."""
        return _IMPORT_NAMES.get(self.name, self.name.replace("-", "_"))


@dataclass(frozen=True)
class ImportResult:
    """What came of importing a package: its version, or the error; torch and onnxruntime also tell about CUDA."""

    version: str | None
    error: str | None
    details: dict[str, Any]


def list_requirement_files(path: Path) -> list[Path]:
    """Lists a requirement file and those that it includes with -r."""
    included = re.findall(r"^-r (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [path, *(each for name in included for each in list_requirement_files(path.with_name(name)))]


def read_requirements(path: Path) -> list[Requirement]:
    """Reads the packages in a requirement file, and in those that it includes, that every machine needs.

    Other options, comments, and packages with an environment marker are passed over.
    """
    lines = [line for file in list_requirement_files(path) for line in file.read_text(encoding="utf-8").splitlines()]
    matches = (re.match(r"([A-Za-z0-9][\w.-]*)(?:[>=]=([\d.]+))?(?![^#]*;)", line) for line in lines)
    return [Requirement(match[1], match[2]) for match in matches if match]


def is_version_enough(version: str, minimum: str) -> bool:
    """Whether the numbers of a version, such as 2.14.1+cpu, reach those of the minimum."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]

    return numbers(version) >= numbers(minimum)


def try_imports(requirements: Iterable[Requirement], root: Path) -> dict[str, ImportResult]:
    """Import packages in another process of this interpreter, and in one more for each that kills it.

    Args:
        requirements: what to import.
        root: the toolkit's folder, where that process starts.
    """
    waiting = list(requirements)
    results: dict[str, ImportResult] = {}
    while waiting:
        code = "import sys; from kanjinet.system.packages import report_imports; report_imports(sys.argv[1:])"
        command = [sys.executable, "-c", code, *(f"{item.name}={item.import_name}" for item in waiting)]
        try:
            process = subprocess.run(command, cwd=root, capture_output=True, timeout=_IMPORT_TIMEOUT_S)
            output, end = process.stdout, f"the import ended Python with status {process.returncode}"
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", f"the import did not end within {_IMPORT_TIMEOUT_S} s"
        for line in output.splitlines():
            report = json.loads(line)
            results[report.pop("name")] = ImportResult(report.pop("version"), report.pop("error"), report)
        waiting = [item for item in waiting if item.name not in results]
        if waiting:
            results[waiting.pop(0).name] = ImportResult(None, end, {})
    return results


def report_imports(names: list[str]) -> None:
    """In the other process: import each package of ["numpy=numpy", ...] and print a line of JSON about it."""
    for item in names:
        name, _, import_name = item.partition("=")
        report: dict[str, Any] = {"name": name, "version": None, "error": None}
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a package may greet its user
                module = importlib.import_module(import_name) if import_name else None
                report["version"] = _version_of(name, module)
                report.update(_describe_cuda(name, module))
        except Exception as error:  # whatever a broken package raises is the result
            is_missing = isinstance(error, ModuleNotFoundError) and error.name in (import_name, name)
            first_line = str(error).strip().partition("\n")[0]
            report["error"] = "not installed" if is_missing else f"{type(error).__name__}: {first_line}"
        print(json.dumps(report), flush=True)


def _version_of(name: str, module: Any) -> str:
    import importlib.metadata  # here, because an older Python lacks it

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if module is None:
            raise
        # installed as another build, such as opencv-python
        return str(getattr(module, "__version__", "unknown"))


def _describe_cuda(name: str, module: Any) -> dict[str, Any]:
    if name == "torch":
        device = module.cuda.get_device_name(0) if module.cuda.is_available() else None
        return {"cuda_build": module.version.cuda, "cuda_device": device}
    if name == "onnxruntime":
        return {"has_cuda": "CUDAExecutionProvider" in module.get_available_providers()}
    return {}
