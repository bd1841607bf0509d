"""Cores and memory that this process may use: by its affinity and control groups, not what the machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 says "no limit" by a number larger than any memory


def usable_cores() -> int:
    """Returns the number of cores that this process may use, at least 1: by its affinity and by the groups' quotas."""
    count_cores = getattr(os, "process_cpu_count", os.cpu_count)  # Python 3.13 has the first
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count_cores() or 1
    quotas = []
    for folder in _list_groups("cpu"):
        quota, period = [*_read_words(folder / "cpu.max"), "", ""][:2]  # version 2
        if not quota:
            quota, period = ("".join(_read_words(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(math.ceil(int(quota) / int(period)))
    return max(1, min([cores, *quotas]))


def usable_memory_bytes() -> int:
    """Returns the memory that this process may still take: what the machine has free, or less where a group ends it."""
    import psutil

    free = [psutil.virtual_memory().available]
    for folder in _list_groups("memory"):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),  # version 2, then 1
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = ("".join(_read_words(folder / name)) for name in (limit_name, usage_name))
            if limit.isdecimal() and usage.isdecimal() and int(limit) < _NO_LIMIT:
                free.append(int(limit) - int(usage) + _read_reclaimable_bytes(folder))
    return max(0, min(free))


def _list_groups(controller: str) -> Iterator[Path]:
    """Lists the folders of the groups that limit this process, its own and those around it; none but on Linux."""
    try:
        lines = _PROCESS_GROUPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _GROUPS / controller if controllers else _GROUPS
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:  # no such group in this container, or no such limit
        return []


def _read_reclaimable_bytes(folder: Path) -> int:
    """Returns what a group counts as used but gives back at once: the cache of files."""
    words = _read_words(folder / "memory.stat")
    counts = dict(zip(words[0::2], words[1::2], strict=False))
    count = counts.get("total_inactive_file") or counts.get("inactive_file", "0")  # version 1 has both
    return int(count) if count.isdecimal() else 0
