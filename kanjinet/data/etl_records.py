"""The record formats of ETL9G and of its relatives: big-endian records of one cell each.

ETL9G and ETL8G have cells of 128 x 127 pixels with 16 gray levels, at different places of a record; ETL9B has ETL9G's
cells at half the resolution, in black and white. Its files begin with a dummy record, and the last one ends with
the model characters that the writers were shown, as does ETL8G with a file of its own. ETL1's and ETL6's records are
those of `m_type`.

Source: AIST, "Specification of ETL-8" and "of ETL-9", formats form_e8g, form_e9g and form_e9b.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET, JAPANESE_SET, NUM_CLASSES, CharacterSet
from kanjinet.data.etl_files import NUM_FILES as FILES_OF
from kanjinet.data.etl_files import EtlFile
from kanjinet.data.m_type import (
    ETL1_FILES,
    ETL6_FILES,
    M_CELL_HEIGHT,
    M_CELL_WIDTH,
    M_RECORD_DTYPE,
    check_codes,
    classes_of_codes,
)
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import read_bytes, replace_on_success
from kanjinet.storage.model_card import read_fonts

CELL_WIDTH, CELL_HEIGHT = 128, 127  # pixels
MAX_INK = 15  # 4 bits a pixel: 0 = paper, 15 = darkest ink
NUM_FILES = FILES_OF["ETL9G"]
SETS_PER_FILE = 4  # data sets: each holds every character once
NUM_DATA_SETS = NUM_FILES * SETS_PER_FILE  # 200
SHEETS_PER_SET = 20
CHARACTERS_PER_SHEET = 152  # the last sheet of a set has 148
RECORDS_PER_FILE = SETS_PER_FILE * NUM_CLASSES  # 12,144


def _list_gray_fields(undefined_bytes: int, tail_bytes: int) -> np.dtype[np.void]:
    return np.dtype(
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
            ("undefined", f"S{undefined_bytes}"),
            ("pixels", "u1", (CELL_HEIGHT, CELL_WIDTH // 2)),  # two pixels to a byte, high nibble first
            ("undefined_tail", f"S{tail_bytes}"),
        ]
    )


RECORD_DTYPE = _list_gray_fields(34, 7)
RECORD_BYTES = RECORD_DTYPE.itemsize  # 8,199
FILE_BYTES = RECORDS_PER_FILE * RECORD_BYTES  # 99,568,656
BINARY_RECORD_DTYPE = np.dtype(
    [
        ("sheet", ">u2"),
        ("jis_code", ">u2"),
        ("reading", "S4"),
        # 63 x 64, eight pixels to a byte, high bit first, 1 = ink
        ("pixels", "u1", (CELL_HEIGHT // 2, CELL_WIDTH // 16)),
        ("undefined", "S64"),
    ]
)  # 576 bytes


@dataclass(frozen=True)
class Database:
    """Represents how the files of a database are laid out."""

    name: str
    dtype: np.dtype[np.void]
    sets_per_file: int
    characters: int = NUM_CLASSES  # of a data set in a file
    character_set: CharacterSet = ETL9G_SET  # that they are of
    sheets_per_set: int = SHEETS_PER_SET
    num_dummies: int = 0  # records before the first cell of a file
    num_models: int = 0  # records of model characters after the last data set of the last file
    sets_per_part: int = 0  # data sets that are read at once; 0: the whole file
    files: tuple[str, ...] = ()  # of ETL1 and ETL6: the characters of each, which has those of all writers
    first_label: int = 1  # how the dataset numbers the first data set: those of several databases are apart
    num_labels: int = 0  # into how many data sets the dataset deals the sheets of ETL1 and ETL6

    @property
    def info_file_name(self) -> str:
        """The small text file beside the data files."""
        return "JAPANESEINFO" if self.name == "JAPANESE" else f"{self.name[:4]}INFO"

    @property
    def format_name(self) -> str:
        """The database of AIST whose records it has; samples of more characters than AIST collected have ETL9G's."""
        return "ETL9G" if self.name == "JAPANESE" else self.name

    @property
    def records_per_file(self) -> int:
        """Of a whole file, without dummies and model characters."""
        return self.sets_per_file * self.characters

    def characters_in(self, number: int) -> int:
        """How many characters a sample's file of that number has of each data set."""
        return len(self.files[number - 1]) if self.files else self.characters

    @property
    def characters_of_set(self) -> int:
        """How many characters a sample's data set has, in all files that it is in."""
        return sum(map(len, self.files)) or self.characters

    @property
    def parts_per_file(self) -> int:
        """In how many parts a whole file is read: as many chunks are made from it."""
        return self.sets_per_file // self.sets_per_part if self.sets_per_part else 1

    @property
    def num_data_sets(self) -> int:
        """Of all files; ETL8G's last file has none, only model characters. ETL1 and ETL6 have one of each writer."""
        if self.files:
            return self.sets_per_file
        return self.sets_per_file * (FILES_OF[self.name] - (self.name == "ETL8G"))

    @property
    def labels(self) -> range:
        """The numbers of its data sets in a dataset."""
        return range(self.first_label, self.first_label + (self.num_labels or self.num_data_sets))


