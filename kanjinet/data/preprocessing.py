"""The one preprocessing of every stage and every client: from an image's ink to the network's input.

`kanjinet.contract` says it in words for those who write a client in another language.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.contract import PLAIN
from kanjinet.data.fragments import erase_fragments
from kanjinet.data.specks import erase_specks

INK_SCALE = 255 // 15  # 17: ETL9G's darkest ink, level 15, becomes 255
FILL = 52 / 64  # of the output's side: the longer side of the character
DIRT_DIVISOR = 8  # pixels with less ink than the darkest one's / 8 are dirt
BOX_DIVISOR = 4  # pixels with at least the darkest one's ink / 4 span the character's box
REACH = 4 / 52  # of the box's longer side: how far to either side the lines' density is averaged


def preprocess(ink: npt.NDArray[np.uint8], size: int, version: str, *, cells: bool) -> npt.NDArray[np.uint8]:
    """Normalizes images of one size.

    Args:
        ink: (n, height, width) uint8, bright ink on paper of 0. A batch, because one call on many is faster.
        size: side of the output, pixels.
        version: NORMALIZE or PLAIN.
        cells: whether the images are cells of scanned sheets, at whose edges the neighbors' writing may show.

    Returns:
        (n, size, size) uint8; `kanjinet.contract` says how. An image without ink stays empty.
    """
    out = np.zeros((len(ink), size, size), dtype=np.uint8)
    if version == PLAIN:
        for result, image in zip(out, ink, strict=True):
            result[:] = resize(image, size, size)
        return out
    cropped = list(crop_to_ink(ink, cells=cells))
    if cropped:
        target = round(size * FILL)
        for (index, _), image in zip(cropped, even_out_lines([box for _, box in cropped], target), strict=True):
            y, x = ((size - side) // 2 for side in image.shape)
            out[index, y : y + image.shape[0], x : x + image.shape[1]] = image
    return out


def to_model_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turns preprocessed images (n, S, S) into what a network takes: (n, 1, S, S), 0-1."""
    return images[:, None] / np.float32(255)


