"""Distortion of strokes, components and characters.

The amounts are bounded, so that a character never becomes another: 土 stays 土 and does not turn into 士.
"""

import numpy as np
import numpy.typing as npt

from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.glyph_table import FREE_END, NO_COMPONENT, POINTS_PER_STROKE
from kanjinet.synth.kanjivg import VIEW_BOX
from kanjinet.synth.repertoire import IS_KANA
from kanjinet.synth.strokes import ALONG, SheetStrokes
from kanjinet.synth.writers import KANA_WIDTH, Writer, clipped_normals

_LAST_POINT = POINTS_PER_STROKE - 1
_CORNER_POINTS = 5  # of 32: strokes that meet nearer than this to an end make a corner, which stays one
_RING = 2  # of GlyphTable.voicing
# In widths of the pen, so that a ring and two dots look different: the ring's diameter, which a wide pen fills but
# leaves round; how long a dot is, each way; how far apart the middles of two dots are.
_MIN_RING, _MIN_DOT, _MIN_DOT_GAP = 1.7, 0.9, 1.6
_MIN_LOOP = 1.5  # the same of the small loop of ね: without it, it is れ
_MAX_RING_GAP = 0.25  # of the ring
_MAX_DOT_TURN = 0.5  # radians
_MAX_INSET = 5.0  # units that marks stand within the character
_HALF_BOX = VIEW_BOX / 2
_WAVE_NUMBERS = np.array([1.0, 2.0, 3.0, 4.0])  # half waves along a stroke
_WAVES = np.cos(np.pi * _WAVE_NUMBERS[:, None] * ALONG)  # (4, 32)
_POLYGONS = np.stack(  # (4, 32, 32): a stroke's points -> those on the straight pieces between a few of them
    [
        np.stack([np.interp(ALONG, np.linspace(0, 1, pieces + 1), corner) for corner in np.eye(pieces + 1)], axis=1)
        @ np.eye(POINTS_PER_STROKE)[np.round(np.linspace(0, _LAST_POINT, pieces + 1)).astype(int)]
        for pieces in (3, 4, 5, 7)
    ]
)


def distort_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Distorts strokes in place, from their ends to the components that they belong to."""
    for step in (
        _change_lengths,
        _change_loops,
        _place_voicing_marks,
        _reshape_strokes,
        _round_corners,
        _straighten_curves,
        _bend_strokes,
        _move_strokes,
        _move_components,
        _close_touches,
    ):
        step(strokes, writer, rng)


def place_characters(
    points: npt.NDArray[np.float64],
    cells: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Bends, slants and scales whole characters, and puts them into their cells.

    Args:
        points: (s, 32, 2) in KanjiVG's units.
        cells: (s,) the cell of each stroke.
        numbers: (n,) of the repertoire, of each cell.

    Returns:
        (s, 32, 2) in pixels of the cells.
    """
    count = len(numbers)
    is_kana = IS_KANA[numbers]
    x, y = points[..., 0] / _HALF_BOX, points[..., 1] / _HALF_BOX  # (s, 32), -1 ... 1
    field = writer.warp + clipped_normals(rng, 0.015 + 0.04 * writer.haste, (count, 2, 6))
    terms = [x * x, y * y, x * y, x * x * y, x * y * y, x * x * x]
    bent_x, bent_y = x.copy(), y.copy()
    for number, term in enumerate(terms):
        bent_x += field[cells, 0, number, None] * term
        bent_y += field[cells, 1, number, None] * term
    slant = writer.slant + clipped_normals(rng, 0.02 + 0.02 * writer.haste, count)[cells, None]
    rise = writer.rise + clipped_normals(rng, 0.012 + 0.015 * writer.haste, count)[cells, None]
    leaning_x, leaning_y = bent_x - slant * bent_y, bent_y - rise * bent_x
    height = np.where(is_kana, writer.kana_scale, writer.kanji_scale) * np.exp(
        clipped_normals(rng, 0.025 + 0.035 * writer.haste, count)
    )
    width = (
        height
        * np.where(is_kana, np.sqrt(writer.aspect) * writer.kana_aspect, writer.aspect)
        * np.exp(clipped_normals(rng, 0.03 + 0.03 * writer.haste, count) * np.where(is_kana, 1.6, 1))
    )
    offset = clipped_normals(rng, writer.placement, (count, 2)) * np.where(is_kana, 1.5, 1)[:, None]
    offset += [writer.center_x, writer.center_y]
    offset[is_kana] += [0.07 * CELL_WIDTH, 0.02 * CELL_HEIGHT]
    placed_x = leaning_x * _HALF_BOX * width[cells, None] + (CELL_WIDTH / 2 + offset[cells, :1])
    placed_y = leaning_y * _HALF_BOX * height[cells, None] + (CELL_HEIGHT / 2 + offset[cells, 1:])
    return np.stack([placed_x, placed_y], axis=-1)


