"""The M-type records of ETL1 and ETL6: katakana, digits, Latin capitals and signs, by codes of JIS X 0201.

A cell is half as large as ETL9G's, 64 x 63 pixels. A file holds some characters of all writers, one sheet each. What is
known to be wrong in such files is found in their own fields and images, and left out: see `decode_sheets`.

Source: AIST, form_m, "Specification of ETL-1" and the list of its files.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import NO_CLASS, CharacterSet
from kanjinet.errors import KanjinetError

M_CELL_WIDTH, M_CELL_HEIGHT = 64, 63  # pixels
M_RECORD_DTYPE = np.dtype(
    [
        ("number", ">u2"),
        ("reading", "S2"),  # "0 ", "A ", " A", "KA"
        ("sheet", ">u2"),
        ("jis_code", "u1"),  # JIS X 0201
        ("ebcdic_code", "u1"),
        ("character_evaluation", "u1"),
        ("group_evaluation", "u1"),
        ("writer_sex", "u1"),
        ("writer_age", "u1"),
        ("serial", ">u4"),
        ("industry_code", ">u2"),
        ("occupation_code", ">u2"),
        ("gathered_yymm", ">u2"),
        ("scanned_yymm", ">u2"),
        ("position_y", "u1"),  # row on the sheet, from 1
        ("position_x", "u1"),
        ("min_level", "u1"),  # of the scan
        ("max_level", "u1"),
        ("undefined", "S4"),
        ("pixels", "u1", (M_CELL_HEIGHT, M_CELL_WIDTH // 2)),  # two pixels to a byte, high nibble first
        ("undefined_tail", "S4"),
    ]
)  # 2,052 bytes
_KATAKANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The characters of each file, without signs. Of ETL6's files AIST says how many characters they have in all, and
# readers of the data that the katakana are in the first five.
ETL1_FILES = (
    *("01234567", "89ABCDEF", "GHIJKLMN", "OPQRSTUV", "WXYZ", "", "アイウエオカキク", "ケコサシスセソタ"),
    *("チツテトナニヌネ", "ノハヒフヘホマミ", "ムメモヤイユエヨ", "ラリルレロワヰウ", "ヱヲン"),
)
_ETL6_CHARACTERS = f"{_KATAKANA}0123456789{_CAPITALS}"
ETL6_FILES = tuple(_ETL6_CHARACTERS[first : first + 10] for first in range(0, 120, 10))
_NAMES = (
    " A I U E OKAKIKUKEKOSASISUSESOTATITUTETONANINUNENOHAHIHUHEHOMAMIMUMEMOYAYUYORARIRURERO"
    "WAWO NWIWE"  # two letters each
)
NAME_OF_CHARACTER = {  # as samples have them; AIST shows "0 ", "A ", " A" and "KA"
    **{character: f"{character} " for character in f"0123456789{_CAPITALS}"},
    **{character: _NAMES[2 * place : 2 * place + 2] for place, character in enumerate(f"{_KATAKANA}ヰヱ")},
}
_WITHOUT_A_CODE = {0xA8: "ヰ", 0xAA: "ヱ"}  # JIS X 0201 lacks them: the databases have the codes of ィ and ェ
COMMON = 0.95  # of records: what so many of them agree in is the rule, and what fewer disagree in is no fault


def _decode_code(code: int) -> str:
    """The character of a code of JIS X 0201; empty where there is none."""
    text = _WITHOUT_A_CODE.get(code) or bytes([code]).decode("shift_jis", "ignore")
    return unicodedata.normalize("NFKC", text) if text.isprintable() and text != " " else ""


CHARACTER_OF_CODE = tuple(map(_decode_code, range(256)))
CODE_OF_CHARACTER = {character: code for code, character in enumerate(CHARACTER_OF_CODE)}


def classes_of_codes(codes: npt.NDArray[np.uint8], character_set: CharacterSet) -> npt.NDArray[np.int16]:
    """Class index of each code of JIS X 0201; -1 where the set lacks its character."""
    classes = [character_set.class_of_character.get(each, NO_CLASS) for each in CHARACTER_OF_CODE]
    return np.array(classes, dtype=np.int16)[codes]


def decode_sheets(
    path: Path, records: npt.NDArray[np.void], character_set: CharacterSet, *, allow_partial: bool = False
) -> tuple[npt.NDArray[np.int16], str]:
    """Decodes the class of each record of a file; -1 for what is left out.

    Left out are characters that the set lacks, and what is wrong: records without a character's code or without ink,
    or of a character that hardly any record has and the last one not; records whose two-character code or place on
    the sheet is another than that of nearly all others with their code; images that occur twice, both where their
    codes differ; and a character's second record of one sheet.

    Returns:
        The classes (n,), and what to say of the records that are left out, and of characters with fewer records.

    Raises:
        KanjinetError: hardly any record has a character's code, or, unless `allow_partial`, a character has far fewer
            records than the others.
    """
    classes, codes = classes_of_codes(records["jis_code"], character_set), records["jis_code"]
    has_code = check_codes(path, codes)
    counts = np.bincount(codes[has_code], minlength=256)
    is_stray = has_code & (counts[codes] < (1 - COMMON) * counts.max()) & (codes != codes[-1])
    counts[codes[is_stray]] = 0
    fewer = [code for code in np.flatnonzero(counts).tolist() if counts[code] < counts.max()]
    if fewer and min(counts[fewer]) < COMMON * counts.max() and not allow_partial:
        code = min(fewer, key=lambda each: int(counts[each]))
        character = CHARACTER_OF_CODE[code]
        problem = f"{path}: {counts[code]:,} records of the character {character}, and {counts.max():,} of another"
        raise KanjinetError(problem, "the file is truncated, get it again, or use --allow-partial")
    faults = list(_find_faults(records, ~has_code, is_stray))
    notes = [f"{np.count_nonzero(is_wrong):,} {words}" for words, is_wrong in faults if is_wrong.any()]
    is_faulty = np.logical_or.reduce([is_wrong for _, is_wrong in faults])
    signs = np.bincount(codes[~is_faulty & (classes < 0)], minlength=256)
    if signs.any():
        listed = (f"{CHARACTER_OF_CODE[code]} ({signs[code]:,})" for code in np.flatnonzero(signs).tolist())
        notes.append(f"of characters that are none of {character_set.title}: {' '.join(listed)}")
    note = f"{path}: left out {'; '.join(notes)}" if notes else ""
    if fewer:
        listed = (f"{CHARACTER_OF_CODE[code]} ({counts[code]:,})" for code in fewer)
        note = f"{note or path}; fewer records than the {counts.max():,} of others: {' '.join(listed)}"
    classes[is_faulty] = NO_CLASS
    return classes, note


def check_codes(path: Path, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tells which codes (n,) are of a character in JIS X 0201.

    Raises:
        KanjinetError: hardly any is.
    """
    has_code = np.array([bool(each) for each in CHARACTER_OF_CODE])[codes]
    if has_code.mean() < COMMON:
        problem = f"{path}: {np.count_nonzero(~has_code):,} of {len(codes):,} records have no code of JIS X 0201"
        raise KanjinetError(problem, "the file is damaged or of another database; get it again")
    return np.asarray(has_code, dtype=np.bool_)


