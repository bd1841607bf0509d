"""Fragments of neighboring cells, erased from the cells of scanned sheets: why a cell loses a piece of ink.

1. First goes what blank paper divides from the character: ink that reaches an edge, up to the first GAP_PIXELS blank
   lines within MAX_DIVIDED_DEPTH. It must hold less than MAX_SIDE_FRACTION of the cell's ink at the left and right,
   where neighbors are nearer, and less than MAX_FRACTION at the top and bottom.
2. If ink still reaches an edge, each connected piece goes that reaches an edge, stays within MAX_PIECE_DEPTH of it, and
   holds less than MAX_FRACTION of the ink.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

EDGE_PIXELS = 2  # ink this near to a cell's edge reaches it
GAP_PIXELS = 3  # lines of blank paper that divide a fragment from the character
MAX_DIVIDED_DEPTH = 0.34  # of the cell's side, from the edge, where blank paper divides
MAX_PIECE_DEPTH = 0.22  # of the cell's side, from the edge, where nothing divides
MAX_FRACTION = 0.35  # of the cell's ink
MAX_SIDE_FRACTION = 0.5  # of the cell's ink, at the left and right where blank paper divides
MIN_TOGETHER = 12  # fewer cells are faster one by one
MAX_STEPS = 24  # pixels that a piece is followed at a time with those of all cells
BLANK_DIVISOR = 4  # a line is blank without a pixel of at least the darkest one's ink / 4: specks do not count
_WORD_PIXELS = 32  # of a word, a bit a pixel, the first one lowest

Words = npt.NDArray[np.uint32]


def erase_fragments(cells: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
    """Erases the fragments of neighbors from cells (n, height, width).

    Returns:
        The indices (k,) of the cells with ink at an edge, and those cells (k, height, width) without fragments.
    """
    edges = (cells[:, :EDGE_PIXELS], cells[:, -EDGE_PIXELS:], cells[:, :, :EDGE_PIXELS], cells[:, :, -EDGE_PIXELS:])
    edge_peaks = np.max([edge.max(axis=(1, 2)) for edge in edges], axis=0)
    reaching = np.flatnonzero(edge_peaks)
    chosen = cells[reaching]
    divided = edge_peaks[reaching] * np.int64(BLANK_DIVISOR) >= chosen.max(axis=(1, 2))
    if divided.any():
        parts = chosen[divided]
        _erase_divided(parts.transpose(0, 2, 1), parts.max(axis=1), MAX_SIDE_FRACTION)
        _erase_divided(parts, parts.max(axis=2), MAX_FRACTION)
        chosen[divided] = parts
    if len(chosen) >= MIN_TOGETHER:
        _erase_pieces(chosen)
    else:
        for cell in chosen:
            _erase_pieces_of_cell(cell)
    return reaching, chosen


def _erase_divided(lines: npt.NDArray[np.uint8], peaks: npt.NDArray[np.uint8], max_fraction: float) -> None:
    """Erases what blank paper divides from characters, in lines (n, lines, pixels): from the first, then the last.

    `peaks` (n, lines) are the largest values of the lines.
    """
    for step in (1, -1):
        ends = _find_divided_ends(lines[:, ::step], peaks[:, ::step], max_fraction)
        for index in np.flatnonzero(ends).tolist():
            for values in (lines, peaks):
                values[index, ::step][: ends[index]] = 0


def _find_divided_ends(
    lines: npt.NDArray[np.uint8], peaks: npt.NDArray[np.uint8], max_fraction: float
) -> npt.NDArray[np.int64]:
    """Finds how many lines from an edge on hold a fragment that blank lines divide from the rest; 0 if none.

    The first blank lines within MAX_DIVIDED_DEPTH end it. Where the fragment itself is divided, later ones within
    MAX_PIECE_DEPTH do, as long as most of its ink stands at the edge.

    Args:
        lines: (n, lines, pixels) cells, from an edge on.
        peaks: (n, lines) the largest value of each line.
        max_fraction: of the cell's ink that a fragment may hold.
    """
    num_lines = peaks.shape[1]
    has_ink = peaks * np.int64(BLANK_DIVISOR) >= peaks.max(axis=1, keepdims=True)
    num_starts = round(MAX_DIVIDED_DEPTH * num_lines)  # of gaps
    is_gap = ~np.logical_or.reduce([has_ink[:, line : num_starts + line] for line in range(GAP_PIXELS)])
    found = np.flatnonzero(has_ink[:, :EDGE_PIXELS].any(axis=1) & is_gap.any(axis=1))
    is_gap, rows = is_gap[found], np.arange(len(found))
    is_later = is_gap[:, : int(MAX_PIECE_DEPTH * num_lines) + 1]
    first, last = is_gap.argmax(axis=1), is_later.shape[1] - 1 - is_later[:, ::-1].argmax(axis=1)
    before = np.zeros((len(found), num_lines + 1), dtype=np.int64)
    np.cumsum(lines[found].sum(axis=2, dtype=np.int64), axis=1, out=before[:, 1:])
    is_last = is_later.any(axis=1) & (before[rows, last] - before[rows, first] < before[rows, first])
    chosen = np.where(is_last, last, first)
    ends = np.zeros(len(lines), dtype=np.int64)
    ends[found] = np.where(before[rows, chosen] < max_fraction * before[:, -1], chosen, 0)
    return ends


def _erase_pieces(cells: npt.NDArray[np.uint8]) -> None:
    """Erases small connected pieces that touch an edge and stay near it.

    Specks of dirt make a dozen pieces of a cell. All cells' are found together, 32 pixels of ink or paper to a word:
    from each edge on, what is connected to it. Cells where that goes too deep or is much are looked at one by one.
    """
    height = cells.shape[1]
    is_ink = np.packbits(cells.ravel(), bitorder="little").view("<u4").reshape(len(cells), height, -1)
    pieces = np.zeros_like(is_ink)
    is_deep = np.zeros(len(cells), dtype=np.bool_)
    for rows, words, inside, edge, end in _list_sides(*cells.shape[1:]):
        near = is_ink[:, rows, words] & inside
        connected, is_unfinished = _follow(near, near & edge)
        is_deep |= is_unfinished | (connected & end).any(axis=(1, 2))
        pieces[:, rows, words] |= connected
    is_kept = np.unpackbits(~pieces.view(np.uint8).ravel(), bitorder="little").reshape(cells.shape)
    total, num_kept = (_sum_cells(each) for each in (cells, is_kept))
    most_erased = (is_kept[0].size - num_kept) * 255.0  # no less than the ink of all pieces, so of each
    is_deep |= most_erased >= MAX_FRACTION * total
    is_kept[is_deep] = 1
    cells *= is_kept
    for index in np.flatnonzero(is_deep).tolist():
        _erase_pieces_of_cell(cells[index])


def _sum_cells(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Sums the pixels of each cell (n, height, width): five times as fast as NumPy, which widens bytes first."""
    sums = cv2.reduce(cells.reshape(len(cells), -1), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    return np.asarray(sums, dtype=np.float64)[:, 0]


def _list_sides(height: int, width: int) -> Iterator[tuple[slice, slice, Words, Words, Words]]:
    """Lists for the left, right, top and bottom where in (rows, words) pieces may lie, and bits to choose pixels by.

    Those within the depth of a piece and one line more; those that reach the edge; and those of the line more.
    """
    depth = int(MAX_PIECE_DEPTH * width)
    lines = np.array([1 << line for line in range(depth + 1)], dtype=np.uint32)
    for words, bits in ((slice(0, 1), lines), (slice(-1, None), np.uint32(1 << _WORD_PIXELS - 1) // lines)):
        inside, edge = (np.bitwise_or.reduce(chosen) for chosen in (bits, bits[:EDGE_PIXELS]))
        yield slice(None), words, inside, edge, bits[-1]
    depth = int(MAX_PIECE_DEPTH * height)
    inside = np.full((depth + 1, 1), (1 << _WORD_PIXELS) - 1, dtype=np.uint32)
    edge, end = inside.copy(), inside.copy()
    edge[EDGE_PIXELS:] = end[:-1] = 0
    yield slice(0, depth + 1), slice(None), inside, edge, end
    yield slice(-depth - 1, None), slice(None), inside, edge[::-1], end[::-1]


def _follow(inside: Words, connected: Words) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Follows ink from some of it to all that is connected to it, diagonally too.

    Args:
        inside: (n, rows, words) the ink, a bit a pixel.
        connected: the same, where to begin.

    Returns:
        What is connected, as far as MAX_STEPS go; and of each image, (n,), whether there would be more.
    """
    reached, active = connected, np.arange(len(inside))
    connected = connected.copy()
    for _ in range(MAX_STEPS):
        wider = reached | reached << np.uint32(1) | reached >> np.uint32(1)
        wider[:, :, 1:] |= reached[:, :, :-1] >> np.uint32(_WORD_PIXELS - 1)
        wider[:, :, :-1] |= reached[:, :, 1:] << np.uint32(_WORD_PIXELS - 1)
        grown = wider.copy()
        grown[:, 1:] |= wider[:, :-1]
        grown[:, :-1] |= wider[:, 1:]
        grown &= inside
        connected[active] = grown
        is_growing = (grown != reached).any(axis=(1, 2))
        active, reached, inside = active[is_growing], grown[is_growing], inside[is_growing]
        if not len(active):
            break
    is_unfinished = np.zeros(len(connected), dtype=np.bool_)
    is_unfinished[active] = True
    return connected, is_unfinished


def _erase_pieces_of_cell(cell: npt.NDArray[np.uint8]) -> None:
    """Erases small connected pieces that touch an edge and stay near it from one cell."""
    height, width = cell.shape
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats((cell > 0).astype(np.uint8), connectivity=8)
    left, top, right, bottom = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    depth_x, depth_y = MAX_PIECE_DEPTH * width, MAX_PIECE_DEPTH * height
    is_erased = (
        ((left < EDGE_PIXELS) & (right <= depth_x))
        | ((top < EDGE_PIXELS) & (bottom <= depth_y))
        | ((right > width - EDGE_PIXELS) & (left >= width - depth_x))
        | ((bottom > height - EDGE_PIXELS) & (top >= height - depth_y))
    )
    is_erased &= np.bincount(pieces.ravel(), weights=cell.ravel(), minlength=count) / cell.sum() < MAX_FRACTION
    is_erased[0] = False  # the paper
    if is_erased.any():
        cell[is_erased[pieces]] = 0