def even_out_lines(boxes: list[npt.NDArray[np.uint8]], target: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Resizes boxes so that lines lie evenly in them: what is crowded grows, what is empty shrinks.

    Contrast at the edges of strokes stands for the density of lines: it is cheaper than the distances between strokes,
    works on gray images, and is recognized better.

    Source of the idea: Tsukumo and Tanaka, "Classification of handprinted Chinese characters using nonlinear
    normalization and correlation methods", 1988.

    Args:
        boxes: (height, width) uint8 each, with some ink.
        target: the longer side of the results, pixels.

    Yields:
        (new height, new width) uint8 each, 255 the darkest pixel.
    """
    sizes = np.array([box.shape for box in boxes])  # (n, 2)
    longer, shorter = sizes.max(axis=1), sizes.min(axis=1)
    flattened = np.floor(target * np.sqrt(np.sin(np.pi / 2 * shorter / longer)) + 0.5).astype(np.int64)
    new_sizes = np.where(sizes == longer[:, None], target, np.maximum(flattened, 1)[:, None])
    reaches = np.floor(longer * REACH + 0.5).astype(np.int64)
    down, across = (_place_borders(boxes, axis, sizes[:, axis], reaches, new_sizes[:, axis]) for axis in (0, 1))
    for index, (box, (height, width)) in enumerate(zip(boxes, new_sizes.tolist(), strict=True)):
        # sums[y, x]: all ink above and left of a point; between the pixels' corners it is bilinear, so exact.
        sums = np.asarray(cv2.integral(box, sdepth=cv2.CV_64F), dtype=np.float64)
        rows, columns = down.whole[index, : height + 1], across.whole[index, : width + 1]
        upper = sums.take(rows, axis=0)
        upper += down.rest[index, : height + 1, None] * (sums.take(rows + 1, axis=0) - upper)
        bands = upper[1:] - upper[:-1]
        bands *= down.inverse_distances[index, :height, None]
        left = bands.take(columns, axis=1)
        left += across.rest[index, : width + 1] * (bands.take(columns + 1, axis=1) - left)
        ink = left[:, 1:] - left[:, :-1]
        ink *= across.inverse_distances[index, :width]
        ink *= 255 / ink.max()
        ink += 0.5 + 1e-6  # ties go up whatever the rounding errors of a batch
        yield ink.astype(np.uint8)


class _Borders(NamedTuple):
    """Represents borders (n, k + 1) of k output lines in n boxes, in lines of the box: whole part, and rest.

    And 1 / their distances, (n, k). What lies beyond a box's own number of lines means nothing.
    """

    whole: npt.NDArray[np.int64]
    rest: npt.NDArray[np.float64]
    inverse_distances: npt.NDArray[np.float64]


def _place_borders(
    boxes: list[npt.NDArray[np.uint8]],
    axis: int,
    lengths: npt.NDArray[np.int64],
    reaches: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> _Borders:
    """Computes borders of `counts` (n,) output rows (axis 0) or columns (axis 1) with equal density between them.

    `lengths` (n,) are those of the boxes along the axis; density is averaged over `reaches` (n,) lines to either side.
    """
    contrast = np.zeros((len(boxes), int(lengths.max()) + 1))  # at the lines' borders
    for row, box, length in zip(contrast, boxes, lengths.tolist(), strict=True):
        inked = _sum_lines(box, axis)
        row[0], row[length] = inked[0], inked[-1]
        if length > 1:
            steps = cv2.absdiff(box[1:], box[:-1]) if axis == 0 else cv2.absdiff(box[:, 1:], box[:, :-1])
            row[1:length] = _sum_lines(np.asarray(steps, dtype=np.uint8), axis)
    smooth = _sum_neighbors(contrast[:, :-1] + contrast[:, 1:], lengths, reaches)
    fractions = np.zeros(contrast.shape)
    np.cumsum(smooth / smooth.sum(axis=1, keepdims=True), axis=1, out=fractions[:, 1:])
    border = np.minimum(np.arange(contrast.shape[1]), lengths[:, None])
    fractions = (fractions + border / lengths[:, None]) / 2  # the density's mean is added to it
    # One interpolation for all boxes: the fractions of box i lie between 2 i and 2 i + 1.
    goals = np.minimum(np.arange(counts.max() + 1) / counts[:, None], 1)
    first = 2.0 * np.arange(len(boxes))[:, None]
    borders = np.interp((goals + first).ravel(), (fractions + first).ravel(), border.ravel()).reshape(goals.shape)
    whole = np.minimum(borders.astype(np.int64), (lengths - 1)[:, None])
    distances = np.maximum(borders[:, 1:] - borders[:, :-1], np.finfo(np.float64).tiny)  # 0 beyond a box's count
    return _Borders(whole, borders - whole, 1 / distances)


def _sum_neighbors(
    density: npt.NDArray[np.float64], lengths: npt.NDArray[np.int64], reaches: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Sums each line (n, longest) and `reaches` (n,) to either side, end lines repeated; 0 beyond `lengths`."""
    line = np.arange(density.shape[1])
    margin = int(reaches.max())
    repeated = np.clip(np.arange(-margin, len(line) + margin), 0, (lengths - 1)[:, None])
    sums = np.zeros((len(density), len(line) + 2 * margin + 1))
    np.cumsum(np.take_along_axis(density, repeated, axis=1), axis=1, out=sums[:, 1:])
    middle = line + margin + sums.shape[1] * np.arange(len(density))[:, None]  # in the flattened sums
    summed = sums.take(middle + 1 + reaches[:, None]) - sums.take(middle - reaches[:, None])
    summed[line >= lengths[:, None]] = 0
    return summed


def _sum_lines(image: npt.NDArray[np.uint8], axis: int) -> npt.NDArray[np.int32]:
    """Sums each row (axis 0) or column (axis 1)."""
    return np.asarray(cv2.reduce(image, 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S), dtype=np.int32).ravel()


def crop_to_ink(ink: npt.NDArray[np.uint8], *, cells: bool) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Crops each image that has ink to the ink's box, without paper, specks, fragments and dirt.

    Takes what `preprocess` takes.

    Yields:
        The number of the image and its box, (height, width) uint8.
    """
    cleaned: dict[int, npt.NDArray[np.uint8]] = {}
    if cells:  # their paper is 0 already
        ink = erase_specks(ink)
        reaching, erased = erase_fragments(ink)
        if len(reaching) == len(ink):
            ink = erased
        else:
            cleaned = dict(zip(reaching.tolist(), erased, strict=True))
    else:
        ink = subtract_paper(ink)
    # The largest value of each row and column is all that peak and box need: two fast passes over the batch.
    row_peaks, column_peaks = ink.max(axis=2), ink.max(axis=1)  # (n, height), (n, width)
    if cleaned:
        row_peaks[reaching], column_peaks[reaching] = erased.max(axis=2), erased.max(axis=1)
    peaks = row_peaks.max(axis=1)  # (n,)
    min_ink = -(-peaks.astype(np.int64) // DIRT_DIVISOR)
    edges = np.stack([*_find_extents(row_peaks, peaks), *_find_extents(column_peaks, peaks)], axis=1).tolist()
    for index in np.flatnonzero(peaks).tolist():
        top, bottom, left, right = edges[index]
        box = cleaned.get(index, ink[index])[top:bottom, left:right]
        yield index, np.where(box < min_ink[index], np.uint8(0), box)


def subtract_paper(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Subtracts the paper, which is most of each, from images (n, height, width) uint8."""
    pixels = ink.reshape(len(ink), -1)
    middle = (pixels.shape[1] - 1) // 2
    paper = np.partition(pixels, middle, axis=1)[:, middle] if pixels.size else np.zeros(len(ink), np.uint8)
    return ink - np.minimum(ink, paper[:, None, None])


def _find_extents(
    line_peaks: npt.NDArray[np.uint8], peaks: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Finds the first, and one past the last, line of each image with a pixel of its peak / BOX_DIVISOR at least."""
    inked = line_peaks * np.int64(BOX_DIVISOR) >= peaks[:, None]
    return inked.argmax(axis=1), line_peaks.shape[1] - inked[:, ::-1].argmax(axis=1)


def resize(image: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Resizes an image by area averaging along an axis that shrinks, linear interpolation along one that grows."""
    source_height, source_width = image.shape
    if (width > source_width) == (height > source_height):
        method = cv2.INTER_LINEAR if width > source_width else cv2.INTER_AREA
        return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)
    # INTER_AREA shrinks only where both axes do, so an image of mixed axes takes one step an axis.
    for target in ((width, source_height), (width, height)):
        grows = target[0] > image.shape[1] or target[1] > image.shape[0]
        method = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
        image = np.asarray(cv2.resize(image, target, interpolation=method), dtype=np.uint8)
    return image
