"""The checks of preflight_check.py, which work before any package is installed."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kanjinet.data.etl_files import NUM_FILES, describe_etl_files, find_etl_files
from kanjinet.data.resources import usable_cores
from kanjinet.errors import KanjinetError, explain_os_error
from kanjinet.system.machine import (
    Gpu,
    describe_python_range,
    find_gpu,
    find_obstacle,
    is_python_untested,
    read_interpreter,
)
from kanjinet.system.packages import ImportResult, is_version_enough, read_requirements, try_imports

STAGE_SCRIPTS = (
    "fetch_fonts.py",
    "make_sample_etl9g.py",
    "prepare_etl9g_dataset.py",
    "test_etl9g_setup.py",
    "train_etl9g_model.py",
    "average_models.py",
    "calibrate_model.py",
    "evaluate_model.py",
    "recognize_kanji.py",
    "convert_to_onnx.py",
    "convert_to_safetensors.py",
    "generate_enhanced_mapping.py",
    "serve_web.py",
)
MIN_RAM_GIB, GOOD_RAM_GIB = 2, 8
DATASET_BYTES_PER_RECORD = 64 * 64 + 64  # an image at the default size, and room for its labels
OTHER_OUTPUT_BYTES = 200 * 10**6  # checkpoints and exports of one training run
RECORDS_LOOKED_AT = 50  # at either end of each file: enough to tell another database from ETL9G

Status = Literal["ok", "warning", "failed"]
_SETUP_REMEDY = "run setup_etl9g.py, and activate the environment that it makes"


@dataclass(frozen=True)
class Check:
    """Represents a line of the table: what was looked at, how it is, and what to do about it."""

    group: str
    name: str
    status: Status
    value: str
    remedy: str = ""


def run_checks(etl_dir: Path, root: Path) -> list[Check]:
    """Returns every check of the ETL9G files' folder and of the toolkit's, in the order of the table."""
    imports = try_imports(read_requirements(root / "requirements.txt"), root)
    data_checks, records = check_data(etl_dir)
    return [
        check_python(),
        check_ram(),
        check_disk(records),
        *check_packages(imports, root),
        check_gpu(find_gpu(), imports["torch"]),
        *data_checks,
        check_scripts(root),
    ]


def check_python() -> Check:
    """Checks that the packages have wheels for this Python."""
    value = f"{platform.python_version()} ({sys.executable})"
    obstacle = find_obstacle(read_interpreter())
    if obstacle:
        return Check("system", "Python", "failed", value, ": ".join(obstacle))
    if is_python_untested():
        return Check("system", "Python", "warning", value, f"newer than the tested {describe_python_range()}")
    return Check("system", "Python", "ok", value)


def check_ram() -> Check:
    """Checks the memory of the machine."""
    try:
        import psutil
    except ImportError:
        return Check("system", "RAM", "warning", "unknown before psutil is installed", _SETUP_REMEDY)
    memory = psutil.virtual_memory()
    total_gib, free_gib = memory.total / 2**30, memory.available / 2**30
    value = f"{total_gib:.1f} GiB, {free_gib:.1f} GiB free; {usable_cores()} usable cores"
    if total_gib < MIN_RAM_GIB:
        return Check("system", "RAM", "failed", value, f"training needs at least {MIN_RAM_GIB} GiB")
    if total_gib < GOOD_RAM_GIB:
        remedy = "enough for a sample; for all 50 files use --sample-limit, and fewer --workers when preparing"
        return Check("system", "RAM", "warning", value, remedy)
    return Check("system", "RAM", "ok", value)


def check_disk(records: int) -> Check:
    """Checks the free space of the current folder, where the stages write."""
    needed_bytes = records * DATASET_BYTES_PER_RECORD + OTHER_OUTPUT_BYTES
    free_bytes = shutil.disk_usage(Path.cwd()).free
    value = f"{free_bytes / 1e9:.1f} GB free in {Path.cwd()}"
    if free_bytes >= needed_bytes:
        return Check("system", "disk", "ok", value)
    remedy = f"{needed_bytes / 1e9:.1f} GB are needed for the prepared dataset and the models: free some space"
    return Check("system", "disk", "failed", value, remedy)


def check_packages(imports: dict[str, ImportResult], root: Path) -> Iterator[Check]:
    """Checks that each package of requirements.txt can be imported, and its version."""
    for requirement in read_requirements(root / "requirements.txt"):
        result = imports[requirement.name]
        if result.error is not None or result.version is None:
            remedy = _SETUP_REMEDY if result.error == "not installed" else f"install it again; or {_SETUP_REMEDY}"
            yield Check("packages", requirement.name, "failed", result.error or "no version", remedy)
        elif requirement.minimum and not is_version_enough(result.version, requirement.minimum):
            value = f"{result.version}, but at least {requirement.minimum} is needed"
            yield Check("packages", requirement.name, "failed", value, _SETUP_REMEDY)
        else:
            builds = {True: " (onnxruntime-gpu, with CUDA)", False: " (without CUDA)", None: ""}
            yield Check("packages", requirement.name, "ok", result.version + builds[result.details.get("has_cuda")])


def check_gpu(gpu: Gpu | None, torch: ImportResult) -> Check:
    """Checks the GPU, its driver, and whether PyTorch can use it; without one training is slow, but works."""
    device, build = torch.details.get("gpu_device"), torch.details.get("gpu_build")
    name = "ROCm" if build and build.startswith("ROCm") else "CUDA"
    if gpu is None and device is None:
        if torch.details.get("has_mps"):
            return Check("GPU", "MPS", "ok", f"Apple's GPU ({platform.machine()}), by PyTorch's MPS")
        remedy = "training runs on the CPU: start with --sample-limit and few --epochs"
        if name == "ROCm":
            return Check("GPU", name, "warning", f"no AMD GPU that PyTorch's {build} can use", remedy)
        return Check("GPU", name, "warning", "no NVIDIA GPU", remedy)
    if gpu is None:
        silent = "" if name == "ROCm" else "; nvidia-smi does not answer"
        return Check("GPU", name, "ok", f"{device}, {build}{silent}")
    memory = f", {gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib else ""
    value = f"{gpu.name}{memory}, driver {gpu.driver}"
    if device is not None:
        return Check("GPU", name, "ok", f"{value}, {build}" if name == "CUDA" else f"{device}, {build}; also {value}")
    if torch.error is not None:
        return Check("GPU", name, "warning", f"{value}; PyTorch cannot be imported", _SETUP_REMEDY)
    if build is None:
        return Check("GPU", name, "warning", f"{value}; this PyTorch is a CPU build", "run setup_etl9g.py again")
    remedy = "training would run on the CPU: install a newer NVIDIA driver"
    return Check("GPU", name, "warning", f"{value}; PyTorch's {build} cannot use it", remedy)


def check_data(etl_dir: Path) -> tuple[list[Check], int]:
    """Checks the ETL9G files: how many, of which sizes, real or synthetic; also returns the number of records."""
    try:
        files = find_etl_files(etl_dir)
        from kanjinet.data import etl_records  # needs numpy
    except (KanjinetError, OSError) as error:
        return [_failed_data("ETL9G files", error)], 0
    except ImportError:
        value = f"{describe_etl_files(files)}; not looked at before numpy is installed"
        return [Check("data", "ETL9G files", "failed", value, _SETUP_REMEDY)], 0

    damaged, num_records, size_bytes, is_synthetic = [], 0, 0, False
    for file in files:
        try:
            records = etl_records.open_records(file)
            for part in (records[:RECORDS_LOOKED_AT], records[-RECORDS_LOOKED_AT:]):
                etl_records.decode_classes(file, part)
            is_synthetic |= etl_records.is_synthetic(file, records[:RECORDS_LOOKED_AT])
        except (KanjinetError, OSError) as error:
            damaged.append(_failed_data(file.path.name, error))
            continue
        num_records += len(records)
        size_bytes += file.path.stat().st_size

    name, of = f"{files[0].database} files", NUM_FILES[files[0].database]
    where = "" if files[0].path.parent == etl_dir else f" in {files[0].path.parent}"
    value = f"{len(files)} of {of}: {num_records:,} records, {size_bytes / 1e9:.2f} GB{where}"
    summary = Check("data", name, "ok", value)
    if damaged:
        summary = Check("data", name, "failed", f"{value}; {len(damaged)} damaged", "see the lines below")
    elif len(files) < of:
        summary = Check("data", name, "warning", value, f"training works with these; all {of} read better")
    origin = "synthetic sample, not real handwriting" if is_synthetic else "AIST's files: no mark of a synthetic sample"
    return [summary, Check("data", "origin", "ok", origin), *damaged], num_records


def _failed_data(name: str, error: KanjinetError | OSError) -> Check:
    explained = error if isinstance(error, KanjinetError) else explain_os_error(error)
    return Check("data", name, "failed", explained.problem, explained.remedy)


def check_scripts(root: Path) -> Check:
    """Checks that the stages' scripts are there."""
    missing = [name for name in STAGE_SCRIPTS if not (root / name).is_file()]
    if missing:
        return Check("scripts", "stages", "failed", f"missing: {', '.join(missing)}", "get the toolkit's files again")
    return Check("scripts", "stages", "ok", f"all {len(STAGE_SCRIPTS)} in {root}")
