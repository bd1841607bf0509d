"""A cell loses what its neighbors left in it, and nothing of its own character."""

import cv2
import numpy as np
import pytest

from kanjinet.contract import NORMALIZE
from kanjinet.data.fragments import erase_fragments
from kanjinet.data.preprocessing import preprocess


def test_fragments_of_neighbors_are_dropped_from_cells_only() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    image[50:90, 50:80] = 100
    with_fragment = image.copy()
    with_fragment[0:14, 100:118] = 120
    alone, cell = preprocess(np.stack([image, with_fragment]), 64, NORMALIZE, cells=True)
    np.testing.assert_array_equal(alone, cell)
    assert not np.array_equal(preprocess(with_fragment[None], 64, NORMALIZE, cells=False)[0], alone)


def test_fragments_that_fall_into_pieces_or_reach_deep_are_dropped_where_paper_parts_them() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    image[40:90, 55:90] = 100
    in_pieces, deep, crossing = image.copy(), image.copy(), image.copy()
    in_pieces[30:100, 0:5] = in_pieces[50:60, 12:20] = 100  # the second piece does not touch the edge
    deep[50:75, 0:40] = 100
    crossing[50:75, 0:53] = 100  # too near to the character to be told from it
    results = preprocess(np.stack([image, in_pieces, deep, crossing]), 64, NORMALIZE, cells=True)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
    assert not np.array_equal(results[3], results[0])


def test_a_speck_at_the_edge_does_not_make_a_stroke_a_fragment() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    for left in (16, 60, 95):  # like 川
        image[20:105, left : left + 6] = 119
    with_speck = image.copy()
    with_speck[60, 1] = 17
    with_speck[60, 127] = 17
    first, second = preprocess(np.stack([image, with_speck]), 64, NORMALIZE, cells=True)
    np.testing.assert_array_equal(first, second)


def test_strokes_at_the_edge_with_much_of_the_ink_are_kept() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    image[60:66, 0:120] = 100  # like 二, written so high and wide that both strokes touch an edge
    image[0:6, 20:110] = 100
    rows, _ = np.nonzero(preprocess(image[None], 64, NORMALIZE, cells=True)[0])
    assert rows.max() - rows.min() > 20


def erase_one_by_one(cell: np.ndarray) -> None:
    """Rules 1 and 2 of kanjinet/data/fragments.py, as they read: a cell, a side, a line and a piece at a time."""
    for lines, fraction in ((cell.T, 0.5), (cell.T[::-1], 0.5), (cell, 0.35), (cell[::-1], 0.35)):
        inked = [4 * int(line.max()) >= int(lines.max()) for line in lines]
        gaps = [start for start in range(round(0.34 * len(lines))) if not any(inked[start : start + 3])]
        if not (inked[0] or inked[1]) or not gaps:
            continue
        end = gaps[0]
        later = [start for start in gaps if start <= 0.22 * len(lines)]
        if later and lines[end : later[-1]].sum() < lines[:end].sum():
            end = later[-1]
        if lines[:end].sum() < fraction * cell.sum():
            lines[:end] = 0
    total = cell.sum()
    height, width = cell.shape
    count, pieces = cv2.connectedComponents((cell > 0).astype(np.uint8), connectivity=8)
    for piece in range(1, count):
        rows, columns = np.nonzero(pieces == piece)
        near = (
            (columns.min() < 2 and columns.max() + 1 <= 0.22 * width)
            or (columns.max() + 1 > width - 2 and columns.min() >= width - 0.22 * width)
            or (rows.min() < 2 and rows.max() + 1 <= 0.22 * height)
            or (rows.max() + 1 > height - 2 and rows.min() >= height - 0.22 * height)
        )
        if near and cell[rows, columns].sum() / total < 0.35:
            cell[rows, columns] = 0


@pytest.mark.parametrize("height", [127, 126])
def test_many_cells_together_give_what_each_gives_alone(height: int) -> None:
    """Strokes, fragments, specks of all sizes and inks, lines along the edges, and pieces of more than the fraction."""
    rng = np.random.default_rng(height)
    cells = np.zeros((60, height, 128), dtype=np.uint8)
    for index, cell in enumerate(cells):
        for _ in range(rng.integers(0, 8)):
            top, left = rng.integers(0, height), rng.integers(0, 128)
            cell[top : top + rng.integers(1, 50), left : left + rng.integers(1, 50)] = rng.integers(3, 16) * 17
        for _ in range((0, 40, 200)[index % 3]):
            top, left = rng.integers(0, height), rng.integers(0, 128)
            cell[top : top + rng.integers(1, 4), left : left + rng.integers(1, 4)] = rng.integers(1, 4) * 17
        if index % 5 == 0:
            side = (cell, cell[::-1], cell.T, cell.T[::-1])[index // 5 % 4]
            side[rng.integers(0, 2), rng.integers(0, 60) :] = rng.integers(1, 16) * 17
    expected = cells.copy()
    for cell in expected:
        erase_one_by_one(cell)
    assert (expected != cells).any(axis=(1, 2)).sum() > 40
    for block in (cells, cells[:5]):  # few are done one by one
        before = block.copy()
        reaching, erased = erase_fragments(block)
        np.testing.assert_array_equal(block, before)
        result = block.copy()
        result[reaching] = erased
        np.testing.assert_array_equal(result, expected[: len(block)])
