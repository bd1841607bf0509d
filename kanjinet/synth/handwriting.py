"""Simulated writers: each turns the strokes of a copybook into the characters of one hand.

A hand has habits (slant, proportions, curvature, pen); every character and every stroke then varies about them.
The amounts are bounded, so that a character never becomes its neighbor: 土 stays 土 and not 士.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CLASS_OF_CHARACTER, NUM_CLASSES, NUM_HIRAGANA
from kanjinet.data.etl9g import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.glyph_table import (
    DOT,
    FORMS,
    HOOKED,
    JIS78,
    NO_COMPONENT,
    NOTHING,
    POINTS_PER_STROKE,
    SPREADING_SWEEP,
    SWEEP,
    Copybook,
)
from kanjinet.synth.kanjivg import VIEW_BOX
from kanjinet.synth.rasterizer import Ink, draw_cells

GENERATOR_VERSION = "writers-4"  # changes whenever the same seed gives other bytes
DEFAULT_DIFFICULTY = 0.5  # 0 = copybook, 1 = hasty
COLUMNS_PER_SHEET = 16
_CORNER_POINTS = 5  # of 32: strokes that meet nearer than this to an end make a corner, which stays one

_HALF_BOX = VIEW_BOX / 2
_ALONG = np.linspace(0, 1, POINTS_PER_STROKE)  # where each point lies along its stroke
_WAVE_NUMBERS = np.array([1.0, 2.0, 3.0, 4.0])  # half waves along a stroke
_WAVES = np.cos(np.pi * _WAVE_NUMBERS[:, None] * _ALONG)  # (4, 32)
_POLYGONS = np.stack(  # (4, 32, 32): a stroke's points -> those on the straight pieces between a few of them
    [
        np.stack([np.interp(_ALONG, np.linspace(0, 1, pieces + 1), corner) for corner in np.eye(pieces + 1)], axis=1)
        @ np.eye(POINTS_PER_STROKE)[np.round(np.linspace(0, POINTS_PER_STROKE - 1, pieces + 1)).astype(int)]
        for pieces in (3, 4, 5, 7)
    ]
)
_FLOWS_ON = np.full(NUM_CLASSES, -1)  # class -> the stroke that many people join with the next
for _character, _stroke in zip("きぎさざりふぶぷ", (2, 2, 1, 1, 0, 0, 0, 0), strict=True):
    _FLOWS_ON[CLASS_OF_CHARACTER[_character]] = _stroke
_KANA_FRAGMENT_FRACTION, _KANJI_FRAGMENT_FRACTION = 0.68, 0.004  # cells into which a neighbor's writing reaches


@dataclass(frozen=True)
class Writer:
    """The habits of one hand. Lengths are in KanjiVG's units (109 a side) unless a comment says otherwise.

    `haste`, 0-1, is how far the writer is from the copybook; most other amounts were drawn with it in mind.
    """

    haste: float
    kanji_scale: float  # pixels of height per unit
    kana_scale: float  # the same, of hiragana
    aspect: float  # width by height of a unit
    center_x: float  # where characters stand in the cell, pixels from its middle
    center_y: float
    placement: float  # pixels, standard deviation
    slant: float  # shift to the right per unit upwards
    rise: float  # of horizontal strokes to the right
    warp: npt.NDArray[np.float64]  # (2, 6) habits of the smooth field that bends the whole character
    component_sizes: npt.NDArray[np.float64]  # (3,) habits: parts at the left, at the top, and enclosed ones
    component_shift: float  # standard deviations from here
    component_scale: float
    stroke_shift: float
    stroke_turn: float  # radians
    stroke_length: float
    bow_across: float  # habit: how far horizontal strokes arch, by length
    bow_down: float  # habit: the same of vertical ones
    bow: float
    kanji_reshape: float  # how far the middle of a stroke strays from the copybook's, by the stroke's size
    kana_reshape: float  # the same of hiragana, whose strokes are written with more freedom
    kana_aspect: float  # width by height of hiragana, by that of kanji
    kana_freedom: float  # by how much strokes of hiragana are placed more freely than those of kanji
    mark_freedom: float  # how far the dots of ば and the ring of ぱ stray, as a share of the usual
    angularity: float  # how far curves are written as a few straight pieces, 0-1
    touch_slide: float  # standard deviation, points of 32, of where on a stroke another one begins or ends
    tremor: float
    roundness: float  # -0.4 (angular) ... 1 (all corners gone)
    closeness: float  # how well strokes that touch in the copybook are made to touch, 0-1
    hook_length: float  # 0 = left out, 1 = as in the copybook
    kana_join_rate: float  # how readily き and さ are finished without lifting the pen
    flick_rate: float  # share of the strokes of hiragana whose end already points to the next one, as in こ
    swap_rate: float  # share of neighboring strokes of kanji that are written in the other order
    join_rate: float  # share of near strokes that are written without lifting the pen
    form_weights: npt.NDArray[np.float64]  # (10,) how readily each of FORMS is used
    pen_width: float  # pixels
    pressure: float  # how much the width follows the stroke: 0 = ballpoint, 1 = brush
    ink: Ink


def invent_writer(rng: np.random.Generator, difficulty: float = DEFAULT_DIFFICULTY) -> Writer:
    """Draw a writer.

    Args:
        rng: the only source of chance.
        difficulty: 0 = all write as in the copybook, 1 = most are in a hurry.
    """
    haste = float(np.clip(difficulty + _spread(rng, 0.24) * min(1.0, 4 * difficulty), 0, 1))
    vary = 0.35 + 0.65 * min(1.0, 2 * difficulty)  # of what is a matter of taste, not of haste
    scale = 0.92 * math.exp(_spread(rng, 0.05) * vary)
    kinds = rng.random()
    pressure, grain = (
        (rng.uniform(0, 0.25), rng.uniform(0, 0.12))  # ballpoint, fiber tip
        if kinds < 0.35
        else (rng.uniform(0.1, 0.5), rng.uniform(0.06, 0.25))  # pencil
        if kinds < 0.85
        else (rng.uniform(0.5, 1), rng.uniform(0, 0.1))  # brush pen
    )
    form_weights = np.array(
        [
            *(1, 2 * rng.random(), 0.4 * rng.random(), 0.3 * rng.random(), *[0.1 * rng.random()] * 4),
            *(0.8, 4 * rng.random() ** 4),
        ]
    )
    form_weights[JIS78] *= rng.random()
    return Writer(
        haste=haste,
        kanji_scale=scale,
        kana_scale=scale * 0.675 * math.exp(_spread(rng, 0.15)),
        aspect=0.85 * math.exp(_spread(rng, 0.05) * vary),
        center_x=-0.028 * CELL_WIDTH + _spread(rng, 2.5),
        center_y=0.022 * CELL_HEIGHT + _spread(rng, 2.5),
        placement=1.5 + 2 * haste,
        slant=0.02 + _spread(rng, 0.085) * vary,
        rise=0.01 + _spread(rng, 0.055) * vary,
        warp=_spreads(rng, 0.05, (2, 6)) * vary,
        component_sizes=np.exp(_spreads(rng, 0.06, 3) * vary),
        component_shift=(1.2 + 2.0 * haste) * vary,
        component_scale=(0.035 + 0.075 * haste) * vary,
        stroke_shift=(0.55 + 1.4 * haste) * vary,
        stroke_turn=(0.025 + 0.06 * haste) * vary,
        stroke_length=(0.022 + 0.042 * haste) * vary,
        bow_across=_spread(rng, 0.035) * vary,
        bow_down=_spread(rng, 0.03) * vary,
        bow=(0.012 + 0.035 * haste) * vary,
        kanji_reshape=(0.01 + 0.02 * haste) * vary,
        kana_reshape=(0.03 + 0.04 * haste) * vary,
        kana_aspect=math.exp(_spread(rng, 0.09) * vary),
        kana_freedom=1 + 1.2 * vary,
        mark_freedom=rng.uniform(0.4, 1.6) * vary,
        angularity=float(np.clip(_spread(rng, 0.45), 0, 0.8)) * vary,
        touch_slide=(0.6 + 2.2 * haste) * vary,
        tremor=abs(_spread(rng, 0.35)) + 0.1,
        roundness=float(np.clip(-0.3 + 1.1 * haste + _spread(rng, 0.35), -0.4, 1)),
        closeness=float(np.clip(0.85 - 0.25 * haste + _spread(rng, 0.12), 0.4, 1)),
        hook_length=float(np.clip(1.1 - 0.7 * haste + _spread(rng, 0.35), 0, 1.3)),
        kana_join_rate=float(rng.random() ** 2),
        flick_rate=0.5 * float(rng.random() ** 3),
        swap_rate=0.12 * haste * float(rng.random()),
        join_rate=float(np.clip(1.1 * (haste - 0.2) + _spread(rng, 0.2), 0, 0.9)),
        form_weights=form_weights,
        pen_width=3.12 * math.exp(_spread(rng, 0.16)) * (0.66 if rng.random() < 0.09 else 1),  # some have fine nibs
        pressure=pressure,
        ink=Ink(
            level=7.35 + _spread(rng, 0.8),
            grain=grain,
            grain_size=rng.uniform(0.5, 1.1),
            blur=rng.uniform(0.4, 0.75),
        ),
    )


def write_sheet(
    copybook: Copybook,
    classes: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
    *,
    with_fragments: bool = True,
) -> npt.NDArray[np.uint8]:
    """One sheet of one writer.

    Args:
        copybook: the strokes.
        classes: (n,) class indices in the order of the sheet, 16 a row; neighbors on the sheet reach into cells.
        writer: the hand.
        rng: chance within the hand.
        with_fragments: let neighbors reach into cells, as in ETL9G.

    Returns:
        (n, 127, 128) uint8 ink levels, 0-15.
    """
    strokes = write_strokes(copybook, classes, writer, rng)
    if with_fragments:
        strokes = _add_fragments(strokes, classes, rng)
    return draw_cells(strokes.points, strokes.half_widths, strokes.ink, strokes.cells, len(classes), writer.ink, rng)


@dataclass(frozen=True)
class WrittenStrokes:
    """Strokes as they were written, in pixels of their cells.

    Attributes:
        points: (s, 32, 2) float64, the pen's way.
        half_widths: (s, 32) float64.
        ink: (s,) float64, about 1.
        cells: (s,) int64, the cell of each; rising.
    """

    points: npt.NDArray[np.float64]
    half_widths: npt.NDArray[np.float64]
    ink: npt.NDArray[np.float64]
    cells: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> "WrittenStrokes":
        """Some of the strokes, by number."""
        return WrittenStrokes(self.points[rows], self.half_widths[rows], self.ink[rows], self.cells[rows])


def write_strokes(
    copybook: Copybook, classes: npt.NDArray[np.int64], writer: Writer, rng: np.random.Generator
) -> WrittenStrokes:
    """The strokes of characters, one a cell, without what comes from neighboring cells."""
    forms = _choose_forms(copybook, classes, writer, rng)
    firsts = copybook.stroke_of_form[forms]
    counts = copybook.stroke_of_form[forms + 1] - firsts
    cells = np.repeat(np.arange(len(classes)), counts)
    rows = np.arange(len(cells)) + np.repeat(firsts - (np.cumsum(counts) - counts), counts)
    is_kana = (classes < NUM_HIRAGANA)[cells]

    points = copybook.points[rows]
    points = _end_strokes(points, copybook, rows, writer, rng)
    points = _place_voicing(points, copybook.voicing[rows], cells, len(classes), writer, rng)
    points = _reshape_strokes(points, is_kana, writer, rng)
    points = _bend_strokes(points, is_kana, writer, rng)
    points = _move_strokes(points, is_kana, writer, rng)
    points = _move_components(points, copybook.components[rows], cells, writer, rng)
    points = _close_touches(points, copybook.points[rows], copybook.touches[rows], writer, rng)
    order = _choose_order(cells, is_kana, writer, rng)
    points, rows = points[order], rows[order]
    flows_on = np.arange(len(cells)) - (np.cumsum(counts) - counts)[cells] == _FLOWS_ON[classes[cells]]
    joins, join_after, is_whole = _join_strokes(points, cells, counts, is_kana, flows_on, writer, rng)
    points, joins = _round_joins(points, joins, join_after, is_whole, writer, rng)

    half_widths, ink = _press_pen(copybook.ending[rows], is_kana, cells, len(classes), writer, rng)
    if len(join_after):
        thinness = (
            rng.uniform(0.45, 0.8, (len(joins), 1)) * (1 - 0.35 * np.sin(np.pi * _ALONG)) * 0.5 * writer.pen_width
        )
        points = np.concatenate([points, joins])
        half_widths = np.concatenate([half_widths, thinness])
        ink = np.concatenate([ink, ink[join_after] * rng.uniform(0.6, 1, len(joins))])
        cells = np.concatenate([cells, cells[join_after]])
        order = np.argsort(cells, kind="stable")
        points, half_widths, ink, cells = points[order], half_widths[order], ink[order], cells[order]
    points = _place_characters(points, cells, classes, writer, rng)
    return WrittenStrokes(points, half_widths, ink, cells)


def _spread(rng: np.random.Generator, sigma: float) -> float:
    """A normal deviate cut off at two standard deviations: variety without monsters."""
    return float(np.clip(rng.standard_normal(), -2, 2)) * sigma


def _spreads(rng: np.random.Generator, sigma: float, size: int | tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Several such deviates."""
    return np.clip(rng.standard_normal(size), -2, 2) * sigma


