"""Skeletons of drawn glyphs.

Source: Z. Guo and R. W. Hall, "Parallel thinning with two-subiteration algorithms", CACM 32 (1989).
"""

import functools
import operator
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

_Planes = npt.NDArray[np.uint8]  # (p * h * w,) each value a pixel of eight images, one in each bit
_AT_A_TIME = 32  # images: few enough for the processor's cache


def thin(shapes: npt.NDArray[np.uint8], spur_pixels: int) -> npt.NDArray[np.uint8]:
    """Thins shapes (n, h, w), 1 on 0, to lines of one pixel, without branches up to `spur_pixels`.

    The outermost pixels of each must be 0.
    """
    lines, kept = np.zeros_like(shapes), np.zeros_like(shapes)
    for start in range(0, len(shapes), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        left, top, width, height = cv2.boundingRect(np.bitwise_or.reduce(shapes[some]))
        window = some, slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
        part = shapes[window]
        for found, planes in zip((lines, kept), _thin_planes(np.packbits(part, axis=0), spur_pixels), strict=True):
            found[window] = np.unpackbits(planes.reshape(-1, *part.shape[1:]), axis=0, count=len(part))
    for image, rest in zip(lines, kept, strict=True):
        _restore_dots(rest, image)
    return kept


def _thin_planes(shapes: npt.NDArray[np.uint8], spur_pixels: int) -> tuple[_Planes, _Planes]:
    """Returns the lines of images, eight in each of (p, h, w), and those without spurs."""
    planes, width, before = shapes.ravel(), shapes.shape[2], b""
    while planes.tobytes() != before:
        before = planes.tobytes()
        for step in (0, 1):
            _inner(planes, width)[:] &= ~_find_removable(planes, width, step)
    return planes, _remove_spurs(planes, width, spur_pixels)


def _inner(planes: _Planes, width: int, offset: int = 0) -> _Planes:
    """Returns all pixels that have eight neighbors (a view), or those at an offset from them."""
    return planes[width + 1 + offset : len(planes) - width - 1 + offset]


def _find_neighbors(planes: _Planes, width: int) -> list[_Planes]:
    """Returns the eight neighbors of the inner pixels, clockwise from the one above."""
    offsets = (-width, 1 - width, 1, 1 + width, width, width - 1, -1, -1 - width)
    return [_inner(planes, width, offset) for offset in offsets]


def _find_removable(planes: _Planes, width: int, step: int) -> _Planes:
    """Finds the inner pixels that the first or the second half of a round removes."""
    above, above_right, right, below_right, below, below_left, left, above_left = _find_neighbors(planes, width)
    pairs = above_right | right, below_right | below, below_left | left, above_left | above
    others = above | above_right, right | below_right, below | below_left, left | above_left
    changes = pairs[0] & ~above, pairs[1] & ~right, pairs[2] & ~below, pairs[3] & ~left
    one_change = functools.reduce(operator.or_, changes) & ~_find_two(changes)
    surrounded = functools.reduce(operator.and_, pairs + others)
    if step == 0:
        spared = left & (below | below_left | ~above_left)
    else:
        spared = right & (above | above_right | ~below_right)
    return one_change & _find_two(pairs) & _find_two(others) & ~(surrounded | spared)


def _find_two(images: Iterable[_Planes]) -> _Planes:
    """Finds the pixels that are set in at least two images."""
    first, *rest = images
    once, twice = first, np.zeros_like(first)
    for image in rest:
        twice |= once & image
        once = once | image
    return twice


def _remove_spurs(planes: _Planes, width: int, spur_pixels: int) -> _Planes:
    """Shortens all free ends, and lets those that are left grow back: a spur is gone by then."""
    short = planes.copy()
    for _ in range(spur_pixels):
        _inner(short, width)[:] &= _find_two(_find_neighbors(short, width))
    grown = short.copy()
    _inner(grown, width)[:] &= ~_find_two(_find_neighbors(short, width))
    for _ in range(spur_pixels):
        _inner(grown, width)[:] |= functools.reduce(operator.or_, _find_neighbors(grown, width))
        grown &= planes
    return short | grown


def _restore_dots(kept: npt.NDArray[np.uint8], lines: npt.NDArray[np.uint8]) -> None:
    """Restores in place a dot's line, or that of any short stroke, which would be gone as a whole."""
    _, parts = cv2.connectedComponents(lines, connectivity=8)
    is_lost = np.ones(int(parts.max()) + 1, dtype=np.bool_)
    is_lost[parts[kept > 0]] = False
    is_lost[0] = False
    kept |= is_lost[parts]
