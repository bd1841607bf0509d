"""Picture files of any kind, from anywhere, as the preprocessing wants them: grey, with bright ink on dark paper.

The rule, for those who write a client in another language; `preprocess` with `cells=False` goes on from its result:

1. The picture is turned as its EXIF orientation says; of several frames the first one counts.
2. Transparency is laid on white.
3. Grey = (19595 red + 38470 green + 7471 blue + 32768) >> 16, 0-255. Grey of 16 bits is divided by 257 and rounded.
4. Border = the outermost pixels of all four sides, each once. If their median (the lower of the two middle ones, if
   their number is even) is brighter than the middle between the picture's darkest and brightest value, then ink is
   dark, and every value becomes 255 minus itself.
5. If the largest value that is left after subtracting the paper is less than 16, there is no character.
"""

import os
import re
import struct
import unicodedata
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from kanjinet.classes import CLASS_OF_CHARACTER
from kanjinet.data.preprocessing import preprocess, subtract_paper
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import check_regular, describe_os_error

MAX_PIXELS = 50_000_000  # a telephone's largest photographs; a page of A4 at 600 dpi has 35 million
MAX_SIDE = 20_000  # pixels; each line of the narrowest pictures costs as much memory as many pixels
MAX_FILE_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, not compressed
MAX_SCANS = 100  # of a progressive JPEG; others have about ten
LEAST_INK = 16  # of 255: what stands out from the paper by less is no ink

_CODE_POINT = re.compile(r"(?:U\+)?([0-9A-F]{4,6})", re.IGNORECASE)
# What begins a segment of a JPEG file (ITU-T T.81, table B.1); within a scan FF is followed by 0 or a restart's number.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END_OF_PICTURE = b"\xda", b"\xd9"
_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names for grey of more than 8 bits
# What Pillow's decoders raise on damaged files; most of it is not documented.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError),
    *(OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error),
)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledPictures:
    """Picture files, their classes, and the names of sub-folders that hold none of the 3,036 characters."""

    paths: list[Path]
    classes: npt.NDArray[np.int64]
    skipped_folders: list[str]


def read_picture(source: Path | IO[bytes], name: str) -> Picture:
    """Read a picture of any format that Pillow reads.

    Args:
        source: the file.
        name: what to call it in messages.

    Returns:
        (height, width) uint8, bright ink on dark paper.

    Raises:
        KanjinetError: not there, not a picture, a damaged one, or one beyond MAX_PIXELS, MAX_SIDE,
            MAX_SCANS or MAX_FILE_BYTES.
    """
    if isinstance(source, Path):
        try:
            check_regular(source, "name a picture file, or give its content to recognize_kanji.py as standard input: -")
            with open(source, "rb") as file:
                return read_picture(file, name)
        except OSError as error:
            raise KanjinetError(describe_os_error(error)) from error
    remedy = "choose a PNG, JPEG or other picture file"
    if source.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
        raise KanjinetError(f"{name}: files of more than {MAX_FILE_BYTES // 10**6} MB are refused: make it smaller")
    source.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of harmless flaws, and of sizes that are refused here anyway
        try:
            with Image.open(source) as picture:
                _check_size(picture, name)
                if picture.format in ("JPEG", "MPO") and _count_scans(source) > MAX_SCANS:
                    raise KanjinetError(f"{name}: more than {MAX_SCANS} scans are refused: save it anew")
                if picture.format == "EPS":  # a program, which Pillow would have Ghostscript run
                    raise KanjinetError(f"{name}: EPS is not read: {remedy}")
                picture.load()
                _check_size(picture, name)  # some formats tell their true size only now
                return make_ink_bright(_to_grey(ImageOps.exif_transpose(picture)))
        except Image.DecompressionBombError as error:
            raise KanjinetError(_describe_excess(name)) from error
        except UnidentifiedImageError as error:
            raise KanjinetError(f"{name}: not a picture: {remedy}") from error
        except _DAMAGED as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise KanjinetError(f"{name}: a damaged picture, or one of an unknown kind ({reason}): {remedy}") from error


