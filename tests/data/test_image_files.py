"""Images of any kind become the same bright ink, by the rule in words; what is no image is refused."""

import io
import struct
import time
import unicodedata
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from kanjinet.contract import NORMALIZE
from kanjinet.data.image_files import (
    MAX_PIXELS,
    MIN_INK,
    describe_skipped,
    list_images,
    list_labeled_images,
    make_ink_bright,
    parse_folder_name,
    read_image,
    to_network_input,
)
from kanjinet.errors import KanjinetError


def draw() -> np.ndarray:
    """(40, 60) uint8, dark ink of several grays on white; nothing is symmetric."""
    gray = np.full((40, 60), 255, dtype=np.uint8)
    gray[8:12, 10:50] = 30
    gray[5:35, 20:24] = 0
    gray[28:31, 24:33] = 90
    return gray


def save(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def with_alpha(gray: np.ndarray) -> Image.Image:
    """Black of an opacity that looks like `gray` on white."""
    return Image.fromarray(np.dstack([np.zeros((*gray.shape, 3), np.uint8), 255 - gray]), "RGBA")


def with_palette_transparency(gray: np.ndarray) -> io.BytesIO:
    """A GIF whose paper is a transparent, black palette entry."""
    image = Image.fromarray(np.where(gray == 255, 3, gray // 64).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 64, 64, 64, 128, 128, 128, 0, 0, 0])
    return save(image, "GIF", transparency=3)


GRAY = draw()
LOSSLESS = {
    "PNG, 8-bit gray": lambda: save(Image.fromarray(GRAY), "PNG"),
    "PNG, 16-bit gray": lambda: save(Image.fromarray(GRAY.astype(np.uint16) * 257), "PNG"),
    "PNG, palette": lambda: save(Image.fromarray(GRAY).convert("P"), "PNG"),
    "PNG, transparent": lambda: save(with_alpha(GRAY), "PNG"),
    "PNG, color": lambda: save(Image.fromarray(GRAY).convert("RGB"), "PNG"),
    "PNG, light on dark": lambda: save(Image.fromarray(255 - GRAY), "PNG"),
    "GIF": lambda: save(Image.fromarray(GRAY), "GIF"),
    "BMP": lambda: save(Image.fromarray(GRAY), "BMP"),
    "TIFF, CMYK": lambda: save(Image.fromarray(GRAY).convert("RGB").convert("CMYK"), "TIFF"),
    "TIFF, floats": lambda: save(Image.fromarray(GRAY.astype(np.float32) / 255), "TIFF"),
    "TIFF, 32-bit": lambda: save(Image.fromarray(GRAY.astype(np.int32) * 1000 - 70_000), "TIFF"),
    "WebP, transparent": lambda: save(with_alpha(GRAY), "WEBP", lossless=True, exact=True),
    "PPM": lambda: save(Image.fromarray(GRAY).convert("RGB"), "PPM"),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_format_gives_the_same_ink(kind: str) -> None:
    ink = read_image(LOSSLESS[kind](), kind)
    assert ink.dtype == np.uint8
    assert ink.shape == GRAY.shape
    assert np.abs(ink.astype(int) - (255 - GRAY.astype(int))).max() <= 1


def test_one_bit_palette_transparency_and_jpeg() -> None:
    expected = np.where(GRAY < 128, 255, 0)
    one_bit = save(Image.fromarray(GRAY < 128).convert("1"), "PNG")  # white ink, for once
    np.testing.assert_array_equal(read_image(one_bit, "1"), expected)
    transparent = read_image(with_palette_transparency(GRAY), "P")
    np.testing.assert_array_equal(transparent, 255 - np.where(GRAY == 255, 255, GRAY // 64 * 64))
    cmyk = save(Image.fromarray(GRAY).convert("RGB").convert("CMYK"), "JPEG", quality=95)
    assert np.abs(read_image(cmyk, "CMYK").astype(int) - (255 - GRAY.astype(int))).mean() < 4


def test_gray_is_the_luma_of_the_rule() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    colors[[0, -1]], colors[:, [0, -1]] = 0, 0  # a dark border: nothing is inverted
    _, file = cv2.imencode(".png", colors[..., ::-1])
    red, green, blue = (colors[..., channel].astype(np.int64) for channel in range(3))
    expected = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    np.testing.assert_array_equal(read_image(io.BytesIO(file.tobytes()), "colors"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_white_ink_on_no_paper_is_seen(mode: str) -> None:
    opacity = 255 - GRAY if mode in ("RGBA", "LA") else np.where(GRAY < 255, 255, 0).astype(np.uint8)
    white = np.full(GRAY.shape, 255, np.uint8)
    file = {
        "RGBA": lambda: save(Image.fromarray(np.dstack([white] * 3 + [opacity]), "RGBA"), "PNG"),
        "LA": lambda: save(Image.fromarray(np.dstack([white, opacity]), "LA"), "PNG"),
        "P": lambda: palette_of_white(opacity),
        "I;16": lambda: save(
            Image.fromarray(np.where(opacity, 65535, 65000).astype(np.uint16)), "PNG", transparency=65000
        ),
    }[mode]()
    np.testing.assert_array_equal(read_image(file, mode), opacity)


def palette_of_white(opacity: np.ndarray) -> io.BytesIO:
    """A GIF all of whose colors are white, one of them transparent."""
    image = Image.fromarray((opacity > 0).astype(np.uint8), "P")
    image.putpalette([255] * 6)
    return save(image, "GIF", transparency=0)


def test_colored_ink_on_no_paper_lies_on_white_where_it_stands_out_there() -> None:
    for gray, expected in ((0, 255), (200, 55), (239, 16), (240, 240), (255, 255)):
        ink = np.dstack([np.full(GRAY.shape, gray, np.uint8)] * 3 + [np.where(GRAY < 255, 255, 0).astype(np.uint8)])
        assert read_image(ink).max() == expected
    screenshot = np.dstack([255 - GRAY] * 3 + [np.full(GRAY.shape, 255, np.uint8)])
    screenshot[0, [0, -1], 3] = screenshot[-1, [0, -1], 3] = 0  # round corners
    assert np.abs(read_image(screenshot)[2:-2, 2:-2].astype(int) - (255 - GRAY[2:-2, 2:-2])).max() == 0


def test_partly_transparent_colors_lie_on_white() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (20, 20, 4), dtype=np.uint8)
    values[[0, -1]], values[:, [0, -1]] = 255, 255
    opacity = values[..., 3:] / 255
    on_white = values[..., :3] * opacity + 255 * (1 - opacity)
    expected = 255 - on_white @ np.array([0.299, 0.587, 0.114])
    found = read_image(save(Image.fromarray(values, "RGBA"), "PNG"), "colors")
    assert np.abs(found - expected).max() < 1.2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    # how a camera stores an upright image, from the EXIF standard's table of orientations
    stored = {
        1: GRAY,
        2: GRAY[:, ::-1],
        3: GRAY[::-1, ::-1],
        4: GRAY[::-1],
        5: GRAY.T,
        6: np.rot90(GRAY),
        7: GRAY[::-1, ::-1].T,
        8: np.rot90(GRAY, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    for file in (save(image, "PNG", exif=exif), save(image, "JPEG", exif=exif, quality=100)):
        found = read_image(file, "photograph")
        assert found.shape == GRAY.shape
        assert np.abs(found.astype(int) - (255 - GRAY.astype(int))).max() < 8


def test_the_border_decides_which_side_is_ink() -> None:
    page = np.full((9, 9), 200, dtype=np.uint8)
    page[4, 4] = 40
    assert make_ink_bright(page)[4, 4] == 215
    assert make_ink_bright(255 - page)[4, 4] == 215
    mostly_ink = page.copy()
    mostly_ink[1:-1, 1:-1] = 40  # more ink than paper, within a border of paper
    assert make_ink_bright(mostly_ink)[4, 4] == 215
    touched = page.copy()
    touched[0, :] = touched[:, 0] = 40  # 17 of 32 pixels of the border: now that side is paper
    np.testing.assert_array_equal(make_ink_bright(touched), touched)
    even = page.copy()
    even[0, :] = even[1:8, 0] = 40  # 16 of 32: the lower of the two middle ones counts
    np.testing.assert_array_equal(make_ink_bright(even), even)
    for shape in ((1, 1), (1, 7), (7, 1), (2, 2)):
        assert make_ink_bright(np.full(shape, 9, dtype=np.uint8)).shape == shape


def test_without_contrast_there_is_no_character() -> None:
    for value in (0, 77, 255):
        assert to_network_input(make_ink_bright(np.full((50, 50), value, np.uint8)), 64, NORMALIZE) is None
    faint = np.full((50, 50), 120, dtype=np.uint8)
    faint[20:30, 24:27] = 120 - MIN_INK + 1
    assert to_network_input(make_ink_bright(faint), 64, NORMALIZE) is None
    faint[20:30, 24:27] = 120 - MIN_INK
    seen = to_network_input(make_ink_bright(faint), 64, NORMALIZE)
    assert seen is not None
    assert seen.max() == 255


def png_of_nothing(width: int, height: int) -> bytes:
    """A PNG header that promises pixels, and hardly any data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (MAX_PIXELS // 5000 + 1, 5000)])
def test_decompression_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    start = time.perf_counter()
    with pytest.raises(KanjinetError, match="bomb: .*more than 50 million pixels are refused"):
        read_image(io.BytesIO(png_of_nothing(*size)), "bomb")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an image"),
        (b"no image at all", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS is not read"),
        (save(Image.fromarray(GRAY), "PNG").getvalue()[:90], "damaged"),
        (save(Image.fromarray(GRAY), "JPEG").getvalue()[:500], "damaged"),
        (save(Image.fromarray(np.full((5, 5), np.nan, np.float32)), "TIFF").getvalue(), "no numbers"),
        (png_of_nothing(50, 50), "damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not read: .*JPEG or PNG; iPhones"),
        (b"\0\0\0\x18ftypmp42" + bytes(90), "video is not read: save one of its frames"),
        (b"\0\0\x01\xba" + bytes(90), "video is not read"),  # which Pillow knows by name alone
        (b"\0\0\0\x18ftypcrx " + bytes(90), "camera RAW is not read"),
        (
            b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a drawing -->\n<svg width="9"/>',
            "SVG is not read: export it as PNG",
        ),
        (b"%PDF-1.7\n", "PDF is not read"),
        (b"\xff\x0a" + bytes(90), "JPEG XL is not read"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(KanjinetError, match=f"file.x: .*{message}"):
        read_image(io.BytesIO(content), "file.x")


def test_a_format_is_named_by_the_ending_where_the_content_does_not_tell(tmp_path: Path) -> None:
    for name, content in (("a.DNG", b"II*\0\x08\0\0\0" + bytes(90)), ("b.svgz", b"\x1f\x8b")):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(KanjinetError, match=r"a\.DNG: camera RAW is not read"):
        read_image(tmp_path / "a.DNG")
    with pytest.raises(KanjinetError, match=r"b\.svgz: SVG is not read"):
        read_image(tmp_path / "b.svgz")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(KanjinetError, match=path.name):
            read_image(path, "x")


def test_mutilated_files_never_end_in_another_error() -> None:
    rng = np.random.default_rng(0)
    files = [LOSSLESS[kind]().getvalue() for kind in LOSSLESS]
    exif = Image.Exif()
    exif[0x0112] = 6
    files.append(save(Image.fromarray(GRAY), "JPEG", exif=exif).getvalue())
    refused = 0
    for index in range(600):
        content = bytearray(files[index % len(files)])
        for position in rng.integers(0, min(len(content), 200), int(rng.integers(1, 9))):
            content[position] = rng.integers(256)
        try:
            assert read_image(io.BytesIO(bytes(content[: rng.integers(20, 2 * len(content))])), "x").ndim == 2
        except KanjinetError:
            refused += 1
    assert 100 < refused < 600


def test_folder_names() -> None:
    for name in ("田", "7530", "U+7530", "u+7530"):
        assert parse_folder_name(name) == "田"
    assert parse_folder_name(unicodedata.normalize("NFD", "が")) == "が"
    assert parse_folder_name("304C") == "が"  # Unicode, not JIS 304C
    assert parse_folder_name("notes") == "notes"
    assert parse_folder_name("FFFFFF") == "FFFFFF"


def test_folders_of_images(tmp_path: Path) -> None:
    for name in ("田/b.png", "田/a.JPG", "田/.hidden.png", "田/notes.txt", "U+7530/c.gif", "304c/d.png", "X/e.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for name in ("loose.heic", "Thumbs.db"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path / "田")] == ["a.JPG", "b.png"]
    found = list_labeled_images(tmp_path)
    by_name = {path.name: index for path, index in zip(found.paths, found.classes.tolist(), strict=True)}
    assert by_name == {"a.JPG": 2080, "b.png": 2080, "c.gif": 2080, "d.png": by_name["d.png"]}
    assert by_name["d.png"] < 71
    assert found.skipped_folders == ["X"]
    assert found.skipped_files.startswith(
        "2 left out, no images by their names (1 .heic, 1 .txt); HEIC: save it as JPEG"
    )
    assert describe_skipped([tmp_path / "X"]) == ""
    with pytest.raises(KanjinetError, match="no such folder"):
        list_labeled_images(tmp_path / "missing")
    with pytest.raises(KanjinetError, match="no image of any of the 3,036"):
        list_labeled_images(tmp_path / "田")
