"""One preprocessing for every stage and every client: what happens to a picture before the network sees it.

`CONTRACTS` says it in words for those who write a client in another language.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.errors import KanjinetError

NORMALIZE = "ink-box-1"
PLAIN = "plain-1"
PREPROCESSINGS = {"normalize": NORMALIZE, "plain": PLAIN}  # option value -> version written into every file

IMAGE_SIZES = (32, 48, 64, 96, 128)  # pixels a side; every stage works with these
INK_SCALE = 255 // 15  # 17: ETL9G's darkest ink, level 15, becomes 255
FILL = 52 / 64  # of the output's side: the longer side of the ink's box
BOX_LEVEL = 64  # of 255, after stretching: pixels at least this dark span the ink's box
EDGE_PIXELS = 2  # ink this near to a cell's edge may belong to the neighbouring cell
FRAGMENT_DEPTH = 0.22  # of the cell's side: a neighbour's fragment reaches no further in
FRAGMENT_SHARE = 0.35  # of the cell's ink: a connected piece with more is the character itself

CONTRACTS = {
    NORMALIZE: (
        "Start from a grey picture with bright ink (up to 255) on paper of 0. "
        "1. Peak = the largest value; multiply every value by 255 / peak and round. "
        "2. Box = the smallest rectangle that holds every pixel of at least 64; crop to it. "
        "3. With S the output's side and T = round(S * 52 / 64): scale the box by T / (its longer side), to "
        "max(1, floor(width * T / longer + 1/2)) x max(1, floor(height * T / longer + 1/2)) pixels; along each axis, "
        "an output pixel is the mean of the input over its footprint where the picture shrinks, and the linear "
        "interpolation between the two nearest pixel centres (edge pixels repeated) where it grows. Round. "
        "4. Paste it at ((S - width) // 2, (S - height) // 2) into S x S zeros. "
        "5. The network takes value / 255 as float32, shape (batch, 1, S, S). "
        "(For cells of scanned sheets only, before 1: connected pieces of ink that touch the cell's edge and are "
        "small fragments of the neighbouring cells are erased.)"
    ),
    PLAIN: (
        "Start from a grey picture with bright ink (up to 255) on paper of 0. Resize the whole picture to S x S: the "
        "mean over each output pixel's footprint where it shrinks, linear interpolation where it grows. The network "
        "takes value / 255 as float32, shape (batch, 1, S, S)."
    ),
}


def check_preprocessing(version: str, where: str) -> None:
    """Refuse a preprocessing version that this release does not know.

    Raises:
        KanjinetError: with `where`, the file that names it.
    """
    if version not in CONTRACTS:
        raise KanjinetError(
            f"{where}: preprocessing {version!r} is none of {', '.join(CONTRACTS)}: run prepare_etl9g_dataset.py again"
        )


def preprocess(ink: npt.NDArray[np.uint8], size: int, version: str, *, cells: bool) -> npt.NDArray[np.uint8]:
    """Turn pictures of one size into network inputs.

    Args:
        ink: (n, height, width) uint8, bright ink on paper of 0. A batch, because one call on many is faster.
        size: side of the output, pixels.
        version: NORMALIZE or PLAIN.
        cells: whether the pictures are cells of scanned sheets, at whose edges the neighbours' writing may show.

    Returns:
        (n, size, size) uint8; `CONTRACTS[version]` says how. A picture without ink stays empty.
    """
    out = np.zeros((len(ink), size, size), dtype=np.uint8)
    if version == PLAIN:
        for result, picture in zip(out, ink, strict=True):
            result[:] = _resize(picture, size, size)
        return out
    # The largest value of each row and column is all that peak and box need: two fast passes over the batch.
    row_peaks, column_peaks = ink.max(axis=2), ink.max(axis=1)  # (n, height), (n, width)
    if cells:
        touched = _reach_edge(row_peaks) | _reach_edge(column_peaks)
        if touched.any():
            ink = ink.copy()
        for index in np.flatnonzero(touched):
            _drop_fragments(ink[index])
            row_peaks[index], column_peaks[index] = ink[index].max(axis=1), ink[index].max(axis=0)
    peaks = row_peaks.max(axis=1)  # (n,)
    has_ink = peaks > 0
    stretched_levels = _stretch_tables(peaks)
    tops, bottoms = _find_extents(row_peaks, peaks)
    lefts, rights = _find_extents(column_peaks, peaks)
    target = round(size * FILL)
    for index in np.flatnonzero(has_ink):
        top, bottom, left, right = (int(each[index]) for each in (tops, bottoms, lefts, rights))
        height, width = bottom - top, right - left
        longer = max(height, width)
        new_height, new_width = (max(1, math.floor(side * target / longer + 0.5)) for side in (height, width))
        box = _as_uint8(cv2.LUT(ink[index, top:bottom, left:right], stretched_levels[index]))
        y, x = (size - new_height) // 2, (size - new_width) // 2
        out[index, y : y + new_height, x : x + new_width] = _resize(box, new_width, new_height)
    return out


def _stretch_tables(peaks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n,) peaks -> (n, 256) tables that multiply a level by 255 / peak, rounded half up."""
    levels = np.arange(256)
    divisors = np.maximum(peaks.astype(np.int64), 1)[:, None]
    return np.minimum((levels * 255 * 2 + divisors) // (2 * divisors), 255).astype(np.uint8)


def _find_extents(
    line_peaks: npt.NDArray[np.uint8], peaks: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First, and one past the last, line of each picture whose peak is at least BOX_LEVEL once it is stretched."""
    inked = line_peaks * np.int64(2 * 255) >= ((2 * BOX_LEVEL - 1) * peaks.astype(np.int64))[:, None]  # rounds half up
    return inked.argmax(axis=1), line_peaks.shape[1] - inked[:, ::-1].argmax(axis=1)


def _resize(picture: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Area averaging along an axis that shrinks, linear interpolation along one that grows."""
    source_height, source_width = picture.shape
    if (width > source_width) == (height > source_height):
        way = cv2.INTER_LINEAR if width > source_width else cv2.INTER_AREA
        return _as_uint8(cv2.resize(picture, (width, height), interpolation=way))
    # INTER_AREA shrinks only where both axes do, so a picture of mixed axes takes one step an axis.
    for target in ((width, source_height), (width, height)):
        grows = target[0] > picture.shape[1] or target[1] > picture.shape[0]
        picture = _as_uint8(cv2.resize(picture, target, interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA))
    return picture


def _as_uint8(picture: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.asarray(picture, dtype=np.uint8)


def _reach_edge(line_peaks: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(n, lines) -> (n,): whether there is ink in the first or last lines of a picture."""
    return (line_peaks[:, :EDGE_PIXELS].max(axis=1) | line_peaks[:, -EDGE_PIXELS:].max(axis=1)) > 0


def _drop_fragments(cell: npt.NDArray[np.uint8]) -> None:
    """Erase a neighbouring cell's fragments: small connected pieces that touch the edge and stay near it."""
    height, width = cell.shape
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats((cell > 0).astype(np.uint8), connectivity=8)
    shares = np.bincount(pieces.ravel(), weights=cell.ravel(), minlength=count) / cell.sum()
    depth_x, depth_y = FRAGMENT_DEPTH * width, FRAGMENT_DEPTH * height
    for piece in range(1, count):
        left, top, box_width, box_height = (int(value) for value in boxes[piece, :4])
        right, bottom = left + box_width, top + box_height
        near_a_side = (
            (left < EDGE_PIXELS and right <= depth_x)
            or (top < EDGE_PIXELS and bottom <= depth_y)
            or (right > width - EDGE_PIXELS and left >= width - depth_x)
            or (bottom > height - EDGE_PIXELS and top >= height - depth_y)
        )
        if near_a_side and shares[piece] < FRAGMENT_SHARE:
            cell[pieces == piece] = 0
