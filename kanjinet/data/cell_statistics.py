"""Statistics of cells, to compare samples with real ETL9G: ink, size, place, stroke width, fragments."""

from collections.abc import Iterable
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.data.etl9g import CELL_HEIGHT, CELL_WIDTH

PERCENTILES = (5, 25, 50, 75, 95)
_STROKE_FRACTION = 0.25  # of its cell's peak ink: a pixel with less is not part of a stroke
_MIN_PART_PIXELS = 3  # smaller specks are no writing
STATISTICS = {  # name -> title in the table; those of the writing are NaN in cells without any
    "peak_ink": "peak ink, 0-15",
    "stroke_ink": "mean ink on strokes, 0-15",
    "box_width": "ink box width / cell width",  # of the character without fragments
    "box_height": "ink box height / cell height",
    "center_x": "ink center x (of cell)",
    "center_y": "ink center y (of cell)",
    "stroke_width": "stroke width, pixels",
    "has_fragment": "cells with a neighbor's fragment",  # ink that touches the edge, apart from the character
    "paper_ink": "paper",  # mean level of all pixels that are not near a stroke
}
_FORMATS_OF_MEANS = {"has_fragment": ".1%", "paper_ink": ".3f"}  # of the others, percentiles are shown

Statistics: TypeAlias = dict[str, npt.NDArray[np.float64]]  # (n,) each


def measure_cells(images: npt.NDArray[np.uint8]) -> Statistics:
    """Measures cells, (n, 127, 128) uint8 ink levels, 0-15."""
    rows = np.array([_measure_cell(image) for image in images], dtype=np.float64).reshape(len(images), len(STATISTICS))
    return dict(zip(STATISTICS, rows.T, strict=True))


def _measure_cell(image: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    unknown = float("nan")
    peak = int(image.max())
    if peak == 0:
        return (0.0, *[unknown] * 6, 0.0, 0.0)
    strokes = (image >= max(1.0, _STROKE_FRACTION * peak)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    x, y, width, height, area = stats.T
    at_edge = (x == 0) | (y == 0) | (x + width == CELL_WIDTH) | (y + height == CELL_HEIGHT)
    # A part at the edge is the character's own if it reaches the middle of the cell.
    reaches_middle = (x < 0.6 * CELL_WIDTH) & (x + width > 0.4 * CELL_WIDTH)
    reaches_middle &= (y < 0.65 * CELL_HEIGHT) & (y + height > 0.35 * CELL_HEIGHT)
    writing = area >= _MIN_PART_PIXELS
    writing[0] = False  # part 0 is the paper
    fragment = writing & at_edge & ~reaches_middle
    own = writing & ~fragment
    paper = image[cv2.dilate(strokes, np.ones((5, 5), np.uint8)) == 0]
    paper_ink = float(paper.mean()) if paper.size else 0.0
    if not own.any():
        return (peak, *[unknown] * 6, float(fragment.any()), paper_ink)
    mask = own[parts]
    left, right = x[own].min(), (x + width)[own].max()
    top, bottom = y[own].min(), (y + height)[own].max()
    return (
        float(image[mask].max()),
        float(image[mask].mean()),
        (right - left) / CELL_WIDTH,
        (bottom - top) / CELL_HEIGHT,
        (right + left) / 2 / CELL_WIDTH,
        (bottom + top) / 2 / CELL_HEIGHT,
        _measure_stroke_width(mask),
        float(fragment.any()),
        paper_ink,
    )


def _measure_stroke_width(mask: npt.NDArray[np.bool_]) -> float:
    """Computes twice the area by the length of the boundary, which is exact for a long straight stroke."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    # A contour runs through the middles of the outermost pixels, half a pixel inside the true boundary.
    boundary = sum(cv2.arcLength(contour, True) for contour in contours)
    return 2 * float(mask.sum()) / max(boundary, 1.0)


def format_table(groups: dict[str, Statistics]) -> str:
    """Formats a table with the percentiles 5 / 25 / 50 / 75 / 95 of each group of cells."""
    rows: dict[str, Iterable[str]] = {"percentiles " + " / ".join(map(str, PERCENTILES)): groups}
    for name, title in STATISTICS.items():
        rows[title] = [_format(group[name], _FORMATS_OF_MEANS.get(name)) for group in groups.values()]
    return "\n".join(f"{title:34s}" + "".join(f"{cell:>34s}" for cell in cells) for title, cells in rows.items())


def _format(values: npt.NDArray[np.float64], format_of_mean: str | None) -> str:
    if format_of_mean:
        return f"{np.mean(values) if len(values) else float('nan'):{format_of_mean}}"
    values = values[~np.isnan(values)]
    found = np.percentile(values, PERCENTILES) if len(values) else [float("nan")] * len(PERCENTILES)
    return " / ".join(f"{value:.{1 if values.max(initial=0) > 2 else 2}f}" for value in found)
