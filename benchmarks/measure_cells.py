"""How near sample cells are to real ones: percentiles of ink, size, place and stroke width for any ETL9G folder.

Reads:  ETL9G/ (real or sample files)
Writes: a table, hiragana and kanji apart
Run:    python benchmarks/measure_cells.py --etl-dir ETL9G

Whoever holds the real ETL9G can run it on both and compare.
"""

import common  # noqa: F401  (puts the toolkit on the path)
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.data import etl_records
from kanjinet.data.dataset import concatenate_labels, decode_labels
from kanjinet.data.etl_files import find_etl_files
from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.errors import KanjinetError

PERCENTILES = (5, 25, 50, 75, 95)
STROKE_FRACTION = 0.25  # of its cell's peak ink: a pixel with less is not part of a stroke
MIN_PART_PIXELS = 3  # smaller specks are no writing

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
FORMATS_OF_MEANS = {"has_fragment": ".1%", "paper_ink": ".3f"}  # of the others, percentiles are shown

Statistics = dict[str, npt.NDArray[np.float64]]  # (cells,) each


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/measure_cells.py --etl-dir ETL9G --cells 2000")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--cells", type=positive_int, default=2000, help="cells of each kind, drawn at random")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files = find_etl_files(args.etl_dir)
    if files[0].database != "ETL9G":
        raise KanjinetError(f"{args.etl_dir}: files of {files[0].database}", "name the folder of ETL9G's files")
    opened = [etl_records.open_records(file, allow_partial=True) for file in files]
    labels = concatenate_labels([decode_labels(file, records)[0] for file, records in zip(files, opened, strict=True)])
    starts = np.cumsum([0, *(len(records) for records in opened)])
    rng = np.random.default_rng(0)
    groups = {}
    for name, belongs in (("kanji", labels.classes >= NUM_HIRAGANA), ("hiragana", labels.classes < NUM_HIRAGANA)):
        found = np.flatnonzero(belongs)
        rows = np.sort(rng.choice(found, min(args.cells, len(found)), replace=False))
        packed = [
            records["pixels"][rows[(rows >= start) & (rows < start + len(records))] - start]
            for start, records in zip(starts, opened, strict=False)
        ]
        groups[f"{len(rows):,} {name}"] = measure_cells(etl_records.unpack_pixels(np.concatenate(packed)))
    is_sample = any(etl_records.is_synthetic(file, records[:1]) for file, records in zip(files, opened, strict=True))
    note = f" ({etl_records.SAMPLE_NOTE})" if is_sample else ""
    print(f"{args.etl_dir}: {len(labels):,} cells in {len(files)} files{note}")
    print(format_table(groups))


def measure_cells(images: npt.NDArray[np.uint8]) -> Statistics:
    """Measures cells (n, 127, 128) of ink levels 0-15."""
    rows = np.array([measure_cell(image) for image in images], dtype=np.float64).reshape(len(images), len(STATISTICS))
    return dict(zip(STATISTICS, rows.T, strict=True))


def measure_cell(image: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    unknown = float("nan")
    peak = int(image.max())
    if peak == 0:
        return (0.0, *[unknown] * 6, 0.0, 0.0)
    strokes = (image >= max(1.0, STROKE_FRACTION * peak)).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    x, y, width, height, area = stats.T
    at_edge = (x == 0) | (y == 0) | (x + width == CELL_WIDTH) | (y + height == CELL_HEIGHT)
    # A part at the edge is the character's own if it reaches the middle of the cell.
    reaches_middle = (x < 0.6 * CELL_WIDTH) & (x + width > 0.4 * CELL_WIDTH)
    reaches_middle &= (y < 0.65 * CELL_HEIGHT) & (y + height > 0.35 * CELL_HEIGHT)
    writing = area >= MIN_PART_PIXELS
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
        measure_stroke_width(mask),
        float(fragment.any()),
        paper_ink,
    )


def measure_stroke_width(mask: npt.NDArray[np.bool_]) -> float:
    """Computes twice the area by the length of the boundary, which is exact for a long straight stroke."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    # A contour runs through the middles of the outermost pixels, half a pixel inside the true boundary.
    boundary = sum(cv2.arcLength(contour, True) for contour in contours)
    return 2 * float(mask.sum()) / max(boundary, 1.0)


def format_table(groups: dict[str, Statistics]) -> str:
    """Formats a table with the percentiles 5 / 25 / 50 / 75 / 95 of each group of cells."""
    rows = [("percentiles " + " / ".join(map(str, PERCENTILES)), list(groups))]
    for name, title in STATISTICS.items():
        rows.append((title, [format_values(group[name], FORMATS_OF_MEANS.get(name)) for group in groups.values()]))
    return "\n".join(f"{title:34s}" + "".join(f"{cell:>34s}" for cell in cells) for title, cells in rows)


def format_values(values: npt.NDArray[np.float64], format_of_mean: str | None) -> str:
    if format_of_mean:
        return format(np.mean(values) if len(values) else np.nan, format_of_mean)
    values = values[~np.isnan(values)]
    found = np.percentile(values, PERCENTILES) if len(values) else [np.nan] * len(PERCENTILES)
    return " / ".join(f"{value:.{1 if values.max(initial=0) > 2 else 2}f}" for value in found)


if __name__ == "__main__":
    run_script(main)
