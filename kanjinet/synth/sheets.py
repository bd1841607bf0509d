"""Sample sheets in the layouts of ETL9G, ETL8G, ETL9B, ETL1 and ETL6: positions, serial numbers, dates.

Source: AIST, "Specification of ETL-9", and its published first fields of records of ETL9G_01, _11 and _21, and of all
files of ETL9B; "Specification of ETL-8" and "of ETL-1".
"""

import functools
import itertools
import re
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import (
    ETL9G_SET,
    JIS_CODES,
    NUM_CLASSES,
    NUM_HIRAGANA,
    CharacterSet,
    jis_to_character,
)
from kanjinet.data.etl_files import NUM_FILES
from kanjinet.data.etl_records import (
    CELL_HEIGHT,
    CELL_WIDTH,
    CHARACTERS_PER_SHEET,
    ETL8G,
    ETL9B,
    ETL9G,
    FONT_LABEL,
    JAPANESE,
    MAX_INK,
    SHEETS_PER_SET,
    SYNTHETIC_MARK,
    Database,
    pack_pixels,
)
from kanjinet.data.m_type import CODE_OF_CHARACTER, NAME_OF_CHARACTER
from kanjinet.synth.font_writers import SHEET_FRACTION, choose_font_writers
from kanjinet.synth.fonts import Font
from kanjinet.synth.handwriting import GENERATOR_VERSION, write_sheet
from kanjinet.synth.kanjivg import kanjivg_version
from kanjinet.synth.neighbors import COLUMNS_PER_SHEET
from kanjinet.synth.repertoire import NUMBER_OF, numbers_of
from kanjinet.synth.writers import sample_writer

_SMALL_KANA = {0x2443: "つ", 0x2463: "や", 0x2465: "ゆ", 0x2467: "よ"}  # of ETL8G; written as these, and shrunk
_SMALL_KANA_SIZE = 0.7
_BINARY_WEIGHT = 0.4  # of Otsu's threshold against the mean, as AIST made ETL9B from ETL9G
CONTACT_CHARACTERS = "あきさふはばぱ申由甲土士未末千干牛午大犬太己巳関閲永飛鬼識"
GATHERED_YYMM = 8212
_GATHERED_YYMM_OF_ETL8G = 8001
_GATHERED_YYMM_OF_ETL1 = 7309
FIRST_SHEET_OF_ETL1 = 1001
FRAMES_PER_ROW = 10  # of a sheet of ETL1
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
    database: Database = ETL9G
    fonts: tuple[Font, ...] = ()

    def plan_files(self) -> Plan:
        """Divides the data sets among files; one more than the writers', of model characters, ends the last one.

        Each file of ETL1 and ETL6 has some characters of all; those with signs alone are left out.
        """
        sets_per_file, num_sets = self.database.sets_per_file, self.num_sets
        if self.database.files:
            sets = list(range(1, num_sets + 1))
            return {number: sets for number, held in enumerate(self.database.files, start=1) if held}
        plan = {
            number: list(range(first, min(first + sets_per_file, num_sets + 1)))
            for number, first in enumerate(range(1, num_sets + 1, sets_per_file), start=1)
        }
        if num_sets == self.database.num_data_sets and self.database in (ETL8G, ETL9B):
            plan.setdefault(NUM_FILES[self.database.name], []).append(num_sets + 1)
        return plan

    def describe(self) -> str:
        """Returns the text of ETL9INFO."""
        database = self.database
        sheets = f"{database.sheets_per_set} sheets, one simulated writer a {'set' if database == ETL8G else 'sheet'}"
        if database.files:
            sheets = "a sheet by one simulated writer"
        return f"""{SYNTHETIC_MARK.decode()}

These files are synthetic. They have the format of {database.format_name} (AIST), but no person wrote the characters:
make_sample_etl9g.py wrote them, stroke by stroke, as simulated writers{self._mention_fonts()}.
An accuracy measured on them says nothing certain about real handwriting.

Strokes:    KanjiVG, Copyright (C) Ulrich Apel, https://kanjivg.tagaini.net, package kanjivg {kanjivg_version()},
            Creative Commons Attribution-Share Alike 3.0 (https://creativecommons.org/licenses/by-sa/3.0/);
            these files are derived from it and are under the same license
Writers:    {GENERATOR_VERSION}
Data sets:  {self.num_sets} ({database.characters_of_set:,} characters each, {sheets})
Seed:       {self.seed}
Difficulty: {self.difficulty} (0 = neat, 1 = hasty)
Readings:   {"of the toolkit" if database.files else "not given; the field holds each character's Unicode code point"}
{self._list_fonts()}"""

    def _mention_fonts(self) -> str:
        return f",\nand {SHEET_FRACTION:.0%} of the sheets with glyphs of handwriting fonts" if self.fonts else ""

    def _list_fonts(self) -> str:
        lines = ((f"{FONT_LABEL}{font.source}", f"            SHA-256 {font.sha256}") for font in self.fonts)
        return "".join(f"{line}\n" for line in itertools.chain(*lines))

    def has_same_bytes(self, info: str) -> bool:
        """Tells whether the data sets of another ETL9INFO have the same bytes; their number may be another."""
        number = r"Data sets:.*"
        return re.sub(number, "", info.replace("\r\n", "\n")) == re.sub(number, "", self.describe())


