"""Reading images of any kind, from anywhere, for the preprocessing: gray, with bright ink on dark paper.

The rule, for those who write a client in another language; `preprocess` with `cells=False` goes on from its result:

1. The image is turned as its EXIF orientation says; of several frames the first one counts.
2. Transparency is laid on white or, where step 3 then finds gray values that differ by less than 16, on black.
3. Gray = (19595 red + 38470 green + 7471 blue + 32768) >> 16, 0-255. Gray of 16 bits is divided by 257 and rounded.
4. Border = the outermost pixels of all four sides, each once. If their median (the lower of the two middle ones, if
   their number is even) is brighter than the middle between the image's darkest and brightest value, then ink is
   dark, and every value becomes 255 minus itself.
5. If the largest value that is left after subtracting the paper is less than 16, there is no character.
"""

import contextlib
import io
import os
import re
import struct
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.data.preprocessing import preprocess, subtract_paper
from kanjinet.errors import KanjinetError, explain_os_error
from kanjinet.storage.files import check_regular

MAX_PIXELS = 50_000_000  # a telephone's largest photographs; a page of A4 at 600 dpi has 35 million
MAX_SIDE = 20_000  # pixels; each line of the narrowest images costs as much memory as many pixels
MAX_FILE_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, not compressed
MAX_SCANS = 100  # of a progressive JPEG; others have about ten
MAX_ENDINGS = 5  # of names that a message lists
MIN_INK = 16  # of 255: what stands out from the paper by less is no ink

_REMEDY = "choose a PNG, JPEG or other image file"
_HEAD_BYTES = 4096  # of a file, which tell its format
# Formats that people bring and Pillow does not read: the file's beginning, endings of its name, the remedy.
_UNREAD: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "HEIC": (
        rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)",
        (".heic", ".heif", ".hif"),
        "save it as JPEG or PNG; iPhones take JPEG after Settings > Camera > Formats > Most Compatible",
    ),
    "AVIF": (rb".{4}ftypavi[fs]", (".avif", ".avifs"), "update Pillow, or save it as JPEG or PNG"),
    "JPEG XL": (rb"\xff\x0a|\0\0\0\x0cJXL ", (".jxl",), "save it as JPEG or PNG"),
    "SVG": (rb".*<svg[\s>]", (".svg", ".svgz"), "export it as PNG"),
    "PDF": (rb".{0,1023}%PDF-", (".pdf",), "export the page as PNG or JPEG"),
    "camera RAW": (
        rb".{4}ftypcrx |FUJIFILMCCD-RAW|II.{6}CR",
        (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2"),
        "develop it to JPEG or PNG",
    ),
    "video": (
        rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01\xba",
        (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mpg", ".mpeg"),
        "save one of its frames as PNG or JPEG",
    ),
}
_WINDOWS_FILES = ("thumbs.db", "desktop.ini")  # which its Explorer adds
_CODE_POINT = re.compile(r"(?:U\+)?([0-9A-F]{4,6})", re.IGNORECASE)
# What begins a segment of a JPEG file (ITU-T T.81, table B.1); within a scan FF is followed by 0 or a restart's number.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"
_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names for gray of more than 8 bits
# What Pillow's decoders raise on damaged files; most of it is not documented.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError),
    *(OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error),
)

ImageArray: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = str | Path | bytes | IO[bytes] | Image.Image | ImageArray


@dataclass(frozen=True)
class LabeledImages:
    """Represents image files in sub-folders that are named after characters."""

    paths: list[Path]
    classes: npt.NDArray[np.int64]
    skipped_folders: list[str]  # names that are none of the characters
    skipped_files: str  # what `describe_skipped` says of the others


def read_image(source: ImageSource, name: str | None = None) -> ImageArray:
    """Reads an image as `read_gray` does; returns (height, width) uint8, bright ink on dark paper."""
    return make_ink_bright(read_gray(source, name))