def _check_size(picture: Image.Image, name: str) -> None:
    size = f"{name}: {picture.width:,} x {picture.height:,} pixels"
    if picture.width * picture.height > MAX_PIXELS:
        raise KanjinetError(_describe_excess(size))
    if max(picture.size) > MAX_SIDE:
        raise KanjinetError(f"{size}: sides of more than {MAX_SIDE:,} are refused: cut out the character")


def _count_scans(file: IO[bytes]) -> int:
    """How often a JPEG file goes over its picture, each time at the cost of all pixels; the file's place is kept."""
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    scans, position = 0, 2
    while (found := _MARKER.search(content, position)) and found[1] != _END_OF_PICTURE:
        scans += found[1] == _START_OF_SCAN
        position = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))
    return scans


def _describe_excess(what: str) -> str:
    return f"{what}: more than {MAX_PIXELS // 10**6} million pixels are refused: make it smaller"


def _to_grey(picture: Image.Image) -> Picture:
    """Steps 2 and 3 of the rule: (height, width) uint8."""
    if picture.mode in _WIDE_MODES:
        return _narrow(np.asarray(picture).astype(np.float32), picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB").convert("L"))  # Pillow's own formula is that of step 3


def _narrow(values: npt.NDArray[np.float32], picture: Image.Image) -> Picture:
    """Grey of 16 bits by its scale, of other kinds, which have none, by its own range -> (height, width) uint8."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    if picture.mode.startswith("I;16"):
        if isinstance(transparent := picture.info.get("transparency"), int):
            values[values == transparent] = 65535
        return np.rint(values / 257).astype(np.uint8)
    values -= values.min()
    return np.rint(values * (255 / (float(values.max()) or 1))).astype(np.uint8)


def make_ink_bright(grey: Picture) -> Picture:
    """Step 4 of the rule: a grey picture (height, width), ink dark or bright -> the same with bright ink."""
    is_border = np.ones(grey.shape, dtype=np.bool_)
    is_border[1:-1, 1:-1] = False
    border = grey[is_border]
    middle = (len(border) - 1) // 2
    paper = int(np.partition(border, middle)[middle])
    return 255 - grey if 2 * paper > int(grey.min()) + int(grey.max()) else grey


def to_network_input(ink: Picture, size: int, version: str) -> Picture | None:
    """What the network sees of a picture (height, width) with bright ink: (size, size) uint8; None for no character."""
    if int(subtract_paper(ink[None]).max()) < LEAST_INK:
        return None
    return preprocess(ink[None], size, version, cells=False)[0]


def list_pictures(folder: Path) -> list[Path]:
    """The files of a folder, not of those in it, whose names end as those of pictures do; by name.

    Raises:
        OSError: the folder cannot be read.
    """
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )


def list_labelled_pictures(folder: Path) -> LabelledPictures:
    """The pictures in a folder's sub-folders, each named after the character that its pictures show.

    Raises:
        KanjinetError: no such folder, or no picture of any of the 3,036 characters in it.
    """
    remedy = "name a folder with one sub-folder of pictures a character, such as 田, 7530 or U+7530 (hex Unicode)"
    if not folder.is_dir():
        raise KanjinetError(f"{folder}: no such folder: {remedy}")
    paths: list[Path] = []
    classes: list[int] = []
    skipped: list[str] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = CLASS_OF_CHARACTER.get(parse_folder_name(inner.name))
        if found is None:
            skipped.append(inner.name)
            continue
        pictures = list_pictures(inner)
        paths += pictures
        classes += [found] * len(pictures)
    if not paths:
        raise KanjinetError(f"{folder}: no picture of any of the 3,036 characters in it: {remedy}")
    return LabelledPictures(paths, np.array(classes, dtype=np.int64), skipped)


def parse_folder_name(name: str) -> str:
    """The character that a folder is named after: 田, 7530, u+7530 -> 田; anything else comes back as it is.

    A name of four hex digits is Unicode, never a JIS code. Names may be decomposed (か and a voiced mark), as macOS
    writes them.
    """
    if (match := _CODE_POINT.fullmatch(name)) and int(match[1], 16) <= 0x10FFFF:
        return chr(int(match[1], 16))
    return unicodedata.normalize("NFC", name)
