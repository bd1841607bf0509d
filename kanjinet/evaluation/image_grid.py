"""Grids of labeled images, which need no font, because printed characters come from KanjiVG; boxes on a page."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.synth.printed import draw_character

TILE = 72  # pixels a side
GAP = 4
CORRECT, WRONG, PRINT = (60, 150, 40), (40, 40, 220), (150, 90, 40)  # blue, green, red, as OpenCV has them

ImageArray = npt.NDArray[np.uint8]
Color = tuple[int, int, int]


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
    tiles = []
    for image, label, character in zip(images, labels, predicted or labels, strict=True):
        if predicted is None:
            tiles.append(_make_tile(image, {TILE // 4: (label, PRINT)}))
        elif character == label:
            tiles.append(_make_tile(image, {0: (label, CORRECT)}, CORRECT))
        else:
            tiles.append(_make_tile(image, {0: (character, WRONG), TILE // 2: (label, CORRECT)}, WRONG))
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    # (n, height, width, 3), with a gap before each tile -> (rows, columns, ...) -> one image, with a gap at its end
    grid = np.pad(tiles, ((0, missing), (GAP, 0), (GAP, 0), (0, 0)), constant_values=255)
    height, width = grid.shape[1:3]
    grid = grid.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return np.pad(grid, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def draw_boxes(gray: ImageArray, boxes: Sequence[tuple[int, int, int, int]]) -> ImageArray:
    """Draws boxes (left, top, right, bottom), numbered from 1 on, into a gray image: (height, width, 3) uint8."""
    drawn = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8)
    unit = max(1, round(max(gray.shape) / 1000))  # pixels of a line
    for place, (left, top, right, bottom) in enumerate(boxes, start=1):
        cv2.rectangle(drawn, (left - unit, top - unit), (right, bottom), WRONG, unit)
        above = (left, max(12 * unit, top - 3 * unit))
        cv2.putText(drawn, str(place), above, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * unit, PRINT, unit, cv2.LINE_AA)
    return drawn


def _make_tile(image: ImageArray, below: dict[int, tuple[str, Color]], frame: Color | None = None) -> ImageArray:
    """Draws an image above characters in print, given by their left edge: (3/2 TILE, TILE, 3) uint8."""
    side = TILE // 2
    tile = np.full((TILE + side, TILE, 3), 255, dtype=np.uint8)
    tile[:TILE] = cv2.resize(255 - image, (TILE, TILE), interpolation=cv2.INTER_AREA)[..., None]
    for left, (character, color) in below.items():
        if character:
            ink = cv2.resize(draw_character(character), (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
            tile[TILE:, left : left + side] = np.rint(255 - ink * (255 - np.array(color)))
    if frame:
        cv2.rectangle(tile, (0, 0), (TILE - 1, TILE + side - 1), frame, 2)
    return tile
