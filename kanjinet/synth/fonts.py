"""Handwriting fonts in a folder: names, licenses, which characters of the repertoire each has, and how these look."""

import functools
import hashlib
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from kanjinet.classes import CLASS_OF_CHARACTER, ETL9G_SET, NUM_HIRAGANA, CharacterSet
from kanjinet.errors import KanjinetError, first_line
from kanjinet.storage.files import read_bounded
from kanjinet.storage.model_card import MAX_FONTS, font_source
from kanjinet.synth.repertoire import NUMBER_OF, REPERTOIRE

FONT_SUFFIXES = (".ttf", ".otf", ".woff2")
EM = 192  # pixels of a font's em in a drawn glyph
GLYPH_SIDE = 240  # pixels; some glyphs are larger than their em
_BASELINE = (GLYPH_SIDE - EM) // 2 + round(0.88 * EM)  # the usual place of it in fonts for Japanese
_MAX_FONT_BYTES, _MAX_LICENSE_BYTES = 1 << 26, 1 << 20
_LICENSE_FILE = re.compile(r"(licen[cs]e|copying|copyright|ofl)\b", re.IGNORECASE)
_OPEN_FILES = 2000  # in a process, about 50 kB each; a font from the web comes in more than a hundred files
_KEPT_GLYPHS = 40_000  # in a process, those of a dozen fonts; about a kilobyte each
_REMEDY = "name a folder of TTF, OTF or WOFF2 files; fetch_fonts.py brings some"
# What fontTools raises on damaged files.
_DAMAGED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, OverflowError, NotImplementedError),
    *(EOFError, MemoryError, struct.error),
)
# Kanji whose usual form in China is another one: a font without hiragana, which is Chinese, is not asked for them.
_OTHER_IN_CHINA = (
    "直置植殖真慎填具骨滑角解触令冷零怜所房扇肩扉雇偏遍篇煽炉芦羽翁翼翠翰耀海悔侮敏繁梅毒器突臭包抱泡胞巷"
    "港喝褐葛延廷庭艇牙芽雅邪灰炭恢低底抵邸沿船虎墨隆"
)
_FAMILY, _STYLE, _COPYRIGHT, _LICENSE, _LICENSE_URL, _TYPOGRAPHIC_FAMILY, _TYPOGRAPHIC_STYLE = 1, 2, 0, 13, 14, 16, 17
_LICENSES = {r"open\s*font\s*license|\bOFL\b": "SIL Open Font License 1.1", r"\bMIT\b": "MIT", r"apache": "Apache 2.0"}


@dataclass(frozen=True)
class Font:
    """Represents a font of one or several files, such as the subsets that are made for web pages."""

    name: str
    license: str
    sha256: str  # of all files
    files: tuple[str, ...] = field(compare=False)
    file_of_character: npt.NDArray[np.int16] = field(compare=False)  # (n,) which file has it; -1: none

    @property
    def source(self) -> str:
        """What a model card calls it."""
        return font_source(self.name, self.license)


def find_fonts(folder: Path, character_set: CharacterSet = ETL9G_SET) -> tuple[Font, ...]:
    """Finds a set's fonts in a folder and the folders within it, by name; files of one family and style are one font.

    Fonts that have none of the set's characters are left out, as those of letters for kanji.

    Raises:
        KanjinetError: no such folder, too many fonts, a damaged one, or none that has any of the set's characters.
    """
    if not folder.is_dir():
        raise KanjinetError(f"{folder}: no such folder", _REMEDY)
    files = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in FONT_SUFFIXES and path.is_file()):
        name, license, characters = _read_font_file(path)
        files[name, license].append((path, characters))
    if not files:
        raise KanjinetError(f"{folder}: no font in it", _REMEDY)
    if len(files) > MAX_FONTS:
        raise KanjinetError(f"{folder}: {len(files)} fonts, expected at most {MAX_FONTS}", "leave some of them out")
    numbers = [NUMBER_OF[character] for character in character_set.characters]
    found_fonts = (_join_files(name, license, found) for (name, license), found in files.items())
    fonts = [font for font in found_fonts if (font.file_of_character[numbers] >= 0).any()]
    if not fonts:
        raise KanjinetError(f"{folder}: its fonts have none of {character_set.title}", _REMEDY)
    return tuple(sorted(fonts, key=lambda font: font.source))


def hash_fonts(fonts: Sequence[Font]) -> str | None:
    """Returns a checksum of all fonts, SHA-256 in hex, or None where there are none."""
    return hashlib.sha256("".join(font.sha256 for font in fonts).encode()).hexdigest() if fonts else None