def read_gray(source: ImageSource, name: str | None = None) -> ImageArray:
    """Reads an image of any format that Pillow reads, or one that is in memory already.

    Args:
        source: a path, a file's content, an open binary file, a Pillow image, or an array of uint8: gray
            (height, width), RGB (height, width, 3) or RGBA (height, width, 4).
        name: what to call it in messages; by default its path.

    Returns:
        (height, width) uint8, gray.

    Raises:
        KanjinetError: not there, not an image, a damaged one, or one beyond MAX_PIXELS, MAX_SIDE,
            MAX_SCANS or MAX_FILE_BYTES.
    """
    if isinstance(source, str | Path):
        remedy = "name an image file, or give its content to recognize_kanji.py as standard input: -"
        try:
            if Path(source).is_dir():  # which Windows does not tell from a file without permission
                raise KanjinetError(f"{source}: a folder", "name the image files in it")
            check_regular(Path(source), remedy)
            with open(source, "rb") as opened:
                return read_gray(opened, name or str(source))
        except OSError as error:
            raise explain_os_error(error) from error
        except ValueError as error:  # a null character
            raise KanjinetError(f"{source!r}: not a path ({error})", _REMEDY) from error
    name = name or "image"
    if not isinstance(source, bytes | np.ndarray | Image.Image) and not hasattr(source, "seek"):
        raise KanjinetError(f"{name}: {type(source).__name__} is no image", "give a path, an array or a Pillow image")
    file: IO[bytes] = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of harmless flaws, and of sizes that are refused here anyway
        try:
            if isinstance(source, np.ndarray):
                source = _wrap_array(source, name)
            if isinstance(source, Image.Image):
                return _read_pixels(source, name)
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            return _read_file(file, name)
        except Image.DecompressionBombError as error:
            raise _excess(name) from error
        except _DAMAGED as error:
            raise _refuse_file(error, file, name) from error


def _refuse_file(error: Exception, file: IO[bytes], name: str) -> KanjinetError:
    """Names the format of a file that Pillow does not read, or says what is wrong with it."""
    head = b""
    with contextlib.suppress(*_DAMAGED):  # a closed file, one that is open for writing, a stream of text
        file.seek(0)
        head = bytes(file.read(_HEAD_BYTES))
    for kind, (beginning, endings, remedy) in _UNREAD.items():
        if re.match(beginning, head, re.DOTALL) or name.lower().endswith(endings):
            return KanjinetError(f"{name}: {kind} is not read", remedy)
    if isinstance(error, UnidentifiedImageError):
        return KanjinetError(f"{name}: not an image", _REMEDY)
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return KanjinetError(f"{name}: a damaged image, or one of an unknown kind ({reason})", _REMEDY)


def _wrap_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    """Turns an array into a Pillow image."""
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_image or not array.size:
        raise KanjinetError(
            f"{name}: an array {array.shape} of {array.dtype}",
            "give uint8, (height, width) or (height, width, 3 or 4); several images as a list",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _read_file(file: IO[bytes], name: str) -> ImageArray:
    if file.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
        raise KanjinetError(f"{name}: files of more than {MAX_FILE_BYTES // 10**6} MB are refused", "make it smaller")
    file.seek(0)
    with Image.open(file) as image:
        if image.format in ("JPEG", "MPO") and _count_scans(file) > MAX_SCANS:
            raise KanjinetError(f"{name}: more than {MAX_SCANS} scans are refused", "save it again")
        return _read_pixels(image, name)


def _read_pixels(image: Image.Image, name: str) -> ImageArray:
    """Takes steps 1 to 3 of the rule."""
    _check_size(image, name)
    if image.format == "EPS":  # a program, which Pillow would have Ghostscript run
        raise KanjinetError(f"{name}: EPS is not read", _REMEDY)
    image.load()
    _check_size(image, name)  # some formats tell their true size only now
    image = ImageOps.exif_transpose(image)
    gray = _to_gray(image, 255)
    if image.has_transparency_data and int(gray.max()) - int(gray.min()) < MIN_INK:  # white ink on no paper
        gray = _to_gray(image, 0)
    return gray


def _check_size(image: Image.Image, name: str) -> None:
    size = f"{name}: {image.width:,} x {image.height:,} pixels"
    if image.width * image.height > MAX_PIXELS:
        raise _excess(size)
    if max(image.size) > MAX_SIDE:
        raise KanjinetError(f"{size}: sides of more than {MAX_SIDE:,} are refused", "cut out the character")


def _count_scans(file: IO[bytes]) -> int:
    """Counts how often a JPEG file goes over its image, each time at the cost of all pixels; keeps the file's place."""
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    scans, position = 0, 2
    while (found := _MARKER.search(content, position)) and found[1] != _END_OF_IMAGE:
        scans += found[1] == _START_OF_SCAN
        position = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))
    return scans


def _excess(what: str) -> KanjinetError:
    return KanjinetError(f"{what}: more than {MAX_PIXELS // 10**6} million pixels are refused", "make it smaller")