def _choose_forms(
    copybook: Copybook, classes: npt.NDArray[np.int64], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    firsts = copybook.form_of_class[classes]
    counts = copybook.form_of_class[classes + 1] - firsts
    candidates = firsts[:, None] + np.arange(len(FORMS))
    exists = np.arange(len(FORMS)) < counts[:, None]
    weights = writer.form_weights[copybook.form_kind[np.where(exists, candidates, 0)]] * exists
    sums = np.cumsum(weights, axis=1)
    return firsts + np.sum(sums < rng.random((len(classes), 1)) * sums[:, -1:], axis=1)


def _end_strokes(
    points: npt.NDArray[np.float64],
    copybook: Copybook,
    rows: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Lengthen or shorten strokes at both ends by a little, hooks by a lot."""
    count = len(points)
    lengths = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(axis=1)
    slack = np.minimum(0.12, 1.8 / np.maximum(lengths, 1.0)) * (0.4 + writer.haste)  # about 2 units at most
    start = slack * np.clip(rng.standard_normal(count), -1, 1.5)
    end = 1 + slack * np.clip(rng.standard_normal(count), -1.5, 1)
    hook_from = copybook.hook_from[rows]
    hook_length = np.clip(writer.hook_length + 0.25 * rng.standard_normal(count), 0, 1.3)
    end = np.where(hook_from < 1, hook_from + (1 - hook_from) * hook_length, end)
    at = (start[:, None] + (end - start)[:, None] * _ALONG) * (POINTS_PER_STROKE - 1)
    left = np.clip(np.floor(at), 0, POINTS_PER_STROKE - 2).astype(np.int64)  # beyond the ends, straight on
    share = (at - left)[..., None]
    strokes = np.arange(count)[:, None]
    return points[strokes, left] * (1 - share) + points[strokes, left + 1] * share


def _place_voicing(
    points: npt.NDArray[np.float64],
    voicing: npt.NDArray[np.int8],
    cells: npt.NDArray[np.int64],
    num_cells: int,
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """The dots of ば and the ring of ぱ: askew, and larger than in the copybook, as in a small hand."""
    marked = np.flatnonzero(voicing)
    if not len(marked):
        return points
    points = points.copy()
    kinds, owners = voicing[marked], cells[marked]
    counts = np.maximum(np.bincount(owners, minlength=num_cells), 1)
    means = points[marked].mean(axis=1)
    center = np.stack([np.bincount(owners, means[:, axis], num_cells) / counts for axis in (0, 1)], axis=-1)[owners]
    size = np.array([1.0, 1.05, 1.25])[kinds] + rng.random(num_cells)[owners] * np.array([0.0, 0.45, 0.6])[kinds]
    angle = _spreads(rng, 0.3 * writer.mark_freedom, num_cells)[owners] - 0.1 * writer.mark_freedom  # rather steeper
    angle += _spreads(rng, 0.1, len(marked))
    cosine, sine = np.cos(angle) * size, np.sin(angle) * size
    turn = np.stack([cosine, -sine, sine, cosine], axis=-1)
    place = np.array([1.5, -1.5]) + _spreads(rng, 3.2 * writer.mark_freedom, (num_cells, 2))
    points[marked] = _transform(points[marked] - center[:, None], turn) + (center + place[owners])[:, None]
    return points


def _reshape_strokes(
    points: npt.NDArray[np.float64], is_kana: npt.NDArray[np.bool_], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Let the whole way of a stroke stray from the copybook's in long waves, the ends included."""
    size = np.ptp(points, axis=1).max(axis=1)
    amount = size * np.where(is_kana, writer.kana_reshape, writer.kanji_reshape)
    waves = _spreads(rng, 1.0, (len(points), 2, len(_WAVES))) / _WAVE_NUMBERS
    return points + amount[:, None, None] * np.swapaxes(waves @ _WAVES, 1, 2)


def _bend_strokes(
    points: npt.NDArray[np.float64], is_kana: npt.NDArray[np.bool_], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Round or sharpen corners, arch strokes, let the hand tremble."""
    count = len(points)
    roundness = np.clip(writer.roundness + 0.2 * rng.standard_normal(count), -0.5, 1) * np.where(is_kana, 0.5, 1)
    points = points + roundness[:, None, None] * (_smooth(points) - points)
    points = _straighten_pieces(points, writer, rng)

    chord = points[:, -1] - points[:, 0]
    length = np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1.0)
    across = np.abs(chord[:, 0]) / length
    habit = writer.bow_across * across - writer.bow_down * (1 - across)
    bow = (habit + writer.bow * np.clip(rng.standard_normal(count), -2, 2)) * length
    skew = rng.uniform(0.8, 1.25, (count, 1))  # the deepest point need not be the middle
    arch = 4 * _ALONG**skew * (1 - _ALONG**skew)
    waves = np.sin(2 * np.pi * (rng.uniform(0.7, 2.5, (count, 1)) * _ALONG + rng.random((count, 1))))
    wave_height = writer.tremor * np.minimum(1, length / 40)
    sideways = bow[:, None] * arch + wave_height[:, None] * waves
    normal = np.stack([chord[:, 1], -chord[:, 0]], axis=-1) / length[:, None]
    return points + normal[:, None] * sideways[..., None]


def _smooth(points: npt.NDArray[np.float64], rounds: int = 10) -> npt.NDArray[np.float64]:
    """Rounds of a running mean along each stroke, whose ends stay where they are."""
    smooth = points.copy()
    for _ in range(rounds):
        smooth[:, 1:-1] = 0.25 * (smooth[:, :-2] + smooth[:, 2:]) + 0.5 * smooth[:, 1:-1]
    return smooth


def _straighten_pieces(
    points: npt.NDArray[np.float64], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Write curves as a few straight pieces with corners between them."""
    if not writer.angularity:
        return points
    points = points.copy()
    kinds = rng.integers(len(_POLYGONS), size=len(points))
    amounts = writer.angularity * rng.uniform(0.5, 1.2, len(points))
    for kind, polygon in enumerate(_POLYGONS):
        chosen = np.flatnonzero(kinds == kind)
        points[chosen] += amounts[chosen, None, None] * (polygon @ points[chosen] - points[chosen])
    return points


def _move_strokes(
    points: npt.NDArray[np.float64], is_kana: npt.NDArray[np.bool_], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Shift, turn and stretch each stroke about its middle."""
    count = len(points)
    middle = points.mean(axis=1, keepdims=True)
    size = np.abs(points - middle).max(axis=(1, 2))
    freedom = np.where(is_kana, writer.kana_freedom, 1)
    angle = _spreads(rng, writer.stroke_turn, count) * np.sqrt(freedom)
    factor = np.exp(_spreads(rng, writer.stroke_length, count) * np.where(is_kana, 1.4, 1))
    shift = _spreads(rng, writer.stroke_shift, (count, 2)) * (freedom * np.clip(size / 20, 0.5, 1))[:, None]
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    turn = np.stack([cosine, -sine, sine, cosine], axis=-1)
    return _transform(points - middle, turn) + middle + shift[:, None]


def _transform(points: npt.NDArray[np.float64], matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Multiply the points (s, k, 2) of each stroke with its matrix, (s, 4) row by row."""
    x, y = points[..., 0], points[..., 1]
    a, b, c, d = matrices.T[..., None]
    return np.stack([a * x + b * y, c * x + d * y], axis=-1)


def _move_components(
    points: npt.NDArray[np.float64],
    components: npt.NDArray[np.int16],
    cells: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Shift, scale and shear the parts of characters, first those within parts, then the outermost."""
    for level in (1, 0):
        has_part = components[:, level] != NO_COMPONENT
        members = np.flatnonzero(has_part)
        if not len(members):
            continue
        keys = cells[members] * 1024 + components[members, level]
        _, part = np.unique(keys, return_inverse=True)
        num_parts = int(part.max()) + 1
        sizes = np.bincount(part)
        means = points[members].mean(axis=1)
        center = np.stack([np.bincount(part, means[:, axis]) for axis in (0, 1)], axis=-1) / sizes[:, None]
        strength = 1.0 if level == 0 else 0.6
        scale = np.exp(_spreads(rng, writer.component_scale * strength, (num_parts, 2)))
        left, upper, inner = writer.component_sizes
        if level == 0:
            scale *= np.where(center[:, :1] < -12, left, 1) * np.where(center[:, 1:] < -12, upper, 1)
            scale *= np.where(np.abs(center).max(axis=1, keepdims=True) < 8, inner, 1)
        shear = _spreads(rng, 0.6 * writer.component_scale * strength, (num_parts, 2))
        shift = _spreads(rng, writer.component_shift * strength, (num_parts, 2))
        change = np.stack([scale[:, 0], shear[:, 0], shear[:, 1], scale[:, 1]], axis=-1)
        moved = _transform(points[members] - center[part, None], change[part]) + (center + shift)[part, None]
        points = points.copy()
        points[members] = moved
    return points


def _close_touches(
    points: npt.NDArray[np.float64],
    models: npt.NDArray[np.float64],
    touches: npt.NDArray[np.int32],
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Bring the ends of strokes back to the strokes that they touch.

    It is what keeps 甲 from becoming 申, and 午 from becoming 牛.

    Args:
        points: (s, 32, 2) as written so far.
        models: (s, 32, 2) the same in the copybook.
        touches: (s, 2) as in `Copybook`.
        writer: the hand.
        rng: chance within the hand.
    """
    moved = points.copy()
    last = POINTS_PER_STROKE - 1
    slides = np.rint(_spreads(rng, writer.touch_slide, touches.shape)).astype(np.int64)
    strengths = np.clip(writer.closeness + 0.12 * rng.standard_normal(touches.shape), 0.3, 1)
    strengths = 1 - np.sqrt(1 - strengths)  # in two rounds, so that a stroke follows one that has moved itself
    for _ in range(2):
        before = moved.copy()
        for end, end_point in ((0, 0), (1, last)):
            strokes = np.flatnonzero(touches[:, end] != NOTHING)
            target = strokes * POINTS_PER_STROKE + touches[strokes, end]
            offset = models[strokes, end_point] - models.reshape(-1, 2)[target]
            place = target % POINTS_PER_STROKE
            may_slide = (place >= _CORNER_POINTS) & (place <= last - _CORNER_POINTS)
            slid = np.clip(place + slides[strokes, end], _CORNER_POINTS - 1, last - _CORNER_POINTS + 1) - place
            wanted = before.reshape(-1, 2)[target + slid * may_slide] + offset
            missing = (wanted - before[strokes, end_point]) * strengths[strokes, end, None]
            fading = (_ALONG if end else 1 - _ALONG) ** 1.5
            moved[strokes] += fading[:, None] * missing[:, None]
    return moved


def _choose_order(
    cells: npt.NDArray[np.int64], is_kana: npt.NDArray[np.bool_], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """(s,) the strokes in the order of writing: some neighbors of a kanji change places, which shows in the joins."""
    order = np.arange(len(cells))
    swapped = np.flatnonzero((rng.random(len(cells) - 1) < writer.swap_rate) & (cells[1:] == cells[:-1]) & ~is_kana[1:])
    swapped = swapped[np.diff(swapped, prepend=-2) > 1]  # a stroke changes places once
    order[swapped], order[swapped + 1] = swapped + 1, swapped
    return order


def _join_strokes(
    points: npt.NDArray[np.float64],
    cells: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    is_kana: npt.NDArray[np.bool_],
    flows_on: npt.NDArray[np.bool_],
    writer: Writer,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The pen's way from a stroke to the next where it was not lifted, or not at once.

    Returns:
        (j, 32, 2) the ways, (j,) the stroke after which each comes, and (j,) whether it arrives at the next.
    """
    gap = np.zeros((len(points), 2))
    gap[:-1] = points[1:, 0] - points[:-1, -1]
    distance = np.maximum(np.hypot(gap[:, 0], gap[:, 1]), 1e-6)
    has_next = np.zeros(len(points), dtype=bool)
    has_next[:-1] = cells[1:] == cells[:-1]
    likely = writer.join_rate * np.exp(-distance / (18 + 36 * writer.haste))
    upwards = np.clip(-gap[:, 1] / distance, 0, 1)
    likely *= 1 - (0.8 - 0.35 * writer.haste) * upwards  # on the way up the pen is lifted, in a hurry less often
    likely *= np.where((counts[cells] <= 3) & ~is_kana, 0.35, 1)  # 二 must not become 乙
    likely[flows_on] = np.maximum(likely[flows_on], writer.kana_join_rate)
    is_joined = rng.random(len(points)) < likely
    is_flicked = is_kana & (rng.random(len(points)) < writer.flick_rate) & ~is_joined
    after = np.flatnonzero(has_next & (is_joined | is_flicked) & (distance > 3))
    whole = (rng.random(len(after)) < 0.25 + 0.6 * writer.haste) & is_joined[after]
    whole &= (counts[cells[after]] > 3) | is_kana[after]
    whole |= flows_on[after]
    reach = np.where(whole, 1.0, rng.uniform(0.15, 0.45, len(after)))  # a tail that only points to the next stroke
    leave = points[after, -1] - points[after, -3]
    arrive = points[np.minimum(after + 1, len(points) - 1), 2] - points[np.minimum(after + 1, len(points) - 1), 0]
    leave *= (distance[after] / np.maximum(np.hypot(leave[:, 0], leave[:, 1]), 1e-6))[:, None]
    arrive *= (distance[after] / np.maximum(np.hypot(arrive[:, 0], arrive[:, 1]), 1e-6))[:, None]
    start = points[after, -1]
    end = start + gap[after]
    swing = rng.uniform(0.05, 0.3, (len(after), 1)) * np.where(is_flicked[after], 0.3, 1)[:, None]
    t = (reach[:, None] * _ALONG)[..., None]
    controls = [start, start + swing * leave, end - swing * arrive, end]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    way = sum(weight * control[:, None] for weight, control in zip(weights, controls, strict=True))
    return np.asarray(way).reshape(-1, POINTS_PER_STROKE, 2), after, whole


def _round_joins(
    points: npt.NDArray[np.float64],
    joins: npt.NDArray[np.float64],
    after: npt.NDArray[np.int64],
    is_whole: npt.NDArray[np.bool_],
    writer: Writer,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cut the corners where a stroke runs into the next without a stop, the more the greater the haste.

    Args:
        points: (s, 32, 2) of the strokes.
        joins: (j, 32, 2) as `_join_strokes` returns them, as are `after` and `is_whole`.
        after: (j,).
        is_whole: (j,).
        writer: the hand.
        rng: chance within the hand.

    Returns:
        Strokes and joins, rounded.
    """
    points, joins = points.copy(), joins.copy()
    strength = writer.haste * rng.uniform(0.2, 1, len(joins))
    for parity in (0, 1):  # so that no stroke is in two joins at a time
        chosen = np.flatnonzero(is_whole & (after % 2 == parity))
        strokes = after[chosen]
        way = np.concatenate([points[strokes], joins[chosen], points[strokes + 1]], axis=1)  # (c, 96, 2)
        way += strength[chosen, None, None] * (_smooth(way, rounds=40) - way)
        points[strokes], joins[chosen], points[strokes + 1] = np.split(way, 3, axis=1)
    return points, joins


def _press_pen(
    ending: npt.NDArray[np.int8],
    is_kana: npt.NDArray[np.bool_],
    cells: npt.NDArray[np.int64],
    num_cells: int,
    writer: Writer,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Half widths (s, 32) in pixels and ink (s,) of each stroke."""
    count = len(ending)
    shapes = np.ones((5, POINTS_PER_STROKE))
    shapes[:] = 1.08 - 0.25 * np.sin(np.pi * _ALONG)  # pressed at both ends
    shapes[SWEEP] = 1.15 - 0.85 * _ALONG**1.5
    shapes[SPREADING_SWEEP] = 0.7 + 0.75 * np.sin(np.pi * _ALONG**2) - 0.4 * _ALONG**6
    shapes[DOT] = 0.55 + 0.65 * _ALONG
    shapes[HOOKED] = 1.1 - 0.2 * np.sin(np.pi * _ALONG) - 0.55 * _ALONG**8
    shape = shapes[ending]
    shape[is_kana] = 1.1 - 0.4 * _ALONG**3
    pressure = np.clip(writer.pressure * rng.uniform(0.6, 1.4, (count, 1)), 0, 1.1)
    character_width = np.exp(0.05 * rng.standard_normal(num_cells))[cells]
    stroke_width = character_width * np.exp(0.05 * rng.standard_normal(count))
    stroke_width *= np.where(is_kana, 1.24, 1)  # measured on real cells
    half_widths = 0.5 * writer.pen_width * stroke_width[:, None] * (1 + pressure * (shape - 1))
    ink = np.exp(0.035 * rng.standard_normal(num_cells))[cells] * np.exp(0.04 * rng.standard_normal(count))
    return np.maximum(half_widths, 0.5), ink


def _place_characters(
    points: npt.NDArray[np.float64],
    cells: npt.NDArray[np.int64],
    classes: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Bend, slant and scale whole characters, and put them into their cells: units become pixels."""
    count = len(classes)
    is_kana = classes < NUM_HIRAGANA
    x, y = points[..., 0] / _HALF_BOX, points[..., 1] / _HALF_BOX  # (s, 32), -1 ... 1
    field = writer.warp + _spreads(rng, 0.015 + 0.04 * writer.haste, (count, 2, 6))
    terms = [x * x, y * y, x * y, x * x * y, x * y * y, x * x * x]
    bent_x, bent_y = x.copy(), y.copy()
    for number, term in enumerate(terms):
        bent_x += field[cells, 0, number, None] * term
        bent_y += field[cells, 1, number, None] * term
    slant = writer.slant + _spreads(rng, 0.02 + 0.02 * writer.haste, count)[cells, None]
    rise = writer.rise + _spreads(rng, 0.012 + 0.015 * writer.haste, count)[cells, None]
    leaning_x, leaning_y = bent_x - slant * bent_y, bent_y - rise * bent_x
    height = np.where(is_kana, writer.kana_scale, writer.kanji_scale) * np.exp(
        _spreads(rng, 0.025 + 0.035 * writer.haste, count)
    )
    width = (
        height
        * np.where(is_kana, np.sqrt(writer.aspect) * writer.kana_aspect, writer.aspect)
        * np.exp(_spreads(rng, 0.03 + 0.03 * writer.haste, count) * np.where(is_kana, 1.6, 1))
    )
    offset = _spreads(rng, writer.placement, (count, 2)) * np.where(is_kana, 1.5, 1)[:, None]
    offset += [writer.center_x, writer.center_y]
    offset[is_kana] += [0.07 * CELL_WIDTH, 0.02 * CELL_HEIGHT]
    placed_x = leaning_x * _HALF_BOX * width[cells, None] + (CELL_WIDTH / 2 + offset[cells, :1])
    placed_y = leaning_y * _HALF_BOX * height[cells, None] + (CELL_HEIGHT / 2 + offset[cells, 1:])
    return np.stack([placed_x, placed_y], axis=-1)


def _add_fragments(strokes: WrittenStrokes, classes: npt.NDArray[np.int64], rng: np.random.Generator) -> WrittenStrokes:
    """Let the neighbors on the sheet reach into cells, as the cutting of real sheets did.

    Hiragana stood closer together than their cells are wide, so most of their cells have such a fragment.
    """
    count = len(classes)
    is_kana = classes < NUM_HIRAGANA
    share = np.where(is_kana, _KANA_FRAGMENT_FRACTION, _KANJI_FRAGMENT_FRACTION)
    chosen = np.flatnonzero(rng.random(count) < share)
    sides = rng.choice(4, len(chosen), p=[0.42, 0.42, 0.08, 0.08])  # left, right, above, below
    depths = rng.gamma(2.0, np.where(is_kana[chosen], 3.5, 1.2)) + 2.5  # pixels into the cell
    both = is_kana[chosen] & (sides < 2) & (rng.random(len(chosen)) < 0.35)
    cells = np.concatenate([chosen, chosen[both]])
    sides = np.concatenate([sides, 1 - sides[both]])
    depths = np.concatenate([depths, rng.gamma(2.0, 3.5, int(both.sum())) + 2.5])
    along = _spreads(rng, 5.0, len(cells))
    firsts = np.searchsorted(strokes.cells, np.arange(count + 1))
    columns = min(COLUMNS_PER_SHEET, count)
    parts = [strokes]
    for cell, side, depth, drift in zip(cells, sides, depths, along, strict=True):
        neighbor = (cell + (-1, 1, -columns, columns)[side]) % count
        part = strokes.take(np.arange(firsts[neighbor], firsts[neighbor + 1]))
        edge = part.half_widths[..., None] * (1 if side in (0, 2) else -1) + part.points
        axis = 0 if side < 2 else 1
        limit = (CELL_WIDTH, CELL_HEIGHT)[axis]
        shift = np.array([drift, drift])
        shift[axis] = depth - edge[..., axis].max() if side in (0, 2) else limit - depth - edge[..., axis].min()
        moved = part.points + shift
        nearest = moved[..., axis].max(axis=1) if side in (0, 2) else limit - moved[..., axis].min(axis=1)
        visible = np.flatnonzero(nearest > -4)
        part = part.take(visible)
        parts.append(WrittenStrokes(moved[visible], part.half_widths, part.ink, np.full(len(visible), cell)))
    return WrittenStrokes(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.half_widths for part in parts]),
        np.concatenate([part.ink for part in parts]),
        np.concatenate([part.cells for part in parts]),
    )
