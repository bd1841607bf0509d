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

from kanjinet.classes import CHARACTERS
from kanjinet.errors import KanjinetError

VIEW_BOX = 109.0  # units a side of every KanjiVG image
INSTALL_REMEDY = "install it with: python -m pip install kanjivg"

_FILE_NAME = re.compile(r"([0-9a-f]{5})(?:-([0-9A-Za-z]+))?\.svg")
_TAG = re.compile(r"<(g|path)\b([^>]*)>|</g>")
_ATTRIBUTE = re.compile(r'([\w:]+)\s*=\s*"([^"]*)"')
_COMMAND = re.compile(r"([A-DF-Za-df-z])([^A-DF-Za-df-z]*)")  # E belongs to numbers
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NUMBERS = re.compile(r"(?:[\s,]|" + _NUMBER.pattern + r")*")
_VALUES_PER_STEP = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}


@dataclass(frozen=True)
class Stroke:
    """One stroke, in the order and the direction of writing.

    Attributes:
        kind: KanjiVG's stroke type such as "㇆a"; empty for kana.
        curves: (k, 4, 2) float64, k cubic Bézier curves, each from the end of the one before; x to the right and
            y down, 0-109.
        components: the components that hold the stroke, from the outermost to the innermost, as numbers that
            mean something only within the glyph; the whole character is left out.
    """

    kind: str
    curves: npt.NDArray[np.float64]
    components: tuple[int, ...]


@dataclass(frozen=True)
class Glyph:
    """One way to write a character.

    Attributes:
        character: the Unicode character.
        form: empty for KanjiVG's main file, else the variant's name such as "Kaisho".
        strokes: in the order of writing.
    """

    character: str
    form: str
    strokes: tuple[Stroke, ...]


def find_kanjivg_folder() -> Path:
    """The folder of the SVG files.

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
            f"{folder}: no such folder, though kanjivg {distribution.version} is installed",
            "python -m pip install --force-reinstall kanjivg",
        )
    return folder


def kanjivg_version() -> str:
    """The version of the installed package `kanjivg`, a date such as "20260714"."""
    find_kanjivg_folder()
    return importlib.metadata.version("kanjivg")


def stroke_counts() -> list[int]:
    """The number of strokes of each class's main file, in class order.

    Raises:
        KanjinetError: the package `kanjivg` is missing or incomplete.
    """
    return [count_strokes(character) for character in CHARACTERS]


def count_strokes(character: str) -> int:
    """The number of strokes of a character's main file.

    Raises:
        KanjinetError: the package `kanjivg` is missing or lacks the character.
    """
    return _read_svg(find_kanjivg_folder() / file_name(character)).count("<path ")


def file_name(character: str, form: str = "") -> str:
    """The name of a form's file: 田 -> "07530.svg", 辻, "Kaisho" -> "08fbb-Kaisho.svg"."""
    return f"{ord(character):05x}{'-' if form else ''}{form}.svg"


def list_forms(characters: Iterable[str]) -> dict[str, list[str]]:
    """The forms that KanjiVG has of each character, the main one ("") first, the others by name."""
    wanted = {ord(character) for character in characters}
    forms: dict[str, list[str]] = {chr(code): [] for code in sorted(wanted)}
    for path in find_kanjivg_folder().iterdir():
        match = _FILE_NAME.fullmatch(path.name)
        if match and int(match[1], 16) in wanted:
            forms[chr(int(match[1], 16))].append(match[2] or "")
    return {character: sorted(names) for character, names in forms.items()}


def read_glyph(character: str, form: str = "") -> Glyph:
    """One form of a character.

    Raises:
        KanjinetError: KanjiVG does not have it, or its file is damaged.
    """
    return read_svg(find_kanjivg_folder() / file_name(character, form))