def _to_gray(image: Image.Image, paper: int) -> ImageArray:
    """Takes steps 2 and 3 of the rule, on paper of one gray: (height, width) uint8."""
    if image.mode in _WIDE_MODES:
        return _narrow(np.asarray(image).astype(np.float32), image, paper)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (paper, paper, paper)), image)
    return np.asarray(image.convert("RGB").convert("L"))  # Pillow's own formula is that of step 3


def _narrow(values: npt.NDArray[np.float32], image: Image.Image, paper: int) -> ImageArray:
    """Scales gray of 16 bits to 8; that of other kinds, which have no scale, by its own range."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    if image.mode.startswith("I;16"):
        if isinstance(transparent := image.info.get("transparency"), int):
            values[values == transparent] = paper * 257
        return np.rint(values / 257).astype(np.uint8)
    values -= values.min()
    return np.rint(values * (255 / (float(values.max()) or 1))).astype(np.uint8)


def make_ink_bright(gray: ImageArray) -> ImageArray:
    """Takes step 4 of the rule: inverts a gray image (height, width) whose ink is dark."""
    is_border = np.ones(gray.shape, dtype=np.bool_)
    is_border[1:-1, 1:-1] = False
    border = gray[is_border]
    middle = (len(border) - 1) // 2
    paper = int(np.partition(border, middle)[middle])
    return 255 - gray if 2 * paper > int(gray.min()) + int(gray.max()) else gray


def to_network_input(ink: ImageArray, size: int, version: str) -> ImageArray | None:
    """Returns what the network sees of an image with bright ink, (size, size) uint8; None for no character."""
    if int(subtract_paper(ink[None]).max()) < MIN_INK:
        return None
    return preprocess(ink[None], size, version, cells=False)[0]


def list_images(folder: Path) -> list[Path]:
    """Lists the files of a folder, not of those in it, whose names end as those of images do; by name.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in _list_files(folder) if _has_image_name(path))


def describe_skipped(folders: Iterable[Path]) -> str:
    """Says how many files of folders `list_images` leaves out, and what can be done; nothing where it takes them all.

    Raises:
        OSError: a folder cannot be read.
    """
    left_out = [path for folder in folders for path in _list_files(folder) if not _has_image_name(path)]
    if not left_out:
        return ""
    counts = Counter(path.suffix.lower() or "without an ending" for path in left_out)
    remedies = [f"{kind}: {remedy}" for kind, (_, endings, remedy) in _UNREAD.items() if counts.keys() & set(endings)]
    listed = sorted(counts, key=lambda ending: (-counts[ending], ending))[:MAX_ENDINGS]
    found = ", ".join(f"{counts[ending]:,} {ending}" for ending in listed)
    more = ", ..." if len(counts) > MAX_ENDINGS else ""
    return "; ".join([f"{len(left_out):,} left out, no images by their names ({found}{more})", *remedies])


def _list_files(folder: Path) -> Iterator[Path]:
    """Lists the files that a person put into a folder."""
    return (
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _WINDOWS_FILES and path.is_file()
    )


def _has_image_name(path: Path) -> bool:
    return Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN


def list_labeled_images(folder: Path, character_set: CharacterSet = ETL9G_SET) -> LabeledImages:
    """Lists the images in a folder's sub-folders, each named after the character of a set that its images show.

    Raises:
        KanjinetError: no such folder, or no image of any of the characters in it.
    """
    remedy = "name a folder with one sub-folder of images a character, such as 田, 7530 or U+7530 (hex Unicode)"
    if not folder.is_dir():
        raise KanjinetError(f"{folder}: no such folder", remedy)
    paths: list[Path] = []
    classes: list[int] = []
    skipped: list[str] = []
    folders = [folder]
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = character_set.class_of_character.get(parse_folder_name(inner.name))
        if found is None:
            skipped.append(inner.name)
            continue
        folders.append(inner)
        images = list_images(inner)
        paths += images
        classes += [found] * len(images)
    skipped_files = describe_skipped(folders)
    if not paths:
        note = f"; {skipped_files}" if skipped_files else ""
        raise KanjinetError(f"{folder}: no image of any of {character_set.title} in it{note}", remedy)
    return LabeledImages(paths, np.array(classes, dtype=np.int64), skipped, skipped_files)


def parse_folder_name(name: str) -> str:
    """Returns the character that a folder is named after: 田, 7530, u+7530 -> 田; anything else as it is.

    A name of four hex digits is Unicode, never a JIS code. Names may be decomposed (か and a voiced mark), as macOS
    writes them.
    """
    if (match := _CODE_POINT.fullmatch(name)) and int(match[1], 16) <= 0x10FFFF:
        return chr(int(match[1], 16))
    return unicodedata.normalize("NFC", name)
