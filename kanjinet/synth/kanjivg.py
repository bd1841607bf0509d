"""The strokes of KanjiVG (Ulrich Apel, CC BY-SA 3.0), from the SVG files that the package `kanjivg` installs.

Source of the format: https://kanjivg.tagaini.net/svg-format.html and the SVG 1.1 grammar of path data.
"""

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.errors import KanjinetError

VIEW_BOX = 109.0  # units a side of every KanjiVG image
INSTALL_REMEDY = "install it with: python -m pip install kanjivg"
REINSTALL_REMEDY = "python -m pip install --force-reinstall kanjivg"

_FILE_NAME = re.compile(r"([0-9a-f]{5})(?:-([0-9A-Za-z]+))?\.svg")
_TAG = re.compile(r"<(g|path)\b([^>]*)>|</g>")
_ATTRIBUTE = re.compile(r'([\w:]+)\s*=\s*"([^"]*)"')
_PATH = re.compile(r"[Mm][^A-Za-z]+([CcSs][^A-Za-z]+)+")
_COMMAND = re.compile(r"([A-Za-z])([^A-Za-z]+)")
_ZERO = "〇"
_CIRCLE = "M54.5,20.5c-18.8,0-34,15.2-34,34c0,18.8,15.2,34,34,34c18.8,0,34-15.2,34-34c0-18.8-15.2-34-34-34"
_VALUES_PER_COMMAND = {"M": 2, "C": 6, "S": 4}


@dataclass(frozen=True)
class Stroke:
    """Represents one stroke, in the direction of writing.

    Its components are those that hold it, the whole character apart, from the outermost to the innermost, as numbers
    that mean something only within the glyph.
    """

    kind: str  # KanjiVG's stroke type such as "㇆a"; empty for kana
    curves: npt.NDArray[np.float64]  # (k, 4, 2) cubic Bézier curves, joined end to start; x right and y down, 0-109
    components: tuple[int, ...]


@dataclass(frozen=True)
class Glyph:
    """Represents one way to write a character."""

    character: str
    strokes: tuple[Stroke, ...]  # in the order of writing


def find_kanjivg_folder() -> Path:
    """Returns the folder of the SVG files.

    Raises:
        KanjinetError: the package `kanjivg` is not installed, or its files are gone.
    """
    try:
        distribution = importlib.metadata.distribution("kanjivg")
    except importlib.metadata.PackageNotFoundError as error:
        raise KanjinetError("the package kanjivg (stroke data) is missing", INSTALL_REMEDY) from error
    folder = Path(str(distribution.locate_file("kanji")))
    if not folder.is_dir():
        raise KanjinetError(
            f"{folder}: no such folder, though kanjivg {distribution.version} is installed", REINSTALL_REMEDY
        )
    return folder


def kanjivg_version() -> str:
    """Returns the version of the installed package `kanjivg`, a date such as "20260714"."""
    find_kanjivg_folder()
    return importlib.metadata.version("kanjivg")


def stroke_counts(character_set: CharacterSet = ETL9G_SET) -> list[int]:
    """Returns the number of strokes of each class's main file, in class order.

    Raises:
        KanjinetError: the package `kanjivg` is missing or incomplete.
    """
    folder = find_kanjivg_folder()
    return [
        1 if character == _ZERO else _read_text(folder / file_name(character)).count("<path ")
        for character in character_set.characters
    ]


def file_name(character: str, form: str = "") -> str:
    """Returns the name of a form's file: 田 -> "07530.svg", 辻, "Kaisho" -> "08fbb-Kaisho.svg"."""
    return f"{ord(character):05x}{'-' if form else ''}{form}.svg"


def list_characters() -> list[str]:
    """Lists all characters that KanjiVG has, by code."""
    matches = map(_FILE_NAME.fullmatch, (path.name for path in find_kanjivg_folder().iterdir()))
    return sorted({chr(int(match[1], 16)) for match in matches if match})