@functools.lru_cache(maxsize=2)
def list_sheet_classes(character_set: CharacterSet = ETL9G_SET) -> list[npt.NDArray[np.int64]]:
    """Lists the classes of each of a data set's sheets, in the order of writing: 152 a sheet, the last one fewer.

    Kanji follow JIS order across the sheets; the others stand between them, evenly and in an order of their own.
    """
    if character_set == ETL9G_SET:
        return _list_etl9g_sheets()
    is_kanji = character_set.is_of("kanji")
    others = np.random.default_rng(0).permutation(np.flatnonzero(~is_kanji))
    kanji = np.flatnonzero(is_kanji)
    classes = np.insert(kanji, np.linspace(0, len(kanji), len(others), endpoint=False).astype(np.int64), others)
    return np.split(classes, range(CHARACTERS_PER_SHEET, len(classes), CHARACTERS_PER_SHEET))


def _list_etl9g_sheets() -> list[npt.NDArray[np.int64]]:
    """Lists the classes of ETL9G's 20 sheets.

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


def list_sheet_codes(database: Database) -> list[npt.NDArray[np.uint16]]:
    """Lists the JIS codes of each of a data set's sheets, in the order of writing.

    ETL8G has 75 hiragana and 881 kanji, the educational ones of its time; a sample has as many, spread over ETL9G's.
    """
    if database != ETL8G:
        character_set = database.character_set
        return [character_set.jis_codes[classes] for classes in list_sheet_classes(character_set)]
    kana = np.sort(np.append(JIS_CODES[:NUM_HIRAGANA], list(_SMALL_KANA)))
    spread = np.linspace(NUM_HIRAGANA, NUM_CLASSES - 1, database.characters - len(kana)).astype(np.int64)
    return np.array_split(np.concatenate([kana, JIS_CODES[spread]]), database.sheets_per_set)


def make_sheet_records(sample: Sample, data_set: int, sheet: int) -> npt.NDArray[np.void]:
    """Makes the records of one sheet, from 1 on, of a data set, from 1 on, by one simulated writer.

    The result depends on the arguments alone, so sheets can be made in any order and by any process. A data set beyond
    the last one is of model characters, which are neat.

    Returns:
        (152,) of ETL9G's dtype; (148,) for sheet 20; of ETL8G about 96.
    """
    database = sample.database
    jis_codes = list_sheet_codes(database)[sheet - 1].astype(np.uint16)
    drawn = [_SMALL_KANA.get(code) or jis_to_character(code) for code in jis_codes.tolist()]
    key = (data_set, sheet, 8) if database == ETL8G else (data_set, sheet)
    rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=key))
    difficulty = 0.0 if data_set > database.num_data_sets else sample.difficulty
    # A data set of ETL8G is by one writer, wherever a sheet of it begins.
    hand = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(data_set, 0, 8)))
    writer = sample_writer(hand if database == ETL8G else rng, difficulty)
    font_key = (data_set, 0, 8) if database == ETL8G else key
    font_writers = choose_font_writers(sample.fonts if difficulty else (), sample.seed, font_key)
    numbers = np.array([NUMBER_OF[character] for character in drawn])
    images = write_sheet(numbers, writer, rng, font_writers=font_writers)
    records = np.zeros(len(jis_codes), dtype=database.dtype)
    sets_before = data_set - 1 if database == ETL9B else (data_set - 1) % database.sets_per_file
    records["sheet"] = sets_before * database.sheets_per_set + sheet
    records["jis_code"] = jis_codes
    code_points = [f"{ord(jis_to_character(int(code))):04X}" for code in jis_codes]
    records["undefined"] = SYNTHETIC_MARK
    if database == ETL9B:
        records["reading"] = [text.encode() for text in code_points]
        records["pixels"] = np.packbits(binarize(images), axis=2)
        return records
    places = np.arange(len(jis_codes))
    records["reading"] = [f"U+{text}".ljust(8).encode() for text in code_points]
    records["serial"] = places + 1
    records["gathered_yymm"] = _GATHERED_YYMM_OF_ETL8G if database == ETL8G else GATHERED_YYMM
    if database in (ETL9G, JAPANESE):
        records["scanned_yymm"] = scanned_yymm((data_set - 1) // database.sets_per_file + 1)
    records["position_x"] = places % COLUMNS_PER_SHEET
    records["position_y"] = places // COLUMNS_PER_SHEET
    for index in np.flatnonzero(np.isin(jis_codes, list(_SMALL_KANA))).tolist():
        images[index] = _shrink(images[index])
    records["pixels"] = pack_pixels(images)
    return records


def make_file_records(sample: Sample, data_set: int, number: int) -> npt.NDArray[np.void]:
    """Makes the records of those of a sheet's characters that are in a file of ETL1 or ETL6; a writer has one sheet.

    Returns:
        (8,) of ETL1, (10,) of ETL6, fewer in the last files and of those with signs, which KanjiVG lacks.
    """
    database, characters = sample.database, sample.database.files[number - 1]
    style_key = (data_set, 0, int(database.name[3]))
    rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(data_set, number, style_key[2])))
    style_rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=style_key))
    writer = sample_writer(style_rng, sample.difficulty)
    numbers = np.array([NUMBER_OF[character] for character in characters])
    font_writers = choose_font_writers(sample.fonts, sample.seed, style_key)
    cells = write_sheet(numbers, writer, rng, font_writers=font_writers)
    halved = np.rint(_halve(cells)).astype(np.uint8)
    records = np.zeros(len(numbers), dtype=database.dtype)
    records["sheet"] = FIRST_SHEET_OF_ETL1 + data_set - 1
    records["jis_code"] = [CODE_OF_CHARACTER[character] for character in characters]
    records["reading"] = [NAME_OF_CHARACTER[character].encode() for character in characters]
    places = sum(map(len, database.files[: number - 1])) + np.arange(len(numbers))  # on the sheet
    records["number"] = records["serial"] = places + 1
    records["gathered_yymm"] = records["scanned_yymm"] = _GATHERED_YYMM_OF_ETL1
    records["position_y"], records["position_x"] = places // FRAMES_PER_ROW + 1, places % FRAMES_PER_ROW + 1
    records["undefined"] = SYNTHETIC_MARK
    records["pixels"] = pack_pixels(halved)
    return records


def _halve(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Halves the resolution of cells (n, 127, 128) by the mean of four pixels: (n, 63, 64)."""
    quarters = cells[:, : CELL_HEIGHT - 1].reshape(len(cells), CELL_HEIGHT // 2, 2, CELL_WIDTH // 2, 2)
    return np.asarray(quarters.mean(axis=(2, 4)), dtype=np.float64)


def _shrink(cell: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Writes a character smaller and lower in its cell."""
    small = cv2.resize(cell, None, fx=_SMALL_KANA_SIZE, fy=_SMALL_KANA_SIZE, interpolation=cv2.INTER_AREA)
    shrunk = np.zeros_like(cell)
    left = (CELL_WIDTH - small.shape[1]) // 2
    shrunk[-small.shape[0] :, left : left + small.shape[1]] = small
    return shrunk


def binarize(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Makes cells of ETL9B, (n, 63, 64), True for ink, of those of ETL9G, (n, 127, 128) ink levels 0-15.

    The threshold is between Otsu's and the mean of all pixels, as AIST gives it; how the resolution was halved is not
    published: here by the mean of four pixels.
    """
    halved = np.rint(_halve(images) * (255 / MAX_INK)).astype(np.uint8)
    otsu = np.array([cv2.threshold(image, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] for image in halved])
    thresholds = _BINARY_WEIGHT * otsu + (1 - _BINARY_WEIGHT) * halved.mean(axis=(1, 2))
    return halved > thresholds[:, None, None]


def make_contact_sheet(sample: Sample, characters: str = CONTACT_CHARACTERS) -> npt.NDArray[np.uint8]:
    """Makes an image of the handwriting: a row of 16 writers for each of some characters, then six rows by one writer.

    Ink is shown at twice its darkness. The writers are others than those of the sample's files.

    Returns:
        (rows * 127, 16 * 128) uint8, ink dark on white.
    """
    shared = np.array([NUMBER_OF[character] for character in characters])
    columns = []
    for number in range(COLUMNS_PER_SHEET):
        rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(0, number)))
        columns.append(write_sheet(shared, sample_writer(rng, sample.difficulty), rng, with_fragments=False))
    rng = np.random.default_rng(np.random.SeedSequence(sample.seed, spawn_key=(0, COLUMNS_PER_SHEET)))
    character_set = sample.database.character_set
    various = numbers_of(character_set, rng.choice(character_set.num_classes, (6, COLUMNS_PER_SHEET), replace=False))
    images = write_sheet(various.ravel(), sample_writer(rng, sample.difficulty), rng)
    grid = np.concatenate([np.stack(columns, axis=1), images.reshape(6, COLUMNS_PER_SHEET, CELL_HEIGHT, CELL_WIDTH)])
    grid = 255 - np.minimum(grid, MAX_INK // 2) * (255 // (MAX_INK // 2))
    grid[:, :, :, 0] = np.minimum(grid[:, :, :, 0], 220)
    grid[:, :, 0] = np.minimum(grid[:, :, 0], 220)
    return grid.transpose(0, 2, 1, 3).reshape(-1, COLUMNS_PER_SHEET * CELL_WIDTH)
