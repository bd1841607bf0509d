"""Paper noise and specks, erased from the cells of scanned sheets: a speck enlarges the box that a cell is cropped to.

1. A pixel is paper where the mean of its 3 x 3 neighborhood has too little ink for a stroke: less than MIN_INK of the
   darkest neighborhood's, or not clearly more than the median neighborhood's.
2. What is left goes in connected pieces: one of less ink than MIN_PIECE_PIXELS of the darkest neighborhood is a speck.

A cell with no ink apart from its strokes is left as it is, soft edges and all.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

MIN_INK = 1 / 8  # of the darkest neighborhood's
MAX_NOISE_FACTOR, MAX_NOISE = 2, 20  # times the median neighborhood's, and of 255: how far noise is above it
MIN_PIECE_PIXELS = 5  # of the darkest neighborhood's ink; the dots of characters have twice that and more
NEAR_PIXELS = 2  # from a stroke, what is fainter than it is its edge
MAX_STROKE_REACH = 5  # pixels from where 3 x 3 pixels have ink to where the ink of that stroke ends
MAX_INKED = 0.4  # of the pixels of a cell without noise
_MEDIAN_STEP = 4  # every 4th row and column are enough for the median

_CORE, _REACH, _NEAR = (np.ones((2 * pixels + 1,) * 2, np.uint8) for pixels in (1, MAX_STROKE_REACH, NEAR_PIXELS))


def erase_specks(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Erases noise and specks from cells (n, height, width) uint8 of bright ink on paper of 0.

    Returns:
        The same array if no cell has any, else a copy.
    """
    suspects = [index for index, cell in enumerate(cells) if _may_have_specks(cell)]
    cleaned = cells.copy() if suspects else cells
    for index in suspects:
        strokes = find_strokes(cells[index])
        if _has_ink_beyond(cells[index], cv2.dilate(strokes, _NEAR)):
            cleaned[index] *= strokes
    return cleaned


def _may_have_specks(cell: npt.NDArray[np.uint8]) -> bool:
    """Returns False, several times as fast as the search for strokes, where all ink is near to wide strokes."""
    if cv2.countNonZero(cell) > MAX_INKED * cell.size:
        return True
    return _has_ink_beyond(cell, cv2.dilate(cv2.erode(cell, _CORE), _REACH))


def _has_ink_beyond(cell: npt.NDArray[np.uint8], area: cv2.typing.MatLike) -> bool:
    """Returns whether ink lies where `area` is 0."""
    return bool(cv2.countNonZero(cv2.subtract(cell, cv2.threshold(area, 0, 255, cv2.THRESH_BINARY)[1])))


def find_strokes(cell: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Finds the pixels of strokes in a cell (height, width): 1 where one is, else 0."""
    means = cv2.blur(cell, (3, 3), borderType=cv2.BORDER_CONSTANT)
    sampled = means[::_MEDIAN_STEP, ::_MEDIAN_STEP].ravel()
    peak, median = int(means.max()), int(np.partition(sampled, len(sampled) // 2)[len(sampled) // 2])
    min_mean = max(math.ceil(MIN_INK * peak), median + min(MAX_NOISE_FACTOR * median, MAX_NOISE))
    is_ink = means >= min_mean
    strokes = is_ink.view(np.uint8)
    _, pieces = cv2.connectedComponents(strokes, connectivity=8, ltype=cv2.CV_16U)
    inked = np.flatnonzero(is_ink)  # a tenth of the pixels
    piece_of_pixel = pieces.ravel()[inked]
    sums = np.bincount(piece_of_pixel, weights=cell.ravel()[inked])
    strokes.ravel()[inked] = (sums >= MIN_PIECE_PIXELS * peak)[piece_of_pixel]
    return strokes
