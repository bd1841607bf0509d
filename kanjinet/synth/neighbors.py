"""Fragments of neighboring characters at the edges of cells, as in scans of real sheets."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.repertoire import IS_KANA
from kanjinet.synth.strokes import WrittenStrokes, concatenate_strokes
from kanjinet.synth.writers import clipped_normals

COLUMNS_PER_SHEET = 16
_KANA_FRAGMENT_FRACTION, _KANJI_FRAGMENT_FRACTION = 0.68, 0.004  # cells into which a neighbor's writing reaches
_LEFT, _RIGHT, _ABOVE, _BELOW = range(4)
_SIDE_PROBABILITIES = (0.42, 0.42, 0.08, 0.08)


def add_fragments(strokes: WrittenStrokes, numbers: npt.NDArray[np.int64], rng: np.random.Generator) -> WrittenStrokes:
    """Adds copies of strokes that reach from the neighbors on the sheet into some cells.

    Hiragana stand closer together than their cells are wide, so most of their cells have such a fragment.
    `strokes` are those of the whole sheet, cells ascending; `numbers` (n,) are those of the cells.
    """
    count = len(numbers)
    is_kana = IS_KANA[numbers]
    fraction = np.where(is_kana, _KANA_FRAGMENT_FRACTION, _KANJI_FRAGMENT_FRACTION)
    chosen = np.flatnonzero(rng.random(count) < fraction)
    sides = rng.choice(4, len(chosen), p=_SIDE_PROBABILITIES)
    depths = rng.gamma(2.0, np.where(is_kana[chosen], 3.5, 1.2)) + 2.5  # pixels into the cell
    both = is_kana[chosen] & (sides <= _RIGHT) & (rng.random(len(chosen)) < 0.35)
    cells = np.concatenate([chosen, chosen[both]])
    sides = np.concatenate([sides, _RIGHT - sides[both]])
    depths = np.concatenate([depths, rng.gamma(2.0, 3.5, int(both.sum())) + 2.5])
    drifts = clipped_normals(rng, 5.0, len(cells))  # along the edge
    firsts = np.searchsorted(strokes.cells, np.arange(count + 1))
    columns = min(COLUMNS_PER_SHEET, count)
    parts = [strokes]
    for cell, side, depth, drift in zip(cells, sides, depths, drifts, strict=True):
        neighbor = (cell + (-1, 1, -columns, columns)[side]) % count
        part = strokes.take(np.arange(firsts[neighbor], firsts[neighbor + 1]))
        part = _shift_to_edge(part, side, depth, drift)
        parts.append(replace(part, cells=np.full_like(part.cells, cell)))
    return concatenate_strokes(parts)


def _shift_to_edge(strokes: WrittenStrokes, side: int, depth: float, drift: float) -> WrittenStrokes:
    """Shifts a character so that it reaches `depth` pixels into a cell from a side, and keeps the strokes that do."""
    axis = 0 if side in (_LEFT, _RIGHT) else 1
    limit = (CELL_WIDTH, CELL_HEIGHT)[axis]
    shift = np.array([drift, drift])
    if side in (_LEFT, _ABOVE):
        shift[axis] = depth - (strokes.points + strokes.half_widths[..., None])[..., axis].max()
        moved = strokes.points + shift
        nearest = moved[..., axis].max(axis=1)
    else:
        shift[axis] = limit - depth - (strokes.points - strokes.half_widths[..., None])[..., axis].min()
        moved = strokes.points + shift
        nearest = limit - moved[..., axis].min(axis=1)
    return replace(strokes, points=moved).take(np.flatnonzero(nearest > -4))
