"""Images of many characters at a glance; needs no font, because printed characters come from KanjiVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from kanjinet.storage.files import replace_on_success
from kanjinet.synth.printed import draw_character

TILE = 72  # pixels a side
GAP = 4
RIGHT, WRONG, PRINT = (60, 150, 40), (40, 40, 220), (150, 90, 40)  # blue, green, red, as OpenCV has them

ImageArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """One image (S, S) uint8, ink bright on 0, and the characters that it shows and that were read, "" for none."""

    image: ImageArray
    truth: str
    read: str


def draw_sheet(images: Sequence[ImageArray], columns: int) -> ImageArray:
    """Images (S, S) uint8, ink bright on 0, as a sheet of dark ink on white paper: (height, width, 3) uint8."""
    return _arrange([_to_tile(image) for image in images], columns)


def draw_labeled_sheet(images: Sequence[ImageArray], characters: Sequence[str], columns: int) -> ImageArray:
    """The same with each image's character in print below it: (height, width, 3) uint8."""
    tiles = []
    for image, character in zip(images, characters, strict=True):
        below = np.full((TILE // 2, TILE, 3), 255, dtype=np.uint8)
        below[:, TILE // 4 : TILE // 4 + TILE // 2] = _draw_small(character, PRINT)
        tiles.append(np.concatenate([_to_tile(image), below]))
    return _arrange(tiles, columns)


def draw_readings(readings: Sequence[Reading], columns: int) -> ImageArray:
    """Images with what was read in print below: framed in green when right, in red, with the truth beside, when not.

    Returns:
        (height, width, 3) uint8.
    """
    tiles = []
    for reading in readings:
        is_right = reading.truth == reading.read
        below = np.full((TILE // 2, TILE, 3), 255, dtype=np.uint8)
        below[:, : TILE // 2] = _draw_small(reading.read, RIGHT if is_right else WRONG)
        if not is_right:
            below[:, TILE // 2 :] = _draw_small(reading.truth, RIGHT)
        tile = np.concatenate([_to_tile(reading.image), below])
        cv2.rectangle(tile, (0, 0), (TILE - 1, len(tile) - 1), RIGHT if is_right else WRONG, 2)
        tiles.append(tile)
    return _arrange(tiles, columns)


def write_png(path: Path, image: ImageArray) -> None:
    """Write an image, whole or not at all: gray, (height, width) uint8, or blue-green-red, (height, width, 3)."""
    with replace_on_success(path) as file:
        file.write(encode_png(image))


def write_few_grays(path: Path, image: ImageArray) -> None:
    """Write an image (height, width) uint8 of at most 16 grays with four bits a pixel: half the bytes of write_png."""
    grays, codes = np.unique(image, return_inverse=True)
    indexed = Image.fromarray(codes.reshape(image.shape).astype(np.uint8))
    indexed.putpalette(np.repeat(grays, 3).tobytes())
    with replace_on_success(path) as file:
        indexed.save(file, "PNG", optimize=True, bits=4)


def encode_png(image: ImageArray) -> bytes:
    """An image, gray or blue-green-red, as a PNG file's bytes."""
    _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return encoded.tobytes()


def _to_tile(image: ImageArray) -> ImageArray:
    gray = cv2.resize(255 - image, (TILE, TILE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def _draw_small(character: str, color: tuple[int, int, int]) -> ImageArray:
    side = TILE // 2
    if not character:
        return np.full((side, side, 3), 255, dtype=np.uint8)
    ink = cv2.resize(draw_character(character), (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.rint(255 - ink * (255 - np.array(color))).astype(np.uint8)


def _arrange(tiles: list[ImageArray], columns: int) -> ImageArray:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        y, x = GAP + row * (height + GAP), GAP + column * (width + GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet
