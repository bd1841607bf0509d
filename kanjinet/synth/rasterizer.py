"""Rasterizes strokes of varying width into cells of 4-bit ink levels, as a scanner sees ink on paper."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH, MAX_INK
from kanjinet.synth.strokes import WrittenStrokes

MARGIN = 3  # pixels rasterized beyond each edge of a cell, so that the blur sees what was cut off
_ROWS = CELL_HEIGHT + 2 * MARGIN
_COLUMNS = CELL_WIDTH + 2 * MARGIN
_STRIDE = _COLUMNS + 2  # what lies right of the cell is counted in the last two columns
_LINES_PER_PIXEL = 4  # scan lines; along a line the coverage is exact
_CAP_ANGLES = np.deg2rad([60.0, 0.0, -60.0])
_CELLS_AT_A_TIME = 19  # as many as stay in the processor's cache
_GRAIN_SHIFTS = 61  # pixels by which the one piece of paper is shifted under the cells, each way
_CROSSING_INK = 1.08  # two strokes on top of each other are this much darker than one


@dataclass(frozen=True)
class Ink:
    """Represents what a pen leaves on the paper, and what the scanner makes of it."""

    level: float  # ink of a plain stroke, 0-15
    grain: float  # fraction that the roughness of the paper takes away, 0 (fiber tip) ... 0.3 (hard pencil)
    grain_size: float  # standard deviation in pixels of the blur that turns white noise into grain
    blur: float  # standard deviation in pixels of the scanner's blur


def trace_outlines(points: npt.NDArray[np.float64], half_widths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Computes the outline of each stroke, with round ends.

    Args:
        points: (s, k, 2) the center line, in pixels.
        half_widths: (s, k) pixels.

    Returns:
        (s, 2 k + 6, 2) closed polygons that all turn the same way, so that where a polygon covers itself or another
        the windings add up and never cancel.
    """
    direction = np.gradient(points, axis=1)
    direction /= np.maximum(np.hypot(direction[..., 0], direction[..., 1]), 1e-9)[..., None]
    normal = np.stack([direction[..., 1], -direction[..., 0]], axis=-1)  # to the left of the stroke, y being down
    offset = normal * half_widths[..., None]
    cosines, sines = np.cos(_CAP_ANGLES)[:, None], np.sin(_CAP_ANGLES)[:, None]
    end_cap = points[:, -1:] + half_widths[:, -1:, None] * (cosines * direction[:, -1:] + sines * normal[:, -1:])
    start_cap = points[:, :1] - half_widths[:, :1, None] * (cosines * direction[:, :1] + sines * normal[:, :1])
    return np.concatenate([points + offset, end_cap, (points - offset)[:, ::-1], start_cap], axis=1)


def fill_outlines(
    outlines: npt.NDArray[np.float64],
    cells: npt.NDArray[np.int64],
    ink: npt.NDArray[np.float64],
    num_cells: int,
) -> npt.NDArray[np.float32]:
    """Fills polygons, each in its own cell.

    Every crossing of an edge with a scan line adds the polygon's ink to all that lies right of it (or takes it away,
    by the edge's direction); one running sum over the columns then fills all polygons of all cells at once.

    Args:
        outlines: (s, v, 2) closed polygons, in pixels of the cell.
        cells: (s,) the cell of each, 0 <= cell < num_cells.
        ink: (s,) what each adds where it covers.
        num_cells: how many cells there are.

    Returns:
        (num_cells, 127 + 6, 128 + 6) float32 with MARGIN pixels round each cell; 1 where one stroke of ink 1 covers a
        pixel, the sum where several do.
    """
    x = outlines[..., 0].astype(np.float32) + np.float32(MARGIN)
    y = (outlines[..., 1].astype(np.float32) + np.float32(MARGIN)) * _LINES_PER_PIXEL - np.float32(0.5)
    x1, y1 = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    first = np.clip(np.ceil(np.minimum(y, y1)), 0, _ROWS * _LINES_PER_PIXEL).astype(np.int32)
    beyond = np.clip(np.ceil(np.maximum(y, y1)), 0, _ROWS * _LINES_PER_PIXEL).astype(np.int32)
    counts = (beyond - first).ravel()
    edge_ends = np.cumsum(counts)
    edges = np.repeat(np.arange(counts.size, dtype=np.int32), counts)
    lines = np.arange(edges.size, dtype=np.int32) + (first.ravel() - (edge_ends - counts).astype(np.int32))[edges]
    rise = y1 - y
    slope = np.where(rise == 0, 0, (x1 - x) / np.where(rise == 0, 1, rise))
    crossings = (x - y * slope).ravel()[edges] + lines * slope.ravel()[edges]
    np.clip(crossings, 0, _COLUMNS, out=crossings)
    columns = crossings.astype(np.int32)
    right_part = crossings - columns
    signed_ink = (np.where(rise > 0, -1, 1) * (ink[:, None] / _LINES_PER_PIXEL)).astype(np.float32).ravel()[edges]
    row_starts = np.repeat(cells.astype(np.int32) * (_ROWS * _STRIDE), outlines.shape[1])[edges]
    indices = row_starts + lines // _LINES_PER_PIXEL * _STRIDE + columns
    size = num_cells * _ROWS * _STRIDE
    right_ink = signed_ink * right_part
    sums = np.bincount(indices, signed_ink - right_ink, size)
    sums[1:] += np.bincount(indices, right_ink, size)[:-1]
    filled = np.cumsum(sums.reshape(num_cells, _ROWS, _STRIDE), axis=2, dtype=np.float32)
    return filled[:, :, :_COLUMNS]


