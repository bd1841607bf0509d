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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "fonttools": "fontTools",
    "kanjivg": "",  # data files only
}
_IMPORT_TIMEOUT_S = 300  # the first import of torch on a slow disk takes a minute


@dataclass(frozen=True)
class Requirement:
    """Represents a package: its name in the registry, and its lowest version where the file gives one."""

    name: str
    minimum: str | None = None

    @property
    def import_name(self) -> str:
        """What an import statement calls it; "" for a package that holds only data."""
        return _IMPORT_NAMES.get(self.name, self.name.replace("-", "_"))


@dataclass(frozen=True)
class ImportResult:
    """Represents what came of importing a package: its version or the error, and what it tells about GPUs."""

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
    """Returns whether the numbers of a version, such as 2.14.1+cpu, reach those of the minimum."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]

    return numbers(version) >= numbers(minimum)


def try_imports(requirements: Sequence[Requirement], root: Path) -> dict[str, ImportResult]:
    """Imports each package in a process of its own, which it may end; `root` is the toolkit's folder."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda requirement: _try_import(requirement, root), requirements)
        return {requirement.name: result for requirement, result in zip(requirements, results, strict=True)}


def _try_import(requirement: Requirement, root: Path) -> ImportResult:
    code = "import sys; from kanjinet.system.packages import report_import; report_import(*sys.argv[1:])"
    command = [sys.executable, "-c", code, requirement.name, requirement.import_name]
    try:
        process = subprocess.run(command, cwd=root, capture_output=True, timeout=_IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ImportResult(None, f"the import did not end within {_IMPORT_TIMEOUT_S} s", {})
    if not process.stdout:
        return ImportResult(None, f"the import ended Python with status {process.returncode}", {})
    return ImportResult(**json.loads(process.stdout))


def report_import(name: str, import_name: str) -> None:
    """Imports a package in this process and prints its ImportResult as JSON."""
    from importlib import metadata  # here, because an older Python lacks it

    version, error, details = None, None, {}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a package may greet its user
            module = importlib.import_module(import_name) if import_name else None
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                if module is None:
                    raise
                version = str(getattr(module, "__version__", "unknown"))  # another build, such as opencv-python
            details = _describe_gpu(name, module)
    except Exception as problem:  # whatever a broken package raises is the result
        is_missing = isinstance(problem, ModuleNotFoundError) and problem.name in (import_name, name)
        first_line = str(problem).strip().partition("\n")[0]
        error = "not installed" if is_missing else f"{type(problem).__name__}: {first_line}"
    print(json.dumps({"version": version, "error": error, "details": details}))


def _describe_gpu(name: str, module: Any) -> dict[str, Any]:
    if name == "torch":
        device = module.cuda.get_device_name(0) if module.cuda.is_available() else None  # on ROCm too
        hip, cuda = getattr(module.version, "hip", None), module.version.cuda
        build = f"ROCm {hip}" if hip else cuda and f"CUDA {cuda}"
        return {"gpu_build": build, "gpu_device": device, "has_mps": module.backends.mps.is_available()}
    if name == "onnxruntime":
        return {"has_cuda": "CUDAExecutionProvider" in module.get_available_providers()}
    return {}
