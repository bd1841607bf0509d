"""The ETL9G record format: 8,199-byte big-endian records of one 128 x 127 cell with 16 gray levels.

Source: AIST, "Specification of ETL-9", G-type record (form_e9g).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_CLASSES, classes_of_jis
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import read_bytes, replace_on_success

CELL_WIDTH, CELL_HEIGHT = 128, 127  # pixels
MAX_INK = 15  # 4 bits a pixel: 0 = paper, 15 = darkest ink
NUM_FILES = 50
SETS_PER_FILE = 4  # data sets: each holds every character once
NUM_DATA_SETS = NUM_FILES * SETS_PER_FILE  # 200
SHEETS_PER_SET = 20
SHEETS_PER_FILE = SETS_PER_FILE * SHEETS_PER_SET  # the sheet number restarts in every file: 1-80
RECORDS_PER_FILE = SETS_PER_FILE * NUM_CLASSES  # 12,144

RECORD_DTYPE = np.dtype(
    [
        ("sheet", ">u2"),
        ("jis_code", ">u2"),
        ("reading", "S8"),  # ASCII, padded with spaces
        ("serial", ">u4"),
        ("character_evaluation", "u1"),
        ("group_evaluation", "u1"),
        ("writer_sex", "u1"),
        ("writer_age", "u1"),
        ("industry_code", ">u2"),
        ("occupation_code", ">u2"),
        ("gathered_yymm", ">u2"),  # decimal: 8212 = December 1982
        ("scanned_yymm", ">u2"),
        ("position_x", "u1"),  # column on the sheet, 0-15
        ("position_y", "u1"),
        ("undefined_header", "S34"),
        ("pixels", "u1", (CELL_HEIGHT, CELL_WIDTH // 2)),  # two pixels to a byte, high nibble first
        ("undefined_tail", "S7"),
    ]
)
RECORD_BYTES = RECORD_DTYPE.itemsize  # 8,199
FILE_BYTES = RECORDS_PER_FILE * RECORD_BYTES  # 99,568,656

INFO_FILE_NAME = "ETL9INFO"
MAX_INFO_BYTES = 1 << 20  # no more of it is read
SYNTHETIC_MARK = b"SYNTHETIC SAMPLE FROM KANJIVG"  # in a sample's ETL9INFO, and in bytes 31-64 of its records
SAMPLE_NOTE = "synthetic sample, not real handwriting"  # said wherever a metric rests on one


@dataclass(frozen=True)
class Etl9gFile:
    """Represents one data file of a folder: its path and its number, 1-50, which the file name carries."""

    path: Path
    number: int


def etl9g_file_name(number: int) -> str:
    """Returns the name of a file: ETL9G_01 ... ETL9G_50."""
    return f"ETL9G_{number:02d}"


def find_etl9g_files(folder: Path) -> list[Etl9gFile]:
    """Finds the ETL9G data files of a folder, by number.

    Raises:
        KanjinetError: no such folder, or no file named ETL9G_01 ... ETL9G_50 in it.
    """
    remedy = "name the folder that holds ETL9G_01 ... ETL9G_50, or write a sample with make_sample_etl9g.py"
    if not folder.is_dir():
        raise KanjinetError(f"{folder}: no such folder", remedy)
    present = {path.name for path in folder.iterdir()}
    expected = [Etl9gFile(folder / etl9g_file_name(number), number) for number in range(1, NUM_FILES + 1)]
    files = [file for file in expected if file.path.name in present and file.path.is_file()]
    if not files:
        raise KanjinetError(f"{folder}: no ETL9G files in it", remedy)
    return files


def check_file_size(path: Path, size_bytes: int, *, allow_partial: bool = False) -> int:
    """Returns the number of records in an ETL9G file of `size_bytes`.

    A file holds at most four data sets, 3,036 records each, and, unless `allow_partial`, whole ones.

    Raises:
        KanjinetError: the length is none that an ETL9G file can have.
    """
    remedy = f"a complete file has {FILE_BYTES:,} bytes; copy or download it again"
    records, rest = divmod(size_bytes, RECORD_BYTES)
    if size_bytes == 0:
        raise KanjinetError(f"{path}: empty file", remedy)
    if rest:
        raise KanjinetError(
            f"{path}: {size_bytes:,} bytes are {records:,} records of {RECORD_BYTES:,} bytes and {rest:,} bytes over, "
            "so the file is truncated or damaged",
            remedy,
        )
    if records > RECORDS_PER_FILE:
        raise KanjinetError(f"{path}: {records:,} records, more than the {RECORDS_PER_FILE:,} of an ETL9G file", remedy)
    if records % NUM_CLASSES and not allow_partial:
        raise KanjinetError(
            f"{path}: {records:,} records are no whole number of data sets ({NUM_CLASSES:,} records each)",
            f"{remedy}, or use --allow-partial",
        )
    return records


def open_records(path: Path, *, allow_partial: bool = False) -> npt.NDArray[np.void]:
    """Maps an ETL9G file into memory: (n,) of `RECORD_DTYPE`, read-only; nothing is read until it is used.

    Raises:
        KanjinetError: the file's length is none that an ETL9G file can have.
        OSError: the file cannot be read.
    """
    count = check_file_size(path, path.stat().st_size, allow_partial=allow_partial)
    return np.memmap(path, dtype=RECORD_DTYPE, mode="r", shape=(count,))


def read_records(path: Path, *, allow_partial: bool = False) -> npt.NDArray[np.void]:
    """Reads an ETL9G file into memory, (n,) of `RECORD_DTYPE`: what another process does to it then changes nothing.

    Raises:
        KanjinetError: the file's length is none that an ETL9G file can have, or changes meanwhile.
        OSError: the file cannot be read.
    """
    size_bytes = path.stat().st_size
    content = read_bytes(path)
    if len(content) != size_bytes:
        raise KanjinetError(
            f"{path}: {size_bytes:,} bytes long, and {len(content):,} when it was read: another program is writing it",
            "run the same command again when that has ended",
        )
    check_file_size(path, len(content), allow_partial=allow_partial)
    return np.frombuffer(content, RECORD_DTYPE)


def write_records(path: Path, records: Iterable[npt.NDArray[np.void]]) -> None:
    """Writes blocks of `RECORD_DTYPE` records as one file, whole or not at all."""
    with replace_on_success(path) as file:
        for block in records:
            if block.dtype != RECORD_DTYPE:
                raise TypeError(f"records of {RECORD_DTYPE} expected, got {block.dtype}")
            file.write(np.ascontiguousarray(block).data)


def unpack_pixels(packed: npt.NDArray[np.uint8], scale: int = 1) -> npt.NDArray[np.uint8]:
    """Unpacks (n, 127, 64) bytes to (n, 127, 128) uint8 ink levels, 0 = paper ... 15 = darkest ink, times `scale`.

    Two pixels at a time as one 16-bit number, so that numpy's vector instructions do all of it: three times as fast
    as a table. `scale` is at most 17, so that nothing is carried from one pixel to the other.
    """
    pairs = packed.astype("<u2")
    pairs = (pairs >> 4 | (pairs & MAX_INK) << 8) * np.uint16(scale)
    return pairs.view(np.uint8)


def pack_pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packs (n, 127, 128) uint8 ink levels, 0-15, into (n, 127, 64) bytes, high nibble first.

    Raises:
        ValueError: another shape, or a level over 15.
    """
    if images.shape[1:] != (CELL_HEIGHT, CELL_WIDTH):
        raise ValueError(f"images of shape (n, {CELL_HEIGHT}, {CELL_WIDTH}) expected, got {images.shape}")
    if images.size and int(images.max()) > MAX_INK:
        raise ValueError(f"ink levels 0-{MAX_INK} expected, got {int(images.max())}")
    return images[..., 0::2] << np.uint8(4) | images[..., 1::2]


