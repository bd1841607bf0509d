"""Simulated writers: what is constant in one person's handwriting, drawn at random within bounds."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.glyph_table import JIS78
from kanjinet.synth.rasterizer import Ink

KANA_WIDTH = 1.24  # of a pen in hiragana, by that in kanji; measured on real cells
DEFAULT_DIFFICULTY = 0.5  # 0 = neat, 1 = hasty


@dataclass(frozen=True)
class Writer:
    """Represents one handwriting style: the means and spreads about which its characters and strokes vary.

    Lengths are in KanjiVG's units (109 a side) unless a comment says otherwise. `haste`, 0-1, is how far the style is
    from KanjiVG's; most other amounts were drawn with it in mind.
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
    warp: npt.NDArray[np.float64]  # (2, 6) coefficients of the smooth field that bends the whole character
    component_sizes: npt.NDArray[np.float64]  # (3,) factors: components at the left, at the top, and enclosed ones
    component_shift: float  # standard deviations from here
    component_scale: float
    stroke_shift: float
    stroke_turn: float  # radians
    stroke_length: float
    bow_across: float  # mean: how far horizontal strokes arch, by length
    bow_down: float  # mean: the same of vertical ones
    bow: float
    kanji_reshape: float  # how far the middle of a stroke strays from KanjiVG's, by the stroke's size
    kana_reshape: float  # the same of hiragana, whose strokes vary more
    kana_aspect: float  # width by height of hiragana, by that of kanji
    kana_freedom: float  # by how much strokes of hiragana are placed more freely than those of kanji
    loop_size: float  # of the small loops of ね, ま and よ, by KanjiVG's
    ring_size: float  # of the ring of ぱ, by KanjiVG's
    ring_gap: float  # fraction of it that is left open
    dot_gap: float  # between the dots of ば, by KanjiVG's
    mark_inset: float  # how far marks stand within the character
    mark_freedom: float  # how far the dots of ば and the ring of ぱ stray, as a fraction of the usual
    angularity: float  # how far curves are written as a few straight pieces, 0-1
    touch_slide: float  # standard deviation, points of 32, of where on a stroke another one begins or ends
    tremor: float
    roundness: float  # -0.4 (angular) ... 1 (all corners gone)
    closeness: float  # how well strokes that touch in KanjiVG are made to touch, 0-1
    hook_length: float  # 0 = left out, 1 = as in KanjiVG
    kana_join_rate: float  # how readily き and さ are finished without lifting the pen
    flick_rate: float  # fraction of the strokes of hiragana whose end already points to the next one, as in こ
    swap_rate: float  # fraction of neighboring strokes of kanji that are written in the other order
    join_rate: float  # fraction of near strokes that are written without lifting the pen
    form_weights: npt.NDArray[np.float64]  # (11,) how readily each of FORMS is used
    pen_width: float  # pixels
    pressure: float  # how much the width follows the stroke: 0 = ballpoint, 1 = brush
    ink: Ink


