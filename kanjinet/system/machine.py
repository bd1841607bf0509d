"""The machine: whether the packages have wheels for its Python, the NVIDIA GPU, and which builds of packages fit it.

Standard library only, and readable by an older Python: it is imported before any package is installed.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)  # every package has wheels for these
OLDEST_GLIBC = (2, 28)  # PyTorch's and OpenCV's wheels are manylinux_2_28
TORCH_INDEX = "https://download.pytorch.org/whl"
INDEX_TIMEOUT_S = 5
CUDA_13, CUDA_12 = "cu130", "cu126"  # the indexes for present and for older NVIDIA drivers and GPUs
CUDA_13_DRIVER = 580  # the first driver branch that runs CUDA 13
CUDA_13_CAPABILITY = 7.5  # Turing; CUDA 13 dropped Maxwell, Pascal and Volta
ONNXRUNTIME_GPU_PYTHON = (3, 11)  # the last onnxruntime-gpu for an older one needs CUDA 12


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


def is_python_untested() -> bool:
    """Returns whether this Python is newer than those for which every package is known to have wheels."""
    return sys.version_info[:2] > NEWEST_PYTHON


@dataclass(frozen=True)
class Interpreter:
    """Represents what decides which wheels a Python can install."""

    version: tuple[int, ...]  # such as (3, 14)
    platform: str  # of the build, such as linux-x86_64, win-arm64 or macosx-11.0-universal2
    machine: str  # the processor that it runs on, such as x86_64; on a translated one, what it is told
    is_64bit: bool = True
    is_translated: bool = False  # on an Apple processor, but built for Intel's
    build: str = "CPython"  # another implementation's name, or free-threaded CPython
    glibc: tuple[int, ...] = ()  # such as (2, 36); () with another C library, such as musl


def read_interpreter() -> Interpreter:
    """Describes the Python that runs this."""
    libc, libc_version = platform.libc_ver()
    is_free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return Interpreter(
        version=sys.version_info[:2],
        platform=sysconfig.get_platform(),
        machine=platform.machine(),
        is_64bit=sys.maxsize > 2**32,
        is_translated=_is_translated(),
        build=("free-threaded " if is_free_threaded else "") + platform.python_implementation(),
        glibc=tuple(map(int, re.findall(r"\d+", libc_version)[:2])) if libc == "glibc" else (),
    )


def _is_translated() -> bool:
    if platform.system() != "Darwin":
        return False
    done = subprocess.run(["sysctl", "-n", "sysctl.proc_translated"], capture_output=True, text=True)
    return done.stdout.strip() == "1"


def find_obstacle(python: Interpreter) -> tuple[str, str] | None:
    """Returns why packages have no wheels for a Python, and what to do about it; None where nothing is known."""
    newest = "{}.{}".format(*NEWEST_PYTHON)
    is_usual = python.is_64bit and python.platform != "win-arm64"
    install = f"install the usual 64-bit Python {newest} of python.org"
    if shutil.which("pymanager"):  # the Windows install manager
        install = f"run 'py install {newest}{'' if is_usual else '-64'}'"
    remedy = f"{install}, then 'py -{newest} setup_etl9g.py' (not on Windows: 'python{newest} setup_etl9g.py')"
    if python.version < OLDEST_PYTHON:
        return f"the packages need Python {describe_python_range()}", remedy
    if not python.is_64bit and python.platform.startswith("linux"):
        return "this Python has 32 bits, and PyTorch has wheels for 64 bits alone", "use a 64-bit Linux"
    if not python.is_64bit:
        return "this Python has 32 bits, and PyTorch has wheels for 64 bits alone", remedy
    if python.build != "CPython":
        return f"the packages have no wheels for {python.build}", remedy
    if python.platform == "win-arm64":
        problem = "this is a Python for ARM, for which not all packages have wheels on Windows"
        return problem, f"{install} for x64, which works there as well"
    if python.platform.startswith("macosx") and python.is_translated:
        problem = "this is a Python for Intel, translated by Rosetta, and PyTorch has no wheels for Intel Macs"
        return problem, f"{install} and open the terminal without Rosetta"
    if python.platform.startswith("macosx") and python.machine == "x86_64":
        return "PyTorch has had no wheels for Intel Macs since its version 2.2", "use another computer, or Linux on it"
    if python.platform.startswith("linux") and python.glibc < OLDEST_GLIBC:
        found = "glibc {}.{}".format(*python.glibc) if python.glibc else "another C library than glibc, such as musl"
        return (
            f"this system has {found}, and PyTorch's wheels need glibc {{}}.{{}}".format(*OLDEST_GLIBC),
            "use a newer Linux with glibc, such as Debian, Ubuntu or Fedora; a container will do",
        )
    return None


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


def choose_torch_wheels(gpu: Gpu | None, system: str, has_torch: Callable[[str], bool]) -> tuple[str | None, str]:
    """Chooses PyTorch's wheels for a machine: their index's URL, or None for the platform's default, and the reason.

    Args:
        gpu: the machine's.
        system: `platform.system()`; the platform's default has CUDA on Linux, and only CPU code on Windows and macOS.
        has_torch: whether the wheel index at a URL can be reached and has a PyTorch for this machine.
    """
    if gpu is None:
        if system == "Darwin":
            return None, "macOS: PyTorch's default wheels"
        url = f"{TORCH_INDEX}/cpu"
        if has_torch(url):
            return url, "no NVIDIA GPU: PyTorch's CPU wheels, about 200 MB"
        size = ", with CUDA packages that go unused (about 3 GB)" if system == "Linux" else ""
        return None, f"no NVIDIA GPU, and {url} is out of reach or lacks it: the platform's default{size}"

    found = f"{gpu.name}, driver {gpu.driver}"
    if runs_cuda_13(gpu) and system == "Linux":
        return None, f"{found}: the platform's default, with CUDA"
    url = f"{TORCH_INDEX}/{CUDA_13 if runs_cuda_13(gpu) else CUDA_12}"
    if has_torch(url):
        return url, f"{found}: PyTorch's CUDA wheels"
    effect = "it may need a newer driver or GPU" if system == "Linux" else "it does not use the GPU"
    return None, f"{found}, but {url} is out of reach or lacks it: the platform's default; {effect}"


def runs_cuda_13(gpu: Gpu) -> bool:
    """Returns whether the GPU and its driver run CUDA 13; an unknown compute capability counts as new enough."""
    is_capable = gpu.capability is None or gpu.capability >= CUDA_13_CAPABILITY
    return is_capable and int(gpu.driver.partition(".")[0]) >= CUDA_13_DRIVER


def fits_onnxruntime_gpu(
    gpu: Gpu | None, torch_version: str, system: str, python: tuple[int, ...] = sys.version_info[:2]
) -> bool:
    """Returns whether onnxruntime-gpu can run: it needs CUDA 13, whose libraries PyTorch's CUDA wheels bring.

    `torch_version` is that of the installed PyTorch, such as 2.14.1+cu130, and `system` is `platform.system()`.
    """
    build = torch_version.partition("+")[2]
    has_cuda_13 = build.startswith("cu13") or (torch_version != "" and not build and system == "Linux")
    return gpu is not None and runs_cuda_13(gpu) and has_cuda_13 and python >= ONNXRUNTIME_GPU_PYTHON


def index_has_torch(python: Path, index_url: str, version: str) -> bool:
    """Returns whether the index answers within seconds and has that PyTorch for this Python and machine.

    The version is without the build that the index's own wheels add, such as +cpu; `python`'s pip asks.
    """
    command = [str(python), "-m", "pip", "index", "versions", "torch", "--index-url", index_url]
    command += ["--retries", "0", "--timeout", str(INDEX_TIMEOUT_S), "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return re.search(rf"\b{re.escape(version)}\+", result.stdout) is not None
