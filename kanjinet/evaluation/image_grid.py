"""Grids of labeled images; need no font, because printed characters come from KanjiVG."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.synth.printed import draw_character

TILE = 72  # pixels a side
GAP = 4
CORRECT, WRONG, PRINT = (60, 150, 40), (40, 40, 220), (150, 90, 40)  # blue, green, red, as OpenCV has them

ImageArray = npt.NDArray[np.uint8]


def draw_image_grid(
    images: Sequence[ImageArray], labels: Sequence[str], columns: int, predicted: Sequence[str] | None = None
) -> ImageArray:
    """Draws images as dark ink on white paper, each above a character in print.

    Args:
        images: (S, S) uint8, ink bright on 0; at least one.
        labels: the character of each.
        columns: images in a row.
        predicted: what a model took each for, "" for nothing: printed instead of the label, and framed in green where
            it is the label; framed in red, with the label beside it, where it is not.

    Returns:
        (height, width, 3) uint8, blue-green-red.
    """
    if predicted is None:
        tiles = [_make_tile(image, {TILE // 4: (label, PRINT)}) for image, label in zip(images, labels, strict=True)]
        return _arrange(tiles, columns)
    tiles = []
    for image, label, character in zip(images, labels, predicted, strict=True):
        color = CORRECT if character == label else WRONG
        below = {0: (character, color)} if character == label else {0: (character, color), TILE // 2: (label, CORRECT)}
        tiles.append(_make_tile(image, below))
        cv2.rectangle(tiles[-1], (0, 0), (TILE - 1, len(tiles[-1]) - 1), color, 2)
    return _arrange(tiles, columns)


def _make_tile(image: ImageArray, below: dict[int, tuple[str, tuple[int, int, int]]]) -> ImageArray:
    """Draws an image above characters in print, given by their left edge: (3/2 TILE, TILE, 3) uint8."""
    side = TILE // 2
    tile = np.full((TILE + side, TILE, 3), 255, dtype=np.uint8)
    tile[:TILE] = cv2.resize(255 - image, (TILE, TILE), interpolation=cv2.INTER_AREA)[..., None]
    for left, (character, color) in below.items():
        if character:
            ink = cv2.resize(draw_character(character), (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
            tile[TILE:, left : left + side] = np.rint(255 - ink * (255 - np.array(color)))
    return tile


def _arrange(tiles: Sequence[ImageArray], columns: int) -> ImageArray:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        y, x = GAP + row * (height + GAP), GAP + column * (width + GAP)
        grid[y : y + height, x : x + width] = tile
    return grid