def sample_writer(rng: np.random.Generator, difficulty: float = DEFAULT_DIFFICULTY) -> Writer:
    """Samples a writer; at difficulty 0 all write as in KanjiVG, at 1 most are in a hurry."""
    haste = float(np.clip(difficulty + clipped_normal(rng, 0.24) * min(1.0, 4 * difficulty), 0, 1))
    vary = 0.35 + 0.65 * min(1.0, 2 * difficulty)  # of what is a matter of taste, not of haste
    scale = 0.92 * math.exp(clipped_normal(rng, 0.05) * vary)
    pressure, grain = _sample_pen(rng)
    form_weights = np.array(
        [
            *(1, 2 * rng.random(), 0.4 * rng.random(), 0.3 * rng.random(), *[0.1 * rng.random()] * 4),
            *(0.8, 4 * rng.random() ** 4, 0.5),
        ]
    )
    form_weights[JIS78] *= rng.random()
    return Writer(
        haste=haste,
        kanji_scale=scale,
        kana_scale=scale * 0.675 * math.exp(clipped_normal(rng, 0.15)),
        aspect=0.85 * math.exp(clipped_normal(rng, 0.05) * vary),
        center_x=-0.028 * CELL_WIDTH + clipped_normal(rng, 2.5),
        center_y=0.022 * CELL_HEIGHT + clipped_normal(rng, 2.5),
        placement=1.5 + 2 * haste,
        slant=0.02 + clipped_normal(rng, 0.085) * vary,
        rise=0.01 + clipped_normal(rng, 0.055) * vary,
        warp=clipped_normals(rng, 0.05, (2, 6)) * vary,
        component_sizes=np.exp(clipped_normals(rng, 0.06, 3) * vary),
        component_shift=(1.2 + 2.0 * haste) * vary,
        component_scale=(0.035 + 0.075 * haste) * vary,
        stroke_shift=(0.55 + 1.4 * haste) * vary,
        stroke_turn=(0.025 + 0.06 * haste) * vary,
        stroke_length=(0.022 + 0.042 * haste) * vary,
        bow_across=clipped_normal(rng, 0.035) * vary,
        bow_down=clipped_normal(rng, 0.03) * vary,
        bow=(0.012 + 0.035 * haste) * vary,
        kanji_reshape=(0.01 + 0.02 * haste) * vary,
        kana_reshape=(0.03 + 0.04 * haste) * vary,
        kana_aspect=math.exp(clipped_normal(rng, 0.09) * vary),
        kana_freedom=1 + 1.2 * vary,
        loop_size=1 + vary * rng.uniform(-0.5, 0.25),
        ring_size=1.4 + vary * rng.uniform(-0.8, 0.45),
        ring_gap=0.25 * vary * float(rng.random() ** 3),
        dot_gap=1 + vary * rng.uniform(-0.5, 0.25),
        mark_inset=5 * vary * float(rng.random() ** 3),
        mark_freedom=rng.uniform(0.4, 1.6) * vary,
        angularity=float(np.clip(clipped_normal(rng, 0.45), 0, 0.8)) * vary,
        touch_slide=(0.6 + 2.2 * haste) * vary,
        tremor=abs(clipped_normal(rng, 0.35)) + 0.1,
        roundness=float(np.clip(-0.3 + 1.1 * haste + clipped_normal(rng, 0.35), -0.4, 1)),
        closeness=float(np.clip(0.85 - 0.25 * haste + clipped_normal(rng, 0.12), 0.4, 1)),
        hook_length=float(np.clip(1.1 - 0.7 * haste + clipped_normal(rng, 0.35), 0, 1.3)),
        kana_join_rate=float(rng.random() ** 2),
        flick_rate=0.5 * float(rng.random() ** 3),
        swap_rate=0.12 * haste * float(rng.random()),
        join_rate=float(np.clip(1.1 * (haste - 0.2) + clipped_normal(rng, 0.2), 0, 0.9)),
        form_weights=form_weights,
        pen_width=3.12 * math.exp(clipped_normal(rng, 0.16)) * (0.66 if rng.random() < 0.09 else 1),  # some fine nibs
        pressure=pressure,
        ink=Ink(
            level=7.35 + clipped_normal(rng, 0.8),
            grain=grain,
            grain_size=rng.uniform(0.5, 1.1),
            blur=rng.uniform(0.4, 0.75),
        ),
    )


def clipped_normal(rng: np.random.Generator, sigma: float) -> float:
    """Samples a normal deviate, clipped at two standard deviations so that no stroke goes too far astray."""
    return float(np.clip(rng.standard_normal(), -2, 2)) * sigma


def clipped_normals(rng: np.random.Generator, sigma: float, size: int | tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Samples several such deviates."""
    return np.clip(rng.standard_normal(size), -2, 2) * sigma


def _sample_pen(rng: np.random.Generator) -> tuple[float, float]:
    """Samples a pen's pressure and grain."""
    kind = rng.random()
    if kind < 0.35:  # ballpoint, fiber tip
        return rng.uniform(0, 0.25), rng.uniform(0, 0.12)
    if kind < 0.85:  # pencil
        return rng.uniform(0.1, 0.5), rng.uniform(0.06, 0.25)
    return rng.uniform(0.5, 1), rng.uniform(0, 0.1)  # brush pen
