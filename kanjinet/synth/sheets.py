"""Sample sheets in ETL9G's layout: positions, serial numbers, dates.

Source: AIST, "Specification of ETL-9", and its published first fields of records of ETL9G_01, _11 and _21.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CLASS_OF_CHARACTER, JIS_CODES, NUM_CLASSES, NUM_HIRAGANA, jis_to_character
from kanjinet.data.etl9g import (
    CELL_HEIGHT,
    CELL_WIDTH,
    MAX_INK,
    RECORD_DTYPE,
    SETS_PER_FILE,
    SHEETS_PER_SET,
    SYNTHETIC_MARK,
    pack_pixels,
)
from kanjinet.synth.handwriting import GENERATOR_VERSION, write_sheet
from kanjinet.synth.kanjivg import kanjivg_version
from kanjinet.synth.neighbors import COLUMNS_PER_SHEET
from kanjinet.synth.writers import sample_writer

CONTACT_CHARACTERS = "あきさふはばぱ申由甲土士未末千干牛午大犬太己巳関閲永飛鬼識"
CHARACTERS_PER_SHEET = 152  # the last sheet of a set has 148
GATHERED_YYMM = 8212
_SHEETS_WITH_THREE_HIRAGANA = range(3, 20, 2)  # 9 sheets; the other 11 have four: 71 in all
# AIST's samples give the first three; the rest continues them: (file, months after October 1983).
_SCAN_MONTHS = ((1, 0), (11, 1), (21, 8), (50, 17))

Plan = dict[int, list[int]]  # file number -> its data sets


@dataclass(frozen=True)
class Sample:
    """Represents what decides about the bytes of a sample."""

    num_sets: int
    seed: int
    difficulty: float

    def plan_files(self) -> Plan:
        """Divides the data sets among files."""
        first_sets = range(1, self.num_sets + 1, SETS_PER_FILE)
        return {
            number: list(range(first, min(first + SETS_PER_FILE, self.num_sets + 1)))
            for number, first in enumerate(first_sets, start=1)
        }

    def describe(self) -> str:
        """Returns the text of ETL9INFO."""
        return f"""{SYNTHETIC_MARK.decode()}

These files are synthetic. They have the format of ETL9G (AIST), but no person wrote the characters:
make_sample_etl9g.py wrote them, stroke by stroke, as simulated writers.
An accuracy measured on them says nothing certain about real handwriting.

Strokes:    KanjiVG, Copyright (C) Ulrich Apel, https://kanjivg.tagaini.net, package kanjivg {kanjivg_version()},
            Creative Commons Attribution-Share Alike 3.0 (https://creativecommons.org/licenses/by-sa/3.0/);
            these files are derived from it and are under the same license
Writers:    {GENERATOR_VERSION}
Data sets:  {self.num_sets} ({NUM_CLASSES:,} characters each, 20 sheets, one simulated writer a sheet)
Seed:       {self.seed}
Difficulty: {self.difficulty} (0 = neat, 1 = hasty)
Readings:   not given; the field holds each character's Unicode code point
"""

    def has_same_bytes(self, info: str) -> bool:
        """Tells whether the data sets of another ETL9INFO have the same bytes; their number may be another."""
        number = r"Data sets:.*"
        return re.sub(number, "", info.replace("\r\n", "\n")) == re.sub(number, "", self.describe())


def list_sheet_classes() -> list[npt.NDArray[np.int64]]:
    """Lists the classes of each of a data set's 20 sheets, in the order of writing.

    Kanji follow JIS order across the sheets; hiragana stand between them, 3 or 4 a sheet. Where exactly is known of
    no sheet; these places agree with AIST's samples (0x3124 is number 101 of sheet 1, 0x3227 number 49 of sheet 2).
    """
    sheets = []
    kanji, kana = NUM_HIRAGANA, 0
    for sheet in range(1, SHEETS_PER_SET + 1):
        size = min(CHARACTERS_PER_SHEET, NUM_CLASSES - CHARACTERS_PER_SHEET * (sheet - 1))
        num_kana = 3 if sheet in _SHEETS_WITH_THREE_HIRAGANA else 4
        spacing = size // num_kana
        places = np.arange(num_kana) * spacing + sheet * 23 % spacing
        classes = np.zeros(size, dtype=np.int64)
        is_kana = np.isin(np.arange(size), places)
        classes[is_kana] = np.arange(kana, kana + num_kana) * 29 % NUM_HIRAGANA  # 29 and 71 share no factor
        classes[~is_kana] = np.arange(kanji, kanji + size - num_kana)
        kanji += size - num_kana
        kana += num_kana
        sheets.append(classes)
    return sheets


def scanned_yymm(file_number: int) -> int:
    """Returns when a file's sheets were scanned, YYMM in decimal: 8310 for file 1, 8311 for 11, 8406 for 21."""
    files, months = zip(*_SCAN_MONTHS, strict=True)
    month = 9 + int(np.interp(file_number, files, months))  # counted from January 1983
    return (83 + month // 12) * 100 + month % 12 + 1


def make_sheet_records(sample: Sample, data_set: int, sheet: int) -> npt.NDArray[np.void]:
    """Makes the records of one sheet, 1-20, of a data set, 1-200, by one simulated writer.

    The result depends on the arguments alone, so sheets can be made in any order and by any process.

    Returns:
        (152,) of `RECORD_DTYPE`; (148,) for sheet 20.
    """
    rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(data_set, sheet)))
    classes = list_sheet_classes()[sheet - 1]
    writer = sample_writer(rng, sample.difficulty)
    images = write_sheet(classes, writer, rng)
    records = np.zeros(len(classes), dtype=RECORD_DTYPE)
    jis_codes = JIS_CODES[classes]
    places = np.arange(len(classes))
    records["sheet"] = (data_set - 1) % SETS_PER_FILE * SHEETS_PER_SET + sheet
    records["jis_code"] = jis_codes
    records["reading"] = [f"U+{ord(jis_to_character(int(code))):04X}".ljust(8).encode() for code in jis_codes]
    records["serial"] = places + 1
    records["gathered_yymm"] = GATHERED_YYMM
    records["scanned_yymm"] = scanned_yymm((data_set - 1) // SETS_PER_FILE + 1)
    records["position_x"] = places % COLUMNS_PER_SHEET
    records["position_y"] = places // COLUMNS_PER_SHEET
    records["undefined_header"] = SYNTHETIC_MARK
    records["pixels"] = pack_pixels(images)
    return records


def make_contact_sheet(sample: Sample, characters: str = CONTACT_CHARACTERS) -> npt.NDArray[np.uint8]:
    """Makes an image of the handwriting: a row of 16 writers for each of some characters, then six rows by one writer.

    Ink is shown at twice its darkness. The writers are others than those of the sample's files.

    Returns:
        (rows * 127, 16 * 128) uint8, ink dark on white.
    """
    shared = np.array([CLASS_OF_CHARACTER[character] for character in characters])
    columns = []
    for number in range(COLUMNS_PER_SHEET):
        rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(0, number)))
        columns.append(write_sheet(shared, sample_writer(rng, sample.difficulty), rng, with_fragments=False))
    rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(0, COLUMNS_PER_SHEET)))
    various = rng.choice(NUM_CLASSES, (6, COLUMNS_PER_SHEET), replace=False)
    images = write_sheet(various.ravel(), sample_writer(rng, sample.difficulty), rng)
    grid = np.concatenate([np.stack(columns, axis=1), images.reshape(6, COLUMNS_PER_SHEET, CELL_HEIGHT, CELL_WIDTH)])
    grid = 255 - np.minimum(grid, MAX_INK // 2) * (255 // (MAX_INK // 2))
    grid[:, :, :, 0] = np.minimum(grid[:, :, :, 0], 220)
    grid[:, :, 0] = np.minimum(grid[:, :, 0], 220)
    return grid.transpose(0, 2, 1, 3).reshape(-1, COLUMNS_PER_SHEET * CELL_WIDTH)