def list_forms(characters: Iterable[str]) -> dict[str, list[str]]:
    """Lists the forms that KanjiVG has of each character, the main one ("") first, the others by name."""
    codes = {ord(character) for character in characters}
    forms: dict[str, list[str]] = {chr(code): [] for code in sorted(codes)}
    for path in find_kanjivg_folder().iterdir():
        match = _FILE_NAME.fullmatch(path.name)
        if match and int(match[1], 16) in codes:
            forms[chr(int(match[1], 16))].append(match[2] or "")
    return {character: sorted(names) for character, names in forms.items()}


def read_glyph(character: str, form: str = "") -> Glyph:
    """Reads one form of a character.

    Raises:
        KanjinetError: KanjiVG does not have it, or its file is damaged.
    """
    folder = find_kanjivg_folder()
    return read_svg(folder / file_name(character, form)) if form else read_main_form(folder, character)


def read_main_form(folder: Path, character: str) -> Glyph:
    """Reads the main form of a character from KanjiVG's folder, or makes that of 〇, which KanjiVG lacks."""
    if character == _ZERO:
        return Glyph(character, (Stroke("", parse_path(_CIRCLE), ()),))
    return read_svg(folder / file_name(character))


def read_svg(path: Path) -> Glyph:
    """Reads the strokes of one KanjiVG file, such as 07530.svg or 08fbb-Kaisho.svg.

    Raises:
        KanjinetError: the file is missing, has no strokes, or has path data that is not understood.
    """
    text = _read_text(path)
    body = text[text.find("<svg") :].partition("StrokeNumbers")[0]
    strokes: list[Stroke] = []
    open_components: list[int] = []
    number_of_part: dict[tuple[str, ...], int] = {}
    count = 0
    for tag in _TAG.finditer(body):
        attributes = dict(_ATTRIBUTE.findall(tag[2] or ""))
        if tag[1] is None:
            if open_components:
                open_components.pop()
        elif tag[1] == "g":
            number = count
            if "kvg:part" in attributes:  # 二 in 亜 is one component in two places
                key = (attributes.get("kvg:element", ""), attributes.get("kvg:number", ""))
                number = number_of_part.setdefault(key, count)
            count += 1
            open_components.append(number)
        else:
            try:
                curves = parse_path(attributes.get("d", ""))
            except ValueError as error:
                raise KanjinetError(f"{path}: {error}", REINSTALL_REMEDY) from error
            strokes.append(Stroke(attributes.get("kvg:type", ""), curves, tuple(open_components[2:])))
    if not strokes:
        raise KanjinetError(f"{path}: no strokes in it", REINSTALL_REMEDY)
    return Glyph(chr(int(path.stem[:5], 16)), tuple(strokes))


def parse_path(data: str) -> npt.NDArray[np.float64]:
    """Parses SVG path data made of one M, then C and S, absolute or relative: all that KanjiVG uses.

    Returns:
        (k, 4, 2) float64, absolute.

    Raises:
        ValueError: another command, or another number of values than the command takes.
    """
    if not _PATH.fullmatch(data):
        raise ValueError(f"path data {data!r} is not one M or m followed by C, c, S and s")
    curves: list[list[float]] = []
    x = y = control_x = control_y = 0.0  # where the pen is, and the last control point, which S mirrors
    for command, text in _COMMAND.findall(data):
        try:
            values = [float(word) for word in text.replace("-", " -").replace(",", " ").split()]
        except ValueError as error:
            raise ValueError(f"path data {data!r} has something else than letters and numbers") from error
        letter, count = command.upper(), _VALUES_PER_COMMAND[command.upper()]
        if len(values) % count or not values or (letter == "M" and len(values) > count):
            raise ValueError(f"path data {data!r}: {command!r} with {len(values)} values is not understood")
        for at in range(0, len(values), count):
            offset = (x, y) if command.islower() else (0.0, 0.0)
            points = [value + offset[number % 2] for number, value in enumerate(values[at : at + count])]
            if letter == "M":
                x, y = control_x, control_y = points
                continue
            if letter == "S":
                points = [2 * x - control_x, 2 * y - control_y, *points]
            curves.append([x, y, *points])
            control_x, control_y, x, y = points[2:]
    return np.array(curves, dtype=np.float64).reshape(-1, 4, 2)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KanjinetError(f"{path}: not found, so the package kanjivg is incomplete", REINSTALL_REMEDY) from error
