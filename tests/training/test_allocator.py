"""Freed memory is kept for reuse with every glibc, and no setting makes it slower than the default."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from kanjinet.training.allocator import keep_freed_memory

TRIM, MMAP = -1, -3


class Glibc:
    """Takes settings as malloc/malloc.c does: any but a refused one ends its own adaption of the mmap threshold."""

    def __init__(self, max_mmap_threshold: int) -> None:
        self.max_mmap_threshold = max_mmap_threshold
        self.settings: dict[int, int] = {}

    def mallopt(self, name: int, value: int) -> int:
        if name == MMAP and value > self.max_mmap_threshold:
            return 0
        self.settings[name] = value
        return 1


@pytest.mark.parametrize(
    ("max_mmap_threshold", "expected"),
    [((1 << 31) - 1, 1 << 30), (32 << 20, 32 << 20), (512 << 10, None)],
    ids=["2.35 and later", "earlier", "32 bits"],
)
def test_the_largest_threshold_that_glibc_takes_is_set_or_nothing(
    monkeypatch: pytest.MonkeyPatch, max_mmap_threshold: int, expected: int | None
) -> None:
    glibc = Glibc(max_mmap_threshold)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(mallopt=glibc.mallopt))
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert glibc.settings.get(MMAP) == expected
    assert bool(glibc.settings) == (expected is not None)
    assert expected is None or glibc.settings[TRIM] > expected


def test_a_library_without_settings_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()  # nor is anything raised