def _read_font_file(path: Path) -> tuple[str, str, set[str]]:
    """Reads a font file's name, its license, and which characters of the repertoire it has."""
    try:
        import brotli  # for WOFF2 files, of which fontTools imports it itself
        from fontTools.ttLib import TTFont, TTLibError
    except ImportError as error:
        raise KanjinetError(f"the package {error.name} is missing", "python -m pip install fonttools brotli") from error
    try:
        with TTFont(path, lazy=True) as font:
            names = {number: font["name"].getDebugName(number) or "" for number in range(_TYPOGRAPHIC_STYLE + 1)}
            codes = set(font.getBestCmap() or ())
    except (TTLibError, brotli.error, *_DAMAGED) as error:
        raise KanjinetError(f"{path}: not a font, or a damaged one ({first_line(error)})", _REMEDY) from error
    family, style = names[_TYPOGRAPHIC_FAMILY] or names[_FAMILY], names[_TYPOGRAPHIC_STYLE] or names[_STYLE]
    name = _shorten(f"{family} {'' if style == 'Regular' else style}") or _shorten(path.stem)
    return name, _name_license(names, path.parent), NUMBER_OF.keys() & set(map(chr, codes))


def _name_license(names: dict[int, str], folder: Path) -> str:
    """Returns a license's name, by what a font's names say of it or, where they say nothing, the files beside it."""
    own = " ".join(names[number] for number in (_LICENSE, _LICENSE_URL, _COPYRIGHT))
    states = "licen[cs]e|reserved" if names[_LICENSE] else "licen[cs]e"  # all have a copyright that is reserved
    files = (path for path in sorted(folder.iterdir()) if _LICENSE_FILE.match(path.name) and path.is_file())
    beside = [read_bounded(path, _MAX_LICENSE_BYTES, _REMEDY).decode(errors="replace") for path in files]
    for text in [own] if re.search(states, own, re.IGNORECASE) else [own, *beside]:
        for pattern, name in _LICENSES.items():
            if re.search(pattern, text, re.IGNORECASE):
                return name
    stated = _shorten(names[_LICENSE] or names[_LICENSE_URL])
    return stated if re.search(r"\w", stated) else "license not stated"


def _shorten(text: str) -> str:
    """Makes a name or a license fit for a model card's sources."""
    return re.sub(r"[^!-'*-~ぁ-ヿ一-鿿]+", " ", text).strip()[:60].strip()


def _join_files(name: str, license: str, files: Iterable[tuple[Path, set[str]]]) -> Font:
    """Joins the files of a font; of a character in several files the first one's is taken."""
    digest, paths = hashlib.sha256(), []
    file_of_character = np.full(len(REPERTOIRE), -1, dtype=np.int16)
    for file, (path, characters) in enumerate(files):
        paths.append(str(path))
        digest.update(hashlib.sha256(read_bounded(path, _MAX_FONT_BYTES, _REMEDY)).digest())
        numbers = np.array([NUMBER_OF[character] for character in characters], dtype=np.int64)
        file_of_character[numbers[file_of_character[numbers] < 0]] = file
    if (file_of_character[:NUM_HIRAGANA] < 0).all():
        file_of_character[[CLASS_OF_CHARACTER[character] for character in _OTHER_IN_CHINA]] = -1
    return Font(name, license, digest.hexdigest(), tuple(paths), file_of_character)


def draw_glyphs(font: Font, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Draws characters that a font has, by their numbers in the repertoire: (n, S, S), ink 255 on 0.

    Raises:
        KanjinetError: a file is gone or damaged.
    """
    glyphs = np.empty((len(numbers), GLYPH_SIDE, GLYPH_SIDE), dtype=np.uint8)
    for glyph, number in zip(glyphs, numbers.tolist(), strict=True):
        packed = np.frombuffer(zlib.decompress(_draw_packed(font, number)), dtype=np.uint8)
        np.multiply(np.unpackbits(packed).reshape(glyph.shape), 255, out=glyph)
    return glyphs


@functools.lru_cache(maxsize=_KEPT_GLYPHS)
def _draw_packed(font: Font, number: int) -> bytes:
    """Draws one of them as compressed bits."""
    path = font.files[font.file_of_character[number]]
    image = Image.new("L", (GLYPH_SIDE, GLYPH_SIDE))
    try:
        face = _open_face(path)
        ImageDraw.Draw(image).text((GLYPH_SIDE / 2, _BASELINE), REPERTOIRE[number], 255, face, anchor="ms")
    except OSError as error:
        raise KanjinetError(f"{path}: cannot be drawn from ({first_line(error)})", _REMEDY) from error
    ink = np.asarray(image) >= 128
    ink[[0, -1]] = ink[:, [0, -1]] = False
    return zlib.compress(np.packbits(ink).tobytes(), level=1)


@functools.lru_cache(maxsize=_OPEN_FILES)
def _open_face(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, EM, layout_engine=ImageFont.Layout.BASIC)