def read_svg(path: Path) -> Glyph:
    """The strokes of one KanjiVG file.

    Raises:
        KanjinetError: the file is missing, has no strokes, or has path data that is not understood.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if not match:
        raise KanjinetError(f"{path}: not a KanjiVG file name such as 07530.svg or 08fbb-Kaisho.svg")
    text = _read_svg(path)
    body = text[text.find("<svg") :].partition("StrokeNumbers")[0]
    strokes: list[Stroke] = []
    open_components: list[int] = []
    number_of_part: dict[tuple[str, ...], int] = {}
    count = 0
    for tag in _TAG.finditer(body):
        if tag[1] is None:
            if open_components:
                open_components.pop()
        elif tag[1] == "g":
            attributes = dict(_ATTRIBUTE.findall(tag[2]))
            number = count
            if "kvg:part" in attributes:  # 二 in 亜 is one component in two places
                key = (attributes.get("kvg:element", ""), attributes.get("kvg:number", ""))
                number = number_of_part.setdefault(key, count)
            count += 1
            open_components.append(number)
        else:
            attributes = dict(_ATTRIBUTE.findall(tag[2]))
            try:
                curves = parse_path(attributes.get("d", ""))
            except ValueError as error:
                raise KanjinetError(f"{path}: {error}", "python -m pip install --force-reinstall kanjivg") from error
            strokes.append(Stroke(attributes.get("kvg:type", ""), curves, tuple(open_components[2:])))
    if not strokes:
        raise KanjinetError(f"{path}: no strokes in it", "python -m pip install --force-reinstall kanjivg")
    return Glyph(chr(int(match[1], 16)), match[2] or "", tuple(strokes))


def parse_path(data: str) -> npt.NDArray[np.float64]:
    """The curves of SVG path data: (k, 4, 2) float64, absolute; straight lines and quadratic curves become cubic.

    Understands M L H V C S Q T Z and their relative forms, repeated values without a repeated letter among them.

    Raises:
        ValueError: an arc, an unknown letter, or values missing.
    """
    commands = _COMMAND.findall(data)
    if not commands or commands[0][0] not in "Mm" or data.lstrip()[0] not in "Mm":
        raise ValueError(f"path data {data!r} does not begin with M")
    curves: list[tuple[float, ...]] = []
    x = y = start_x = start_y = 0.0
    control_x = control_y = 0.0  # the last control point, which S and T mirror
    previous = ""
    for command, text in commands:
        letter = command.upper()
        values = _parse_numbers(text, data)
        needed = _VALUES_PER_STEP.get(letter, -1)
        if needed < 0 or (len(values) % needed or not values if needed else values):
            raise ValueError(f"path data {data!r}: {command!r} with {len(values)} values is not understood")
        if letter == "M":
            dx, dy = (x, y) if command == "m" else (0.0, 0.0)
            start_x, start_y = x, y = values[0] + dx, values[1] + dy
            letter, needed, values = "L", 2, values[2:]  # further pairs are lines
            previous, control_x, control_y = "M", x, y
        for at in range(0, len(values), needed) if needed else (0,):
            dx, dy = (x, y) if command.islower() else (0.0, 0.0)
            if letter == "C":
                x1, y1, control_x, control_y, end_x, end_y = values[at : at + 6]
                control_x += dx
                control_y += dy
                end_x += dx
                end_y += dy
                curves.append((x, y, x1 + dx, y1 + dy, control_x, control_y, end_x, end_y))
            elif letter == "S":
                x1, y1 = (2 * x - control_x, 2 * y - control_y) if previous in "CS" else (x, y)
                control_x, control_y, end_x, end_y = values[at : at + 4]
                control_x += dx
                control_y += dy
                end_x += dx
                end_y += dy
                curves.append((x, y, x1, y1, control_x, control_y, end_x, end_y))
            elif letter in "QT":
                if letter == "Q":
                    control_x, control_y = values[at] + dx, values[at + 1] + dy
                else:
                    mirrored = 2 * x - control_x, 2 * y - control_y
                    control_x, control_y = mirrored if previous in "QT" else (x, y)
                end_x, end_y = values[at + needed - 2] + dx, values[at + needed - 1] + dy
                curves.append(_raise_quadratic(x, y, control_x, control_y, end_x, end_y))
            else:
                end_x = start_x if letter == "Z" else x if letter == "V" else values[at] + dx
                end_y = start_y if letter == "Z" else y if letter == "H" else values[at + needed - 1] + dy
                curves.append(_raise_quadratic(x, y, (x + end_x) / 2, (y + end_y) / 2, end_x, end_y))
            x, y = end_x, end_y
            previous = letter
    return np.array(curves, dtype=np.float64).reshape(-1, 4, 2)


def _parse_numbers(text: str, data: str) -> list[float]:
    try:
        return [float(word) for word in text.replace("-", " -").replace(",", " ").split()]
    except ValueError as error:  # rarer spellings, such as 1e-5 and .5.5
        if not _NUMBERS.fullmatch(text):
            raise ValueError(f"path data {data!r} has something else than letters and numbers") from error
        return [float(word) for word in _NUMBER.findall(text)]


def _raise_quadratic(
    x: float, y: float, middle_x: float, middle_y: float, end_x: float, end_y: float
) -> tuple[float, ...]:
    """The cubic curve that is the same as a quadratic one."""
    first = x + (middle_x - x) * 2 / 3, y + (middle_y - y) * 2 / 3
    second = end_x + (middle_x - end_x) * 2 / 3, end_y + (middle_y - end_y) * 2 / 3
    return (x, y, *first, *second, end_x, end_y)


def _read_svg(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KanjinetError(
            f"{path}: not found, so the package kanjivg is incomplete",
            "python -m pip install --force-reinstall kanjivg",
        ) from error