def _find_faults(
    records: npt.NDArray[np.void], lacks_code: npt.NDArray[np.bool_], is_stray: npt.NDArray[np.bool_]
) -> Iterable[tuple[str, npt.NDArray[np.bool_]]]:
    """Yields each kind of fault in words, and which records (n,) have it and none that was yielded before."""
    codes = records["jis_code"].astype(np.int64)
    places = records["position_y"].astype(np.int64) << 8 | records["position_x"]
    is_blank = np.asarray(~records["pixels"].any(axis=(1, 2)), dtype=np.bool_)
    found = np.zeros(len(records), dtype=np.bool_)
    for words, is_wrong in (
        ("without a character's code", lacks_code),
        ("of a character that is out of place in this file", is_stray),
        ("without ink", is_blank),
        ("with another name than nearly all of their code", _differ_from_most(codes, records["reading"])),
        ("in another place of the sheet than nearly all of their code", _differ_from_most(codes, places)),
        ("with an image that occurs twice", _find_doubles(codes, records["pixels"], is_blank)),
        ("of a character that its sheet has already", _find_repeated(codes << 16 | records["sheet"])),
    ):
        yield words, is_wrong & ~found
        found |= is_wrong


def _differ_from_most(codes: npt.NDArray[np.int64], values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Tells which values (n,) are not the one that COMMON of the records with the same code have."""
    differs = np.zeros(len(codes), dtype=np.bool_)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        found, counts = np.unique(values[rows], return_counts=True)
        if counts.max() >= COMMON * len(rows):
            differs[rows] = values[rows] != found[counts.argmax()]
    return differs


def _find_doubles(
    codes: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8], is_blank: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Tells which images (n, ...) occur before with the same code, or anywhere with another: which is right is open."""
    rows_of_image: dict[bytes, list[int]] = {}
    for row, image in enumerate(pixels):
        if not is_blank[row]:
            rows_of_image.setdefault(image.tobytes(), []).append(row)
    is_double = np.zeros(len(codes), dtype=np.bool_)
    for rows in rows_of_image.values():
        if len(rows) > 1:
            is_double[rows[len(set(codes[rows].tolist())) == 1 :]] = True
    return is_double


def _find_repeated(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tells which keys (n,) occur before, where that is a fault of few records and not how sheets are counted."""
    is_repeated = np.ones(len(keys), dtype=np.bool_)
    is_repeated[np.unique(keys, return_index=True)[1]] = False
    return is_repeated if is_repeated.mean() <= 1 - COMMON else np.zeros_like(is_repeated)


def deal_sheets(
    sheets: npt.NDArray[np.uint16], data_sets: range
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Deals sheets (n,), one of each writer, to a database's data sets in turn, by their numbers.

    Returns:
        The data set of each, and its number in that: both (n,).
    """
    data_set, number = data_sets.start + sheets % len(data_sets), sheets // len(data_sets) + 1
    return data_set.astype(np.uint8), np.minimum(number, 255).astype(np.uint8)
