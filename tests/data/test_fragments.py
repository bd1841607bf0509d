"""A cell loses what its neighbors left in it, and nothing of its own character."""

import numpy as np

from kanjinet.contract import NORMALIZE
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
