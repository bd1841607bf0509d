"""Points on cubic Bézier curves."""

import numpy as np
import numpy.typing as npt

_PIECES_PER_CURVE = 8  # straight ones, that stand for a curve when lengths are measured
_TICKS = 2.0**20  # to a unit of length


def evaluate_curves(curves: npt.NDArray[np.float64], t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Computes points (c, k, 2) of curves (c, 4, 2), four control points each, at parameters (k,) or (c, k), 0-1."""
    t = t[..., None]
    start, first, second, end = np.moveaxis(curves[:, :, None], 1, 0)  # (c, 1, 2) each
    return (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * first + 3 * t**2 * (1 - t) * second + t**3 * end


def sample_evenly(strokes: list[npt.NDArray[np.float64]], points_per_stroke: int) -> npt.NDArray[np.float64]:
    """Computes points at equal distances along each stroke, both ends included: (len(strokes), points_per_stroke, 2).

    A stroke is (k, 4, 2) curves, joined end to start.
    """
    points = evaluate_curves(np.concatenate(strokes), np.linspace(0, 1, _PIECES_PER_CURVE + 1))  # (c, 9, 2)
    x, y = points.reshape(-1, 2).T
    steps = np.zeros(len(x))
    steps[1:] = np.hypot(np.diff(x), np.diff(y))
    curves_per_stroke = np.array([len(stroke) for stroke in strokes])
    lasts = np.cumsum(curves_per_stroke) * (_PIECES_PER_CURVE + 1) - 1
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    steps[firsts] = 1.0  # keeps the strokes apart on the common ruler
    # In whole ticks every sum is exact, so that a stroke's points do not depend on what else is on the ruler.
    ruler = np.cumsum(np.round(steps * _TICKS))
    lengths = ruler[lasts] - ruler[firsts]
    places = ruler[firsts, None] + np.round(np.linspace(0, lengths, points_per_stroke, axis=1))
    return np.stack([np.interp(places, ruler, x), np.interp(places, ruler, y)], axis=-1)