def decode_classes(path: Path, records: npt.NDArray[np.void]) -> npt.NDArray[np.int16]:
    """Decodes the class index, 0-3035, of each record.

    Raises:
        KanjinetError: a record has a JIS code that is none of ETL9G's 3,036.
    """
    jis_codes = records["jis_code"].astype(np.uint16)
    classes = classes_of_jis(jis_codes)
    if (classes < 0).any():
        first = int(np.argmax(classes < 0))
        raise KanjinetError(
            f"{path}: record {first + 1} has JIS code {jis_codes[first]:04X}, none of ETL9G's {NUM_CLASSES:,} "
            f"({np.count_nonzero(classes < 0):,} such records)",
            "the file is damaged or of another database; get it again",
        )
    return classes


def decode_data_sets(file: Etl9gFile, records: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """Decodes the data-set number, 1-200, of each record: 20 sheets are a set, and each file counts them from 1.

    Raises:
        KanjinetError: a sheet number outside 1-80.
    """
    sheets = records["sheet"].astype(np.int64)
    wrong = (sheets < 1) | (sheets > SHEETS_PER_FILE)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise KanjinetError(
            f"{file.path}: record {first + 1} has sheet number {sheets[first]}, expected 1-{SHEETS_PER_FILE}",
            "the file is damaged or of another database; get it again",
        )
    return ((file.number - 1) * SETS_PER_FILE + (sheets - 1) // SHEETS_PER_SET + 1).astype(np.uint8)


def is_synthetic(folder: Path, records: npt.NDArray[np.void] | None = None) -> bool:
    """Tells whether a folder's ETL9INFO, or the given records themselves, say that they are a synthetic sample."""
    info = folder / INFO_FILE_NAME
    if info.is_file() and SYNTHETIC_MARK in read_bytes(info, MAX_INFO_BYTES):
        return True
    return records is not None and bool((records["undefined_header"] == SYNTHETIC_MARK).any())
