"""Skeletons of drawn glyphs.

Source: Z. Guo and R. W. Hall, "Parallel thinning with two-subiteration algorithms", CACM 32 (1989).
"""

import cv2
import numpy as np
import numpy.typing as npt

# A pixel's eight neighbors as bits, clockwise from the one above.
_WEIGHTS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], dtype=np.float32)
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1  # (256, 8)


def _list_removable(step: int) -> npt.NDArray[np.bool_]:
    """Lists for each neighborhood whether its pixel is removed in the first or second half of a round, (256,)."""
    after = np.roll(_BITS, -1, axis=1)  # the next neighbor of each, clockwise
    pieces = (~_BITS & (after | np.roll(_BITS, -2, axis=1)))[:, ::2].sum(axis=1)
    pairs = np.minimum((_BITS | after)[:, ::2].sum(axis=1), (_BITS | after)[:, 1::2].sum(axis=1))
    above, above_right, right, below_right, below, below_left, left, above_left = _BITS.T
    spared = (below | below_left | ~above_left) & left if step == 0 else (above | above_right | ~below_right) & right
    return (pieces == 1) & (pairs >= 2) & (pairs <= 3) & ~spared


_KEPT = [np.where(_list_removable(step), 0, 1).astype(np.uint8) for step in (0, 1)]
_IS_END = (_BITS.sum(axis=1) <= 1).astype(np.uint8)


def thin(shape: npt.NDArray[np.uint8], spur_pixels: int) -> npt.NDArray[np.uint8]:
    """Thins a shape (h, w), 1 on 0 and with a margin, to lines of one pixel, without branches up to `spur_pixels`."""
    lines = shape.copy()
    while True:
        before = int(lines.sum())
        for kept in _KEPT:
            lines &= cv2.LUT(_find_neighbors(lines), kept)
        if int(lines.sum()) == before:
            return _remove_spurs(lines, spur_pixels)


def _find_neighbors(lines: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.filter2D(lines, cv2.CV_8U, _WEIGHTS, borderType=cv2.BORDER_CONSTANT), dtype=np.uint8)


def _remove_spurs(lines: npt.NDArray[np.uint8], spur_pixels: int) -> npt.NDArray[np.uint8]:
    """Shortens all free ends, and lets those that are left grow back: a spur is gone by then."""
    short = lines.copy()
    for _ in range(spur_pixels):
        short &= 1 - cv2.LUT(_find_neighbors(short), _IS_END)
    grown = short & cv2.LUT(_find_neighbors(short), _IS_END)
    for _ in range(spur_pixels):
        grown = np.asarray(cv2.dilate(grown, np.ones((3, 3), np.uint8)), dtype=np.uint8) & lines
    # A dot's line, or that of any short stroke, would be gone as a whole.
    _, parts = cv2.connectedComponents(lines, connectivity=8)
    is_lost = np.ones(int(parts.max()) + 1, dtype=np.bool_)
    is_lost[parts[short > 0]] = False
    is_lost[0] = False
    return short | grown | is_lost[parts].astype(np.uint8)
