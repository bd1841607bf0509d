"""A second, plain writer of ETL files, made of `struct` alone: independent of the code under test."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RECORD = struct.Struct(">2H8sI4B4H2B34x8128s7x")  # AIST's layout of ETL9G, as its specification gives it
RECORD_8G = struct.Struct(">2H8sI4B4H2B30x8128s11x")  # of ETL8G: form_e8g
BINARY_RECORD = struct.Struct(">2H4s504s64x")  # of ETL9B: form_e9b
M_RECORD = struct.Struct(">H2sH6BI4H4B4x2016s4x")  # of ETL1 and ETL6: form_m


def list_jis_codes() -> list[int]:
    """The 3,036 JIS codes in ascending order, from the codec."""
    small = "ぁぃぅぇぉっゃゅょゎゐゑ"
    row = range(0x2421, 0x2474)
    hiragana = [code for code in row if bytes([0xA4, 0x80 | code & 0xFF]).decode("euc_jp") not in small]
    kanji = [high << 8 | low for high in range(0x30, 0x50) for low in range(0x21, 0x7F)]
    return hiragana + [code for code in kanji if code <= 0x4F53]


def draw_ink(seed: int) -> np.ndarray:
    """(127, 128) uint8 ink levels 0-15: a few thick bars, different for each seed."""
    rng = np.random.default_rng(seed)
    cell = np.zeros((127, 128), dtype=np.uint8)
    for _ in range(4):
        top, left = rng.integers(35, 75, 2)
        height, width = (4, 30) if rng.random() < 0.5 else (30, 4)
        cell[top : top + height, left : left + width] = rng.integers(5, 10)
    return cell


def pack_cell(cell: np.ndarray) -> bytes:
    """(127, 128) ink levels -> 8,128 bytes, two pixels to a byte."""
    levels = cell.ravel().tolist()
    return bytes(high << 4 | low for high, low in zip(levels[0::2], levels[1::2], strict=True))


def write_file(path: Path, sheets: Sequence[int], codes: Sequence[int], cells: Sequence[bytes] | None = None) -> Path:
    """Write one record for each sheet and code; blank cells where none are given."""
    with path.open("wb") as file:
        for index, (sheet, code) in enumerate(zip(sheets, codes, strict=True)):
            fields = (sheet, code, b"        ", index + 1, 0, 0, 0, 0, 0, 0, 8212, 8310, index % 16, index // 16 % 10)
            file.write(RECORD.pack(*fields, cells[index] if cells else bytes(8128)))
    return path


def draw_small_ink(seed: int) -> np.ndarray:
    """(63, 64) uint8 ink levels 0-15: random strokes in the middle."""
    rng = np.random.default_rng(seed)
    cell = np.zeros((63, 64), dtype=np.uint8)
    cell[15:47, 16:48] = rng.integers(0, 2, (8, 8)).repeat(4, axis=0).repeat(4, axis=1) * rng.integers(6, 12)
    return cell


def pack_m_record(code: int, sheet: int, cell: np.ndarray, name: bytes = b"", place: tuple[int, int] = (1, 1)) -> bytes:
    """A record of ETL1 or ETL6; `place` is row and column."""
    fields = (1, name, sheet, code, 0, 0, 0, 1, 24, 1, 0, 0, 7309, 7311, *place, 0, 255)
    return M_RECORD.pack(*fields, pack_cell(cell))


def write_m_file(path: Path, codes: Sequence[int], sheets: Sequence[int]) -> Path:
    """Writes a record of each code and sheet, character by character, each with an image of its own."""
    path.parent.mkdir(exist_ok=True)
    records = (
        pack_m_record(code, sheet, draw_small_ink(code << 16 | sheet), place=(place // 10 + 1, place % 10 + 1))
        for place, code in enumerate(codes)
        for sheet in sheets
    )
    path.write_bytes(b"".join(records))
    return path


def write_data_sets(folder: Path, number: int, data_sets: int, shuffle_seed: int | None = None) -> Path:
    """ETL9G_<number> with whole data sets: a class's cells look alike but for a shift, so that it can be learnt."""
    folder.mkdir(exist_ok=True)
    codes = list_jis_codes()
    looks = [draw_ink(index) for index in range(len(codes))]
    rows: list[tuple[int, int, bytes]] = []
    for data_set in range(data_sets):
        for index, code in enumerate(codes):
            shifted = np.roll(looks[index], data_set - 1, axis=1)
            rows.append((data_set * 20 + index // 152 + 1, code, pack_cell(shifted)))
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(len(rows))
        rows = [rows[i] for i in order]
    return write_file(folder / f"ETL9G_{number:02d}", *map(list, zip(*rows, strict=True)))
