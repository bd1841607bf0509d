"""Fragments of neighboring cells, erased from the cells of scanned sheets: why a cell loses a piece of ink.

1. First goes what blank paper divides from the character: ink that reaches an edge, up to the first GAP_PIXELS blank
   lines within MAX_DIVIDED_DEPTH. It must hold less than MAX_SIDE_FRACTION of the cell's ink at the left and right,
   where neighbors are nearer, and less than MAX_FRACTION at the top and bottom.
2. If ink still reaches an edge, each connected piece goes that reaches an edge, stays within MAX_PIECE_DEPTH of it, and
   holds less than MAX_FRACTION of the ink.
"""

import cv2
import numpy as np
import numpy.typing as npt

EDGE_PIXELS = 2  # ink this near to a cell's edge reaches it
GAP_PIXELS = 3  # lines of blank paper that divide a fragment from the character
MAX_DIVIDED_DEPTH = 0.34  # of the cell's side, from the edge, where blank paper divides
MAX_PIECE_DEPTH = 0.22  # of the cell's side, from the edge, where nothing divides
MAX_FRACTION = 0.35  # of the cell's ink
MAX_SIDE_FRACTION = 0.5  # of the cell's ink, at the left and right where blank paper divides
BLANK_DIVISOR = 4  # a line is blank without a pixel of at least the darkest one's ink / 4: specks do not count


def reaches_edge(line_peaks: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tells of each image (n,) whether ink is in its first or last lines, by the largest value of each, (n, lines)."""
    return (line_peaks[:, :EDGE_PIXELS].max(axis=1) | line_peaks[:, -EDGE_PIXELS:].max(axis=1)) > 0


def erase_fragments(cell: npt.NDArray[np.uint8]) -> None:
    """Erases the fragments of neighbors from a cell (height, width), in place."""
    for lines, max_fraction in (
        (cell.T, MAX_SIDE_FRACTION),  # from the left
        (cell.T[::-1], MAX_SIDE_FRACTION),
        (cell, MAX_FRACTION),  # from the top
        (cell[::-1], MAX_FRACTION),
    ):
        end = _find_divided_end(lines)
        if end and lines[:end].sum() < max_fraction * cell.sum():
            lines[:end] = 0
    if reaches_edge(cell.max(axis=1)[None]) or reaches_edge(cell.max(axis=0)[None]):
        _erase_pieces(cell)


def _find_divided_end(lines: npt.NDArray[np.uint8]) -> int:
    """Returns how many lines from an edge on hold a fragment that blank lines divide from the rest; 0 if none.

    The first blank lines within MAX_DIVIDED_DEPTH end it. Where the fragment itself is divided, later ones within
    MAX_PIECE_DEPTH do, as long as most of its ink stands at the edge.
    """
    has_ink = lines.max(axis=1) * np.int64(BLANK_DIVISOR) >= int(lines.max())
    if not has_ink[:EDGE_PIXELS].any():
        return 0
    is_gap = ~np.any(np.lib.stride_tricks.sliding_window_view(has_ink, GAP_PIXELS), axis=1)
    gap_starts = np.flatnonzero(is_gap[: round(MAX_DIVIDED_DEPTH * len(lines))])
    if not len(gap_starts):
        return 0
    first = int(gap_starts[0])
    later = gap_starts[gap_starts <= MAX_PIECE_DEPTH * len(lines)]
    if len(later) and lines[first : later[-1]].sum() < lines[:first].sum():
        return int(later[-1])
    return first


def _erase_pieces(cell: npt.NDArray[np.uint8]) -> None:
    """Erases small connected pieces that touch an edge and stay near it."""
    height, width = cell.shape
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats((cell > 0).astype(np.uint8), connectivity=8)
    fractions = np.bincount(pieces.ravel(), weights=cell.ravel(), minlength=count) / cell.sum()
    depth_x, depth_y = MAX_PIECE_DEPTH * width, MAX_PIECE_DEPTH * height
    for piece in range(1, count):  # 0 is the paper
        left, top, box_width, box_height = boxes[piece, :4].tolist()
        right, bottom = left + box_width, top + box_height
        is_near_an_edge = (
            (left < EDGE_PIXELS and right <= depth_x)
            or (top < EDGE_PIXELS and bottom <= depth_y)
            or (right > width - EDGE_PIXELS and left >= width - depth_x)
            or (bottom > height - EDGE_PIXELS and top >= height - depth_y)
        )
        if is_near_an_edge and fractions[piece] < MAX_FRACTION:
            cell[pieces == piece] = 0