def smooth(points: npt.NDArray[np.float64], rounds: int = 10) -> npt.NDArray[np.float64]:
    """Applies rounds of a running mean along each stroke (s, k, 2), whose ends stay where they are."""
    smoothed = points.copy()
    for _ in range(rounds):
        smoothed[:, 1:-1] = 0.25 * (smoothed[:, :-2] + smoothed[:, 2:]) + 0.5 * smoothed[:, 1:-1]
    return smoothed


def _change_lengths(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Lengthens or shortens strokes at both ends by a little, hooks by a lot."""
    points = strokes.points
    count = len(points)
    lengths = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(axis=1)
    slack = np.minimum(0.12, 1.8 / np.maximum(lengths, 1.0)) * (0.4 + writer.haste)  # about 2 units at most
    start = slack * np.clip(rng.standard_normal(count), -1, 1.5)
    end = 1 + slack * np.clip(rng.standard_normal(count), -1.5, 1)
    hook_from = strokes.table.hook_from[strokes.rows]
    hook_length = np.clip(writer.hook_length + 0.25 * rng.standard_normal(count), 0, 1.3)
    end = np.where(hook_from < 1, hook_from + (1 - hook_from) * hook_length, end)
    strokes.points = _resample(points, start, end)


def _resample(
    points: npt.NDArray[np.float64], start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Takes the part of each stroke (s, 32, 2) from `start` to `end` (s,), in strokes' lengths; it may go beyond."""
    at = (start[:, None] + (end - start)[:, None] * ALONG) * _LAST_POINT
    left = np.clip(np.floor(at), 0, _LAST_POINT - 1).astype(np.int64)  # beyond the ends, straight on
    fraction = (at - left)[..., None]
    numbers = np.arange(len(points))[:, None]
    return points[numbers, left] * (1 - fraction) + points[numbers, left + 1] * fraction


def _change_loops(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Makes the small loops of hiragana smaller or larger about the point where they close."""
    loops = strokes.table.loop[strokes.rows].astype(np.int64)
    looped = np.flatnonzero(loops[:, 1])
    points, place = strokes.points.copy(), np.arange(POINTS_PER_STROKE)
    first, last = loops[looped].T
    closing = points[looped, np.stack([first, first + 1, last, last + 1])].mean(axis=0)
    is_inside = (place > first[:, None]) & (place <= last[:, None])
    size = np.clip(writer.loop_size + clipped_normals(rng, 0.12, len(looped)), 0.4, 1.4)
    inside = np.where(is_inside[..., None], points[looped], closing[:, None])
    extent = np.maximum(np.ptp(inside, axis=1).max(axis=1), 1e-6)
    size = np.maximum(size, np.minimum(_MIN_LOOP * _measure_pen(writer) / extent, 1.2))
    factor = np.where(is_inside, size[:, None], 1.0)[..., None]
    points[looped] = closing[:, None] + factor * (points[looped] - closing[:, None])
    strokes.points = points


def _place_voicing_marks(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Turns, enlarges and shifts the dots of ば and the ring of ぱ."""
    voicing = strokes.table.voicing[strokes.rows]
    marked = np.flatnonzero(voicing)
    if not len(marked):
        return
    points, num_cells = strokes.points.copy(), strokes.num_cells
    kinds, owners = voicing[marked], strokes.cells[marked]
    counts = np.maximum(np.bincount(owners, minlength=num_cells), 1)
    means = points[marked].mean(axis=1)
    center = np.stack([np.bincount(owners, means[:, axis], num_cells) / counts for axis in (0, 1)], axis=-1)[owners]
    is_ring = kinds == _RING
    pen = _measure_pen(writer)
    size = np.where(is_ring, writer.ring_size, 1.25) * np.exp(clipped_normals(rng, 0.12, num_cells))[owners]
    size = np.maximum(size, np.where(is_ring, _MIN_RING, _MIN_DOT) * pen / np.ptp(points[marked], axis=1).max(axis=1))
    angle = clipped_normals(rng, 0.3 * writer.mark_freedom, num_cells)[owners] - 0.1 * writer.mark_freedom  # steeper
    angle = np.clip(angle, -_MAX_DOT_TURN, _MAX_DOT_TURN) + clipped_normals(rng, 0.1, len(marked))
    angle += is_ring * rng.uniform(-1.5, 1.5, len(marked))  # where it is open
    gap = np.clip(writer.ring_gap + clipped_normals(rng, 0.04, len(marked)), 0, _MAX_RING_GAP) * is_ring
    points[marked] = _resample(points[marked], np.zeros(len(marked)), 1 - gap)
    apart = np.maximum(np.hypot(*(means - center).T), 1e-6)
    spread = writer.dot_gap * np.exp(clipped_normals(rng, 0.15, num_cells))[owners]
    spread = np.where(is_ring, 1, np.maximum(spread, 0.5 * _MIN_DOT_GAP * pen / (apart * size)))
    points[marked] += ((spread - 1)[:, None] * (means - center))[:, None]
    place = np.array([1.5 - writer.mark_inset, -1.5 + writer.mark_inset])
    place = place + clipped_normals(rng, 3.2 * writer.mark_freedom, (num_cells, 2))
    place = np.stack([np.maximum(place[:, 0], -_MAX_INSET), np.minimum(place[:, 1], _MAX_INSET)], axis=-1)
    turned = _transform(points[marked] - center[:, None], _rotation(angle, size))
    points[marked] = turned + (center + place[owners])[:, None]
    strokes.points = points


def _measure_pen(writer: Writer) -> float:
    """Returns the width of a writer's pen in hiragana, in KanjiVG's units."""
    return writer.pen_width * KANA_WIDTH / writer.kana_scale


def _reshape_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Adds long waves to whole strokes, the ends included."""
    size = np.ptp(strokes.points, axis=1).max(axis=1)
    amount = size * np.where(strokes.is_kana, writer.kana_reshape, writer.kanji_reshape)
    waves = clipped_normals(rng, 1.0, (len(size), 2, len(_WAVES))) / _WAVE_NUMBERS
    strokes.points = strokes.points + amount[:, None, None] * np.swapaxes(waves @ _WAVES, 1, 2)


def _spare_loops(strokes: SheetStrokes) -> npt.NDArray[np.float64]:
    """Returns by how much less strokes with a small loop, and rings, are made rounder or more angular, (s,)."""
    has_loop = strokes.table.loop[strokes.rows, 1] > 0
    return np.where(has_loop | (strokes.table.voicing[strokes.rows] == _RING), 0.35, 1.0)


def _round_corners(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Rounds or sharpens corners."""
    points = strokes.points
    roundness = np.clip(writer.roundness + 0.2 * rng.standard_normal(len(points)), -0.5, 1)
    roundness *= np.where(strokes.is_kana, 0.5, 1) * _spare_loops(strokes)
    strokes.points = points + roundness[:, None, None] * (smooth(points) - points)


def _straighten_curves(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Writes curves as a few straight pieces with corners between them."""
    if not writer.angularity:
        return
    points = strokes.points.copy()
    kinds = rng.integers(len(_POLYGONS), size=len(points))
    amounts = writer.angularity * rng.uniform(0.5, 1.2, len(points)) * _spare_loops(strokes)
    for kind, polygon in enumerate(_POLYGONS):
        chosen = np.flatnonzero(kinds == kind)
        points[chosen] += amounts[chosen, None, None] * (polygon @ points[chosen] - points[chosen])
    strokes.points = points


def _bend_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Arches strokes sideways, and adds tremor."""
    count = len(strokes.points)
    chord = strokes.points[:, -1] - strokes.points[:, 0]
    length = np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1.0)
    across = np.abs(chord[:, 0]) / length
    mean_bow = writer.bow_across * across - writer.bow_down * (1 - across)
    bow = (mean_bow + writer.bow * np.clip(rng.standard_normal(count), -2, 2)) * length
    skew = rng.uniform(0.8, 1.25, (count, 1))  # the deepest point need not be the middle
    arch = 4 * ALONG**skew * (1 - ALONG**skew)
    waves = np.sin(2 * np.pi * (rng.uniform(0.7, 2.5, (count, 1)) * ALONG + rng.random((count, 1))))
    wave_height = writer.tremor * np.minimum(1, length / 40)
    sideways = bow[:, None] * arch + wave_height[:, None] * waves
    normal = np.stack([chord[:, 1], -chord[:, 0]], axis=-1) / length[:, None]
    strokes.points = strokes.points + normal[:, None] * sideways[..., None]


def _move_strokes(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Shifts, turns and stretches each stroke about its middle."""
    points, count = strokes.points, len(strokes.points)
    middle = points.mean(axis=1, keepdims=True)
    size = np.abs(points - middle).max(axis=(1, 2))
    freedom = np.where(strokes.is_kana, writer.kana_freedom, 1)
    angle = clipped_normals(rng, writer.stroke_turn, count) * np.sqrt(freedom)
    factor = np.exp(clipped_normals(rng, writer.stroke_length, count) * np.where(strokes.is_kana, 1.4, 1))
    shift = clipped_normals(rng, writer.stroke_shift, (count, 2)) * (freedom * np.clip(size / 20, 0.5, 1))[:, None]
    strokes.points = _transform(points - middle, _rotation(angle, factor)) + middle + shift[:, None]


def _move_components(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Shifts, scales and shears the components of characters, first those within others, then the outermost."""
    components = strokes.table.components[strokes.rows]
    for level, strength in ((1, 0.6), (0, 1.0)):
        members = np.flatnonzero(components[:, level] != NO_COMPONENT)
        if not len(members):
            continue
        points = strokes.points.copy()
        _, part = np.unique(strokes.cells[members] * 1024 + components[members, level], return_inverse=True)
        num_parts = int(part.max()) + 1
        means = points[members].mean(axis=1)
        center = np.stack([np.bincount(part, means[:, axis]) for axis in (0, 1)], axis=-1) / np.bincount(part)[:, None]
        scale = np.exp(clipped_normals(rng, writer.component_scale * strength, (num_parts, 2)))
        if level == 0:
            left, upper, inner = writer.component_sizes
            scale *= np.where(center[:, :1] < -12, left, 1) * np.where(center[:, 1:] < -12, upper, 1)
            scale *= np.where(np.abs(center).max(axis=1, keepdims=True) < 8, inner, 1)
        shear = clipped_normals(rng, 0.6 * writer.component_scale * strength, (num_parts, 2))
        shift = clipped_normals(rng, writer.component_shift * strength, (num_parts, 2))
        change = np.stack([scale[:, 0], shear[:, 0], shear[:, 1], scale[:, 1]], axis=-1)
        points[members] = _transform(points[members] - center[part, None], change[part]) + (center + shift)[part, None]
        strokes.points = points


def _close_touches(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> None:
    """Brings the ends of strokes back to the strokes that they touch: it keeps 甲 from becoming 申, 午 from 牛."""
    standard, touches = strokes.table.points[strokes.rows], strokes.table.touches[strokes.rows]
    moved = strokes.points.copy()
    slides = np.rint(clipped_normals(rng, writer.touch_slide, touches.shape)).astype(np.int64)
    strengths = np.clip(writer.closeness + 0.12 * rng.standard_normal(touches.shape), 0.3, 1)
    strengths = 1 - np.sqrt(1 - strengths)  # in two rounds, so that a stroke follows one that has moved itself
    for _ in range(2):
        before = moved.copy()
        for end, end_point in ((0, 0), (1, _LAST_POINT)):
            numbers = np.flatnonzero(touches[:, end] != FREE_END)
            target = numbers * POINTS_PER_STROKE + touches[numbers, end]
            offset = standard[numbers, end_point] - standard.reshape(-1, 2)[target]
            place = target % POINTS_PER_STROKE
            may_slide = (place >= _CORNER_POINTS) & (place <= _LAST_POINT - _CORNER_POINTS)
            slid = place + slides[numbers, end]
            slid = np.clip(slid, _CORNER_POINTS - 1, _LAST_POINT - _CORNER_POINTS + 1) - place
            goal = before.reshape(-1, 2)[target + slid * may_slide] + offset
            missing = (goal - before[numbers, end_point]) * strengths[numbers, end, None]
            fading = (ALONG if end else 1 - ALONG) ** 1.5
            moved[numbers] += fading[:, None] * missing[:, None]
    strokes.points = moved


def _rotation(angle: npt.NDArray[np.float64], factor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Computes the matrices (s, 4), row by row, that turn by an angle (s,) and scale by a factor (s,)."""
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    return np.stack([cosine, -sine, sine, cosine], axis=-1)


def _transform(points: npt.NDArray[np.float64], matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Multiplies the points (s, k, 2) of each stroke with its matrix, (s, 4) row by row."""
    x, y = points[..., 0], points[..., 1]
    a, b, c, d = matrices.T[..., None]
    return np.stack([a * x + b * y, c * x + d * y], axis=-1)
