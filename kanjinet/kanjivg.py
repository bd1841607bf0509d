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

VIEW_BOX = 109.0  # units a side of every KanjiVG picture
INSTALL_REMEDY = "install it with: python -m pip install kanjivg"

_FILE_NAME = re.compile(r"([0-9a-f]{5})(?:-([0-9A-Za-z]+))?\.svg")
_TAG = re.compile(r"<(g|path)\b([^>]*)>|</g>")
_ATTRIBUTE = re.compile(r'([\w:]+)\s*=\s*"([^"]*)"')
_PATH_TOKEN = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PATH_DATA = re.compile(r"(?:[\s,]|" + _PATH_TOKEN.pattern + r")*")
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
        raise KanjinetError(f"the package kanjivg (stroke data) is missing: {INSTALL_REMEDY}") from error
    folder = Path(str(distribution.locate_file("kanji")))
    if not folder.is_dir():
        raise KanjinetError(
            f"{folder}: no such folder, though kanjivg {distribution.version} is installed: "
            "python -m pip install --force-reinstall kanjivg"
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
    folder = find_kanjivg_folder()
    return [_read_svg(folder / main_file_name(character)).count("<path ") for character in CHARACTERS]


def main_file_name(character: str) -> str:
    """The name of a character's main file: 田 -> "07530.svg"."""
    return f"{ord(character):05x}.svg"


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
    suffix = f"-{form}" if form else ""
    return read_svg(find_kanjivg_folder() / main_file_name(character).replace(".svg", f"{suffix}.svg"))


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
                raise KanjinetError(f"{path}: {error}: python -m pip install --force-reinstall kanjivg") from error
            strokes.append(Stroke(attributes.get("kvg:type", ""), curves, tuple(open_components[2:])))
    if not strokes:
        raise KanjinetError(f"{path}: no strokes in it: python -m pip install --force-reinstall kanjivg")
    return Glyph(chr(int(match[1], 16)), match[2] or "", tuple(strokes))


def parse_path(data: str) -> npt.NDArray[np.float64]:
    """The curves of SVG path data: (k, 4, 2) float64, absolute; straight lines and quadratic curves become cubic.

    Understands M L H V C S Q T Z and their relative forms, repeated values without a repeated letter among them.

    Raises:
        ValueError: an arc, an unknown letter, or values missing.
    """
    if not _PATH_DATA.fullmatch(data):
        raise ValueError(f"path data {data!r} has something else than letters and numbers")
    tokens = _PATH_TOKEN.findall(data)
    curves: list[tuple[float, ...]] = []
    x = y = start_x = start_y = 0.0
    control_x = control_y = 0.0  # the last control point, which S and T mirror
    command = previous = ""
    at = 0
    while at < len(tokens):
        if tokens[at].isalpha():
            command = tokens[at]
            at += 1
        elif command in "Zz":  # also when nothing came before
            raise ValueError(f"path data {data!r}: a number where a letter is due")
        letter = command.upper()
        if letter not in _VALUES_PER_STEP or (not previous and letter != "M"):
            raise ValueError(f"path data {data!r}: {command!r} is not understood there")
        needed = _VALUES_PER_STEP[letter]
        try:
            values = [float(token) for token in tokens[at : at + needed]]
        except ValueError as error:
            raise ValueError(f"path data {data!r}: too few values for {command!r}") from error
        if len(values) < needed:
            raise ValueError(f"path data {data!r}: too few values for {command!r}")
        at += needed
        dx, dy = (x, y) if command.islower() else (0.0, 0.0)
        mirror_x, mirror_y = 2 * x - control_x, 2 * y - control_y
        if letter == "C":
            x1, y1, x2, y2, end_x, end_y = values
            curve = (x, y, x1 + dx, y1 + dy, x2 + dx, y2 + dy, end_x + dx, end_y + dy)
        elif letter == "M":
            x = start_x = control_x = values[0] + dx
            y = start_y = control_y = values[1] + dy
            command = "l" if command == "m" else "L"  # further pairs are lines
            previous = letter
            continue
        elif letter == "S":
            x1, y1 = (mirror_x, mirror_y) if previous in "CS" else (x, y)
            curve = (x, y, x1, y1, values[0] + dx, values[1] + dy, values[2] + dx, values[3] + dy)
        elif letter in "QT":
            if letter == "Q":
                middle_x, middle_y = values[0] + dx, values[1] + dy
            else:
                middle_x, middle_y = (mirror_x, mirror_y) if previous in "QT" else (x, y)
            end_x, end_y = values[-2] + dx, values[-1] + dy
            curve = (
                x,
                y,
                x + (middle_x - x) * 2 / 3,
                y + (middle_y - y) * 2 / 3,
                end_x + (middle_x - end_x) * 2 / 3,
                end_y + (middle_y - end_y) * 2 / 3,
                end_x,
                end_y,
            )
        else:
            end_x, end_y = {
                "L": lambda: (values[0] + dx, values[1] + dy),
                "H": lambda: (values[0] + dx, y),
                "V": lambda: (x, values[0] + dy),
                "Z": lambda: (start_x, start_y),
            }[letter]()
            thirds = ((end_x - x) / 3, (end_y - y) / 3)
            curve = (x, y, x + thirds[0], y + thirds[1], end_x - thirds[0], end_y - thirds[1], end_x, end_y)
        curves.append(curve)
        x, y = curve[6], curve[7]
        if letter in "CS":
            control_x, control_y = curve[4], curve[5]
        elif letter in "QT":
            control_x, control_y = middle_x, middle_y
        else:
            control_x, control_y = x, y
        previous = letter
    return np.array(curves, dtype=np.float64).reshape(-1, 4, 2)


def _read_svg(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KanjinetError(
            f"{path}: not found, so the package kanjivg is incomplete: "
            "python -m pip install --force-reinstall kanjivg"
        ) from error
