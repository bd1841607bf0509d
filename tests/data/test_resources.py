"""How many workers are started: by affinity, a group's quota and memory, as Linux tells them in its files."""

import os
import sys
import types
from pathlib import Path

import psutil
import pytest

from kanjinet.data import resources, worker_processes
from kanjinet.data.resources import usable_cores, usable_memory_bytes
from kanjinet.data.worker_processes import WORKER_BYTES, choose_workers

GIB = 1 << 30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores and 32 GiB, and the folder of its groups, of which there are none."""
    if "affinity" not in os.environ.get("PYTEST_CURRENT_TEST", ""):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=32 * GIB))
    monkeypatch.setattr(resources, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(resources, "_PROCESS_GROUPS", tmp_path / "cgroup")
    return tmp_path


def test_without_groups_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == 16
    assert usable_memory_bytes() == 32 * GIB
    assert choose_workers(None, 50) == 16
    assert choose_workers(3, 50) == 3
    assert choose_workers(100, 50) == 50
    monkeypatch.setattr(worker_processes, "usable_memory_bytes", lambda: 3 * WORKER_BYTES + 1)
    assert choose_workers(None, 50) == 3
    monkeypatch.setattr(worker_processes, "usable_memory_bytes", lambda: 1000)
    assert choose_workers(None, 50) == 1


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        ("0::/a/b\n", {"a/cpu.max": "250000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3, 32 * GIB),
        (
            "0::/\n",
            {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "5\n"},
            16,
            32 * GIB,
        ),
        (
            "0::/a\n",
            {
                "a/memory.max": str(4 * GIB),
                "a/memory.current": str(3 * GIB),
                "a/memory.stat": f"anon 7\ninactive_file {GIB}\n",
            },
            16,
            2 * GIB,
        ),
        (
            "4:memory:/x/y\n1:cpu,cpuacct:/x/y\n",  # version 1, in a container that does not see its own folder
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(GIB),
                "memory/memory.usage_in_bytes": str(GIB // 2),
            },
            1,
            GIB // 2,
        ),
        (
            "4:memory:/\n1:cpu:/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str((1 << 63) - 4096),
                "memory/memory.usage_in_bytes": "0",
            },
            16,
            32 * GIB,
        ),
    ],
)
def test_groups_limit_cores_and_memory(
    machine: Path, groups: str, files: dict[str, str], cores: int, memory: int
) -> None:
    (machine / "cgroup").write_text(groups)
    for name, content in files.items():
        (machine / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / "groups" / name).write_text(content)
    assert usable_cores() == cores
    assert usable_memory_bytes() == memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a process's cores")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
