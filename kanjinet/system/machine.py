"""The machine: which Python versions the toolkit supports, and the NVIDIA GPU.

Standard library only, and readable by an older Python: it is imported before any package is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)  # every package has wheels for these


@dataclass(frozen=True)
class Gpu:
    """Represents an NVIDIA GPU as nvidia-smi describes it."""

    name: str
    driver: str  # such as 580.65.06
    memory_mib: int | None
    capability: float | None  # compute capability, such as 8.9; an old nvidia-smi does not tell it


def describe_python_range() -> str:
    """Returns the versions that are supported, such as "3.10 to 3.14"."""
    return " to ".join(f"{major}.{minor}" for major, minor in (OLDEST_PYTHON, NEWEST_PYTHON))


def is_python_supported(version: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)) -> bool:
    """Returns whether every package has wheels for this version of Python."""
    return OLDEST_PYTHON <= version <= NEWEST_PYTHON


def find_gpu(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> Gpu | None:
    """Returns the first NVIDIA GPU, or None where nvidia-smi is absent or does not answer."""
    for fields in ("name,driver_version,memory.total,compute_cap", "name,driver_version,memory.total"):
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        try:
            result = run(command, capture_output=True, text=True, errors="replace", timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        values = [value.strip() for value in result.stdout.strip().partition("\n")[0].split(",")]
        if result.returncode == 0 and len(values) >= 3 and re.match(r"\d", values[1]):
            is_capability_known = len(values) == 4 and re.fullmatch(r"\d+\.\d+", values[3])
            return Gpu(
                name=values[0],
                driver=values[1],
                memory_mib=int(values[2]) if values[2].isdigit() else None,
                capability=float(values[3]) if is_capability_known else None,
            )
    return None
