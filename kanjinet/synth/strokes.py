"""The strokes of a sheet, before and after they are distorted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.synth.glyph_table import POINTS_PER_STROKE, GlyphTable

ALONG = np.linspace(0, 1, POINTS_PER_STROKE)  # where each point lies along its stroke


@dataclass
class SheetStrokes:
    """Represents the strokes of a sheet while one step after the other distorts them."""

    table: GlyphTable  # where they come from
    classes: npt.NDArray[np.int64]  # (n,) class index of each cell
    counts: npt.NDArray[np.int64]  # (n,) strokes in each cell
    rows: npt.NDArray[np.int64]  # (s,) row of each stroke in the table
    points: npt.NDArray[np.float64]  # (s, 32, 2) in KanjiVG's units from the middle of the character
    cells: npt.NDArray[np.int64]  # (s,) cell of each stroke, ascending
    is_kana: npt.NDArray[np.bool_]  # (s,) whether the stroke belongs to a hiragana

    @classmethod
    def of_forms(
        cls, table: GlyphTable, classes: npt.NDArray[np.int64], forms: npt.NDArray[np.int64]
    ) -> "SheetStrokes":
        """Takes the strokes of one form (n,) of each class (n,) from the table."""
        firsts = table.stroke_of_form[forms]
        counts = table.stroke_of_form[forms + 1] - firsts
        cells = np.repeat(np.arange(len(classes)), counts)
        rows = np.arange(len(cells)) + np.repeat(firsts - (np.cumsum(counts) - counts), counts)
        return cls(table, classes, counts, rows, table.points[rows], cells, (classes < NUM_HIRAGANA)[cells])

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.classes)


@dataclass(frozen=True)
class WrittenStrokes:
    """Represents strokes to be rasterized, in pixels of their cells."""

    points: npt.NDArray[np.float64]  # (s, 32, 2) the center lines
    half_widths: npt.NDArray[np.float64]  # (s, 32)
    ink: npt.NDArray[np.float64]  # (s,) about 1
    cells: npt.NDArray[np.int64]  # (s,) the cell of each

    def take(self, rows: npt.NDArray[np.int64]) -> "WrittenStrokes":
        """Returns the strokes of the given numbers."""
        return WrittenStrokes(self.points[rows], self.half_widths[rows], self.ink[rows], self.cells[rows])


def concatenate_strokes(parts: Sequence[WrittenStrokes]) -> WrittenStrokes:
    """Joins several groups of strokes into one."""
    return WrittenStrokes(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))