ETL9G = Database("ETL9G", RECORD_DTYPE, SETS_PER_FILE)
ETL8G = Database("ETL8G", _list_gray_fields(30, 11), sets_per_file=5, characters=956, sheets_per_set=10)
ETL9B = Database(
    "ETL9B", BINARY_RECORD_DTYPE, sets_per_file=40, num_dummies=1, num_models=NUM_CLASSES, sets_per_part=SETS_PER_FILE
)
JAPANESE = Database(
    "JAPANESE",
    RECORD_DTYPE,
    sets_per_file=2,
    characters=JAPANESE_SET.num_classes,
    character_set=JAPANESE_SET,
    sheets_per_set=-(-JAPANESE_SET.num_classes // CHARACTERS_PER_SHEET),
)
_M_TYPE: dict[str, Any] = {"dtype": M_RECORD_DTYPE, "character_set": JAPANESE_SET, "sheets_per_set": 1}
ETL1 = Database("ETL1", **_M_TYPE, sets_per_file=1445, characters=8, files=ETL1_FILES, first_label=201, num_labels=25)
ETL6 = Database("ETL6", **_M_TYPE, sets_per_file=1383, characters=10, files=ETL6_FILES, first_label=226, num_labels=30)
DATABASES = {database.name: database for database in (ETL9G, ETL8G, ETL9B, JAPANESE, ETL1, ETL6)}
MAX_CHUNK_RECORDS = max(each.records_per_file // each.parts_per_file for each in DATABASES.values())

MAX_INFO_BYTES = 1 << 20  # no more of ETL9INFO is read
_ROWS_LEFT_OUT = (0x21, 0x24)  # of JIS X 0208, the high byte: AIST names 2122 and the small kana among ETL8's
SYNTHETIC_MARK = b"SYNTHETIC SAMPLE FROM KANJIVG"  # in a sample's ETL9INFO, and in undefined bytes of its records
FONT_LABEL = "Font:       "  # begins the line of each of a sample's fonts in ETL9INFO
SAMPLE_NOTE = "synthetic sample, not real handwriting"  # said wherever a metric rests on one


def etl_file_name(database: str, number: int) -> str:
    """Returns the name of a file: ETL9G_01 ... ETL9G_50, ETL8G_01 ..., ETL9B_1 ..., ETL1C_01 ..., ETL6C_01 ..."""
    if FILES_OF[database] < 10:
        return f"{database}_{number}"
    return f"{database}{'C' if DATABASES[database].files else ''}_{number:02d}"


def check_file_size(file: EtlFile, size_bytes: int, *, allow_partial: bool = False) -> int:
    """Returns the number of records in a data file of `size_bytes`, without dummies and model characters.

    A file holds at most as many data sets as AIST gives it, and, unless `allow_partial`, whole ones; whether those of
    ETL1 and ETL6 are whole, which lack some records, their characters tell.

    Raises:
        KanjinetError: the length is none that such a file can have.
    """
    path, database = file.path, DATABASES[file.database]
    record_bytes = database.dtype.itemsize
    whole_bytes = (database.num_dummies + database.records_per_file) * record_bytes
    remedy = f"a complete file has {whole_bytes:,} bytes; copy or download it again"
    count, rest = divmod(size_bytes, record_bytes)
    if size_bytes == 0:
        raise KanjinetError(f"{path}: empty file", remedy)
    if rest:
        raise KanjinetError(
            f"{path}: {size_bytes:,} bytes are {count:,} records of {record_bytes:,} bytes and {rest:,} bytes over, "
            "so the file is truncated or damaged",
            remedy,
        )
    records = count - database.num_dummies
    if file.number == FILES_OF[file.database] and records == database.records_per_file + database.num_models:
        records = database.records_per_file
    if records > database.records_per_file:
        whole = f"{database.records_per_file:,} of an {file.database} file"
        raise KanjinetError(f"{path}: {records:,} records, more than the {whole}", remedy)
    if records <= 0 or (records % database.characters and not database.files and not allow_partial):
        raise KanjinetError(
            f"{path}: {records:,} records are no whole number of data sets ({database.characters:,} records each)",
            f"{remedy}, or use --allow-partial",
        )
    return records


def list_parts(file: EtlFile, *, allow_partial: bool = False) -> list[EtlFile]:
    """Lists the parts in which a data file is read, after a check of its length: one chunk is made from each.

    Raises:
        KanjinetError: as `check_file_size`.
    """
    database = DATABASES[file.database]
    records = check_file_size(file, file.path.stat().st_size, allow_partial=allow_partial)
    if database is ETL8G and file.number == FILES_OF["ETL8G"]:
        return []  # its 956 records are model characters
    records_per_part = database.records_per_file // database.parts_per_file
    return [replace(file, part=part) for part in range(-(-records // records_per_part))]


def describe_model_characters(files: list[EtlFile]) -> str:
    """Says where the model characters are, which are left out, in a database's files; nothing where there are none."""
    last = files[-1]
    if last.number < FILES_OF[last.database] or last.database not in ("ETL8G", "ETL9B"):
        return ""
    where = "at its end" if last.database == "ETL9B" else "in it"
    return f"; {last.path.name}: the model characters {where} are left out, for the writers were shown them"


def chunk_number(file: EtlFile) -> int:
    """Returns the number of the chunk that is made from a file or a part: 1-50 for ETL9G and ETL9B alike."""
    return (file.number - 1) * DATABASES[file.database].parts_per_file + file.part + 1


def open_records(file: EtlFile, *, allow_partial: bool = False) -> npt.NDArray[np.void]:
    """Maps a data file into memory: (n,) of its database's dtype, read-only; nothing is read until it is used.

    Raises:
        KanjinetError: the file's length is none that such a file can have.
        OSError: the file cannot be read.
    """
    database = DATABASES[file.database]
    count = check_file_size(file, file.path.stat().st_size, allow_partial=allow_partial)
    first_byte = database.num_dummies * database.dtype.itemsize
    return np.memmap(file.path, dtype=database.dtype, mode="r", offset=first_byte, shape=(count,))


def read_records(file: EtlFile, *, allow_partial: bool = False) -> npt.NDArray[np.void]:
    """Reads a file, or a part, into memory: what another process does to it then changes nothing.

    Returns:
        (n,) of its database's dtype, without dummies and model characters.

    Raises:
        KanjinetError: the file's length is none that such a file can have, or changes meanwhile.
        OSError: the file cannot be read.
    """
    database, size_bytes = DATABASES[file.database], file.path.stat().st_size
    count = check_file_size(file, size_bytes, allow_partial=allow_partial)
    per_part = database.records_per_file // database.parts_per_file
    first = database.num_dummies + file.part * per_part
    content = read_bytes(file.path, per_part * database.dtype.itemsize + 1, first * database.dtype.itemsize)
    expected = min(per_part, count - file.part * per_part) * database.dtype.itemsize
    if len(content) < expected or file.path.stat().st_size != size_bytes:
        raise KanjinetError(
            f"{file.path}: {size_bytes:,} bytes long, and another length when it was read: another program writes it",
            "run the same command again when that has ended",
        )
    return np.frombuffer(content, database.dtype, count=expected // database.dtype.itemsize)


def write_records(path: Path, records: Iterable[npt.NDArray[np.void]], database: Database = ETL9G) -> None:
    """Writes blocks of a database's records as one file, whole or not at all."""
    with replace_on_success(path) as file:
        file.write(bytes(database.num_dummies * database.dtype.itemsize))
        for block in records:
            if block.dtype != database.dtype:
                raise TypeError(f"records of {database.dtype} expected, got {block.dtype}")
            file.write(np.ascontiguousarray(block).data)


def unpack_cells(database: Database, packed: npt.NDArray[np.uint8], scale: int) -> npt.NDArray[np.uint8]:
    """Unpacks the `pixels` of records to cells (n, 127 or 126, 128) uint8; the darkest ink is 15 times `scale`.

    A cell of ETL9B, ETL1 or ETL6 becomes as large as one of ETL9G, for what is a fragment is told in its pixels.
    """
    if database is ETL9B:
        cells = np.unpackbits(packed, axis=2) * np.uint8(MAX_INK * scale)  # (n, 63, 64)
    else:
        cells = unpack_pixels(packed, scale)
    return cells.repeat(2, axis=1).repeat(2, axis=2) if cells.shape[1] < CELL_HEIGHT - 1 else cells


def unpack_pixels(packed: npt.NDArray[np.uint8], scale: int = 1) -> npt.NDArray[np.uint8]:
    """Unpacks (n, 127, 64) or (n, 63, 32) bytes to twice as many ink levels, 0 = paper ... 15 = darkest, times `scale`.

    Two pixels at a time as one 16-bit number, so that numpy's vector instructions do all of it: three times as fast
    as a table. `scale` is at most 17, so that nothing is carried from one pixel to the other.
    """
    pairs = packed.astype("<u2")
    pairs = (pairs >> 4 | (pairs & MAX_INK) << 8) * np.uint16(scale)
    return pairs.view(np.uint8)


def pack_pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packs (n, 127, 128) or (n, 63, 64) uint8 ink levels, 0-15, into half as many bytes, high nibble first.

    Raises:
        ValueError: another shape, or a level over 15.
    """
    if images.shape[1:] not in ((CELL_HEIGHT, CELL_WIDTH), (M_CELL_HEIGHT, M_CELL_WIDTH)):
        raise ValueError(f"images of shape (n, {CELL_HEIGHT}, {CELL_WIDTH}) expected, got {images.shape}")
    if images.size and int(images.max()) > MAX_INK:
        raise ValueError(f"ink levels 0-{MAX_INK} expected, got {int(images.max())}")
    return images[..., 0::2] << np.uint8(4) | images[..., 1::2]


def decode_classes(
    file: EtlFile, records: npt.NDArray[np.void], character_set: CharacterSet | None = None
) -> npt.NDArray[np.int16]:
    """Decodes the class index of each record; -1 for what is no class, such as ETL8G's small kana among ETL9G's.

    The classes are by default those of the database's own character set.

    Raises:
        KanjinetError: a record has a JIS code that its database does not have.
    """
    own_set = DATABASES[file.database].character_set
    if DATABASES[file.database].files:
        check_codes(file.path, records["jis_code"])
        return classes_of_codes(records["jis_code"], character_set or own_set)
    jis_codes = records["jis_code"].astype(np.uint16)
    unknown = own_set.classes_of_jis(jis_codes) < 0
    if file.database == "ETL8G":
        unknown &= ~np.isin(jis_codes >> 8, _ROWS_LEFT_OUT)
    if unknown.any():
        first = int(np.argmax(unknown))
        raise KanjinetError(
            f"{file.path}: record {first + 1} has JIS code {jis_codes[first]:04X}, none of {file.database}'s "
            f"{DATABASES[file.database].characters:,} ({np.count_nonzero(unknown):,} such records)",
            "the file is damaged or of another database; get it again",
        )
    return (character_set or own_set).classes_of_jis(jis_codes)


@dataclass(frozen=True)
class Origins:
    """Represents where records come from.

    Attributes:
        data_sets: (n,) of the database, 1-200.
        sheets: (n,) 1-80, counted in each ETL9G file, or 1-20 in each data set; 0 where the record's number is none.
        disagreement: says that sheet numbers and order do not agree, and which of them is taken; empty where they do.
    """

    data_sets: npt.NDArray[np.uint8]
    sheets: npt.NDArray[np.uint8]
    disagreement: str


def decode_origins(file: EtlFile, records: npt.NDArray[np.void]) -> Origins:
    """Decodes data sets and sheets of a file's or part's records.

    So many sheets are a set, counted in each file or on from file to file. The k-th record of a character is of the
    k-th set, too. Where the two disagree, the sheet numbers are taken if by them no set has a character twice.
    """
    database = DATABASES[file.database]
    num_sets = database.sets_per_file // database.parts_per_file
    sheets = records["sheet"].astype(np.int64)
    sheets_before = (file.number - 1) * database.sets_per_file * database.sheets_per_set
    if sheets.min(initial=1 << 16) > sheets_before:
        sheets -= sheets_before
    sheets_before = file.part * num_sets * database.sheets_per_set
    by_sheet = (sheets - sheets_before - 1) // database.sheets_per_set
    by_order = np.minimum(_rank_among_equals(records["jis_code"]), num_sets - 1)
    chosen, is_inside = by_sheet, (by_sheet >= 0) & (by_sheet < num_sets)
    disagreement = ""
    if (different := by_sheet != by_order).any():
        keys = records["jis_code"].astype(np.int64) * num_sets + by_sheet
        are_sheets_right = bool(is_inside.all()) and len(np.unique(keys)) == len(keys)
        chosen = by_sheet if are_sheets_right else by_order
        first = int(np.argmax(different))
        disagreement = (
            f"{file.path}: sheet number and order name different data sets for {np.count_nonzero(different):,} of "
            f"{len(records):,} records, record {first + 1} with sheet {records['sheet'][first]} the first; the "
            + ("sheet numbers are taken" if are_sheets_right else "order is taken: the k-th of a character is of set k")
        )
    if database not in (ETL9G, JAPANESE):
        sheets = (sheets - 1) % database.sheets_per_set + 1
    first_set = (file.number - 1) * database.sets_per_file + file.part * num_sets + 1
    return Origins((first_set + chosen).astype(np.uint8), np.where(is_inside, sheets, 0).astype(np.uint8), disagreement)


def _rank_among_equals(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns of each value (n,) how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values)) - np.searchsorted(values[order], values[order])
    return ranks


def is_synthetic(file: EtlFile, records: npt.NDArray[np.void] | None = None) -> bool:
    """Tells whether the ETL9INFO beside a file, or the given records of it, say that they are a synthetic sample."""
    info = file.path.with_name(DATABASES[file.database].info_file_name)
    if info.is_file() and SYNTHETIC_MARK in read_bytes(info, MAX_INFO_BYTES):
        return True
    return records is not None and has_mark(records)


def has_mark(records: npt.NDArray[np.void]) -> bool:
    """Tells whether some of the records say that they are synthetic; ETL1's and ETL6's have room for its beginning."""
    return bool((records["undefined"] == SYNTHETIC_MARK[: records.dtype["undefined"].itemsize]).any())


def list_fonts(file: EtlFile) -> tuple[str, ...]:
    """Lists the fonts that the ETL9INFO beside a sample's file names, as sources of data.

    Raises:
        KanjinetError: they are not named as a sample's are.
    """
    info = file.path.with_name(DATABASES[file.database].info_file_name)
    content = read_bytes(info, MAX_INFO_BYTES) if info.is_file() else b""
    if SYNTHETIC_MARK not in content:
        return ()
    lines = content.decode(errors="replace").splitlines()
    named = [line.removeprefix(FONT_LABEL) for line in lines if line.startswith(FONT_LABEL)]
    try:
        return read_fonts({"fonts": named})
    except ValueError as error:
        raise KanjinetError(f"{info}: its {error}", "write the sample again") from error