def scan_cells(covered: npt.NDArray[np.float32], grain: npt.NDArray[np.float32], ink: Ink) -> npt.NDArray[np.uint8]:
    """Applies the paper's grain, the scanner's blur and 16 levels to what `fill_outlines` returns: (n, 127, 128) uint8.

    `grain`, of the shape of `covered`, is the fraction of the ink that each pixel of the paper takes.
    """
    images = np.clip(covered, 0, _CROSSING_INK)
    images *= grain
    tall = images.reshape(-1, _COLUMNS)
    size = 2 * MARGIN + 1
    blurred = cv2.GaussianBlur(tall, (size, size), ink.blur, borderType=cv2.BORDER_REPLICATE)
    levels = blurred.reshape(images.shape)[:, MARGIN:-MARGIN, MARGIN:-MARGIN] * np.float32(ink.level) + np.float32(0.5)
    return np.minimum(levels, MAX_INK).astype(np.uint8)


def rasterize(strokes: WrittenStrokes, num_cells: int, ink: Ink, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Rasterizes strokes, in any order, into scanned cells: (num_cells, 127, 128) uint8 ink levels, 0-15."""
    return rasterize_outlines(trace_strokes(strokes), num_cells, ink, rng)


def trace_strokes(strokes: WrittenStrokes) -> WrittenStrokes:
    """Returns the outlines of strokes."""
    points = trace_outlines(strokes.points, strokes.half_widths)
    return replace(strokes, points=points, half_widths=np.zeros(points.shape[:2]))


def rasterize_outlines(
    outlines: WrittenStrokes, num_cells: int, ink: Ink, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Rasterizes what closed outlines hold, as `rasterize` does; their points are (s, v, 2)."""
    outlines = outlines.take(np.argsort(outlines.cells, kind="stable"))
    white_noise = rng.standard_normal((_ROWS + _GRAIN_SHIFTS, _COLUMNS + _GRAIN_SHIFTS), dtype=np.float32)
    noise = cv2.GaussianBlur(white_noise, (0, 0), ink.grain_size)
    paper = 1 - np.float32(ink.grain) * np.clip(noise / noise.std() * 0.5 + 0.5, 0, 2)
    windows = np.lib.stride_tricks.sliding_window_view(paper, (_ROWS, _COLUMNS))
    shifts = rng.integers(0, _GRAIN_SHIFTS, (2, num_cells))
    images = np.empty((num_cells, CELL_HEIGHT, CELL_WIDTH), dtype=np.uint8)
    for start in range(0, num_cells, _CELLS_AT_A_TIME):
        end = min(start + _CELLS_AT_A_TIME, num_cells)
        part = outlines.take(np.arange(*np.searchsorted(outlines.cells, [start, end])))
        covered = fill_outlines(part.points, part.cells - start, part.ink, end - start)
        images[start:end] = scan_cells(covered, windows[tuple(shifts[:, start:end])], ink)
    return images
