"""Strokes written without lifting the pen between them, and in another order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.synth.bezier import evaluate_curves
from kanjinet.synth.distortion import smooth
from kanjinet.synth.repertoire import NUMBER_OF, REPERTOIRE
from kanjinet.synth.strokes import ALONG, SheetStrokes
from kanjinet.synth.writers import Writer

_FLOWS_ON = np.full(len(REPERTOIRE), -1)  # number -> the stroke that many people join with the next
for _character, _stroke in zip("きぎさざりふぶぷ", (2, 2, 1, 1, 0, 0, 0, 0), strict=True):
    _FLOWS_ON[NUMBER_OF[_character]] = _stroke


@dataclass
class Joins:
    """Represents what a pen writes from one stroke to the next where it is not lifted, or not at once."""

    points: npt.NDArray[np.float64]  # (j, 32, 2) the center lines
    after: npt.NDArray[np.int64]  # (j,) the stroke after which each comes
    is_whole: npt.NDArray[np.bool_]  # (j,) whether it arrives at the next stroke


def swap_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Exchanges some neighboring strokes of kanji, which shows in the joins."""
    cells, is_kana = strokes.cells, strokes.is_kana
    order = np.arange(len(cells))
    swapped = np.flatnonzero((rng.random(len(cells) - 1) < writer.swap_rate) & (cells[1:] == cells[:-1]) & ~is_kana[1:])
    swapped = swapped[np.diff(swapped, prepend=-2) > 1]  # a stroke is exchanged once
    order[swapped], order[swapped + 1] = swapped + 1, swapped
    strokes.points, strokes.rows = strokes.points[order], strokes.rows[order]


def join_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> Joins:
    """Chooses strokes that are joined with the next, or end in a flick towards it, and computes the joins."""
    points, cells, is_kana = strokes.points, strokes.cells, strokes.is_kana
    gap = np.zeros((len(points), 2))
    gap[:-1] = points[1:, 0] - points[:-1, -1]
    distance = np.maximum(np.hypot(gap[:, 0], gap[:, 1]), 1e-6)
    has_next = np.zeros(len(points), dtype=bool)
    has_next[:-1] = cells[1:] == cells[:-1]
    number_in_cell = np.arange(len(cells)) - np.searchsorted(cells, cells)
    flows_on = number_in_cell == _FLOWS_ON[strokes.numbers[cells]]
    has_few_strokes = (strokes.counts[cells] <= 3) & ~is_kana  # 二 must not become 乙

    probability = writer.join_rate * np.exp(-distance / (18 + 36 * writer.haste))
    upwards = np.clip(-gap[:, 1] / distance, 0, 1)
    probability *= 1 - (0.8 - 0.35 * writer.haste) * upwards  # on the way up the pen is lifted, in a hurry less often
    probability *= np.where(has_few_strokes, 0.35, 1)
    probability[:-1] *= np.where(strokes.table.voicing[strokes.rows[1:]] > 0, 0.25, 1)  # marks are set apart
    probability[flows_on] = np.maximum(probability[flows_on], writer.kana_join_rate)
    is_joined = rng.random(len(points)) < probability
    is_flicked = is_kana & (rng.random(len(points)) < writer.flick_rate) & ~is_joined

    after = np.flatnonzero(has_next & (is_joined | is_flicked) & (distance > 3))
    is_whole = (rng.random(len(after)) < 0.25 + 0.6 * writer.haste) & is_joined[after] & ~has_few_strokes[after]
    is_whole |= flows_on[after]
    reach = np.where(is_whole, 1.0, rng.uniform(0.15, 0.45, len(after)))  # a tail that only points to the next stroke
    start = points[after, -1]
    end = start + gap[after]
    leave = _scale_to(start - points[after, -3], distance[after])
    arrive = _scale_to(points[after + 1, 2] - points[after + 1, 0], distance[after])
    swing = rng.uniform(0.05, 0.3, (len(after), 1)) * np.where(is_flicked[after], 0.3, 1)[:, None]
    curves = np.stack([start, start + swing * leave, end - swing * arrive, end], axis=1)  # (j, 4, 2)
    return Joins(evaluate_curves(curves, reach[:, None] * ALONG), after, is_whole)


def round_joins(strokes: SheetStrokes, joins: Joins, writer: Writer, rng: np.random.Generator) -> None:
    """Rounds the corners where a stroke runs into the next without a stop, the more the greater the haste."""
    points, join_points = strokes.points.copy(), joins.points.copy()
    strength = writer.haste * rng.uniform(0.2, 1, len(join_points))
    for parity in (0, 1):  # so that no stroke is in two joins at a time
        chosen = np.flatnonzero(joins.is_whole & (joins.after % 2 == parity))
        before = joins.after[chosen]
        line = np.concatenate([points[before], join_points[chosen], points[before + 1]], axis=1)  # (c, 96, 2)
        line += strength[chosen, None, None] * (smooth(line, rounds=40) - line)
        points[before], join_points[chosen], points[before + 1] = np.split(line, 3, axis=1)
    strokes.points, joins.points = points, join_points


def _scale_to(vectors: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scales vectors (j, 2) to lengths (j,)."""
    return vectors * (lengths / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-6))[:, None]
