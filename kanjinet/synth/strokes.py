"""The strokes of a sheet, before and after they are distorted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kanjinet.synth.glyph_table import POINTS_PER_STROKE, GlyphTable
from kanjinet.synth.repertoire import IS_KANA

_PIECE_POINTS = 32  # outlines with more are cut
ALONG = np.linspace(0, 1, POINTS_PER_STROKE)  # where each point lies along its stroke


@dataclass
class SheetStrokes:
    """Represents the strokes of a sheet while one step after the other distorts them."""

    table: GlyphTable  # where they come from
    numbers: npt.NDArray[np.int64]  # (n,) of the repertoire, of each cell
    counts: npt.NDArray[np.int64]  # (n,) strokes in each cell
    rows: npt.NDArray[np.int64]  # (s,) row of each stroke in the table
    points: npt.NDArray[np.float64]  # (s, 32, 2) in KanjiVG's units from the middle of the character
    cells: npt.NDArray[np.int64]  # (s,) cell of each stroke, ascending
    is_kana: npt.NDArray[np.bool_]  # (s,) whether the stroke belongs to a kana or the like

    @classmethod
    def of_forms(
        cls, table: GlyphTable, numbers: npt.NDArray[np.int64], forms: npt.NDArray[np.int64]
    ) -> "SheetStrokes":
        """Takes the strokes of one form (n,) of each number (n,) from the table."""
        firsts = table.stroke_of_form[forms]
        counts = table.stroke_of_form[forms + 1] - firsts
        cells = np.repeat(np.arange(len(numbers)), counts)
        rows = np.arange(len(cells)) + np.repeat(firsts - (np.cumsum(counts) - counts), counts)
        return cls(table, numbers, counts, rows, table.points[rows], cells, IS_KANA[numbers][cells])

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.numbers)


@dataclass(frozen=True)
class WrittenStrokes:
    """Represents strokes to be rasterized, in pixels of their cells: center lines with widths, or closed outlines."""

    points: npt.NDArray[np.float64]  # (s, 32, 2) the center lines; of outlines, as many as the longest piece has
    half_widths: npt.NDArray[np.float64]  # (s, 32); of outlines 0
    ink: npt.NDArray[np.float64]  # (s,) about 1
    cells: npt.NDArray[np.int64]  # (s,) the cell of each

    def take(self, rows: npt.NDArray[np.int64]) -> "WrittenStrokes":
        """Returns the strokes of the given numbers."""
        return WrittenStrokes(self.points[rows], self.half_widths[rows], self.ink[rows], self.cells[rows])


def concatenate_strokes(parts: Sequence[WrittenStrokes]) -> WrittenStrokes:
    """Joins several groups of strokes into one."""
    return WrittenStrokes(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def make_outlines(
    outlines: Sequence[npt.NDArray[np.float64]], ink: npt.NDArray[np.float64], cells: npt.NDArray[np.int64]
) -> WrittenStrokes:
    """Makes written strokes of closed outlines, (k, 2) each; of a long one several, which together hold what it holds.

    All have as many points as the longest, so a long one would make the others slow.
    """
    step = max(_PIECE_POINTS, math.isqrt(max(map(len, outlines), default=0)) + 1)
    pieces, owners = [], []
    for owner, outline in enumerate(outlines):
        parts = [outline]
        if len(outline) > step + 1:  # pieces closed by their chords, and what the chords hold
            closed = np.concatenate([outline, outline[:1]])
            parts = [outline[::step], *(closed[start : start + step + 1] for start in range(0, len(outline), step))]
        pieces += parts
        owners += [owner] * len(parts)
    counts = np.array([len(piece) for piece in pieces], dtype=np.int64)
    numbers = np.minimum(np.arange(counts.max(initial=1)), counts[:, None] - 1) + (np.cumsum(counts) - counts)[:, None]
    points = np.concatenate([np.zeros((0, 2)), *pieces])[numbers]
    chosen = np.array(owners, dtype=np.int64)
    return WrittenStrokes(points, np.zeros(points.shape[:2]), ink[chosen], cells[chosen])


def concatenate_outlines(parts: Sequence[WrittenStrokes]) -> WrittenStrokes:
    """Joins several groups of closed outlines into one, by cell."""
    longest = max(part.points.shape[1] for part in parts)
    padded = [replace(part, points=_repeat_last(part.points, longest)) for part in parts]
    together = concatenate_strokes([replace(part, half_widths=np.zeros(part.points.shape[:2])) for part in padded])
    return together.take(np.argsort(together.cells, kind="stable"))


def _repeat_last(points: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Repeats the last of the points of outlines (s, k, 2) until there are `count`."""
    return points[:, np.minimum(np.arange(count), points.shape[1] - 1)]
