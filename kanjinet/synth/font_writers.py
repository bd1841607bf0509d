"""Fonts as writers: glyphs as they are, thicker, thinner, or redrawn along their skeletons with another pen."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_CLASSES, NUM_HIRAGANA
from kanjinet.synth.fonts import GLYPH_SIDE, Font, draw_glyphs
from kanjinet.synth.glyph_table import read_glyph_table
from kanjinet.synth.strokes import WrittenStrokes, make_outlines
from kanjinet.synth.thinning import thin
from kanjinet.synth.writers import Writer

SHEET_FRACTION = 0.5  # of the sheets are by fonts, where there are any
_FONT_KEY = 1 << 16  # tells these random numbers from those of a sheet's strokes
_INK = 128  # a pixel with at least as much is ink
_SMALL_SIDE = GLYPH_SIDE // 2  # where skeletons are found
_SPUR_PIXELS = 4  # of these; branches up to this length are corners of broad strokes
_MIN_WIDTH, _MAX_WIDTH = 1.8, 8.0  # pixels of a cell: strokes are made no thinner, and no thicker than that
_NOISE_SIDE = 5  # values a side that the changing width of a pen is interpolated from
_NUM_MEASURED = 60  # characters whose size stands for all of a font's
_TOLERANCE = 0.7  # pixels of a glyph between its outline and the straight pieces that stand for it


class Way(Enum):
    """How a font writer uses the glyphs."""

    RAW = "raw"
    THICKER = "thicker"
    THINNER = "thinner"
    PEN = "pen"


@dataclass(frozen=True)
class FontWriter:
    """Represents one way to write with a font; how characters are bent, placed and inked is a Writer's."""

    font: Font
    way: Way
    amount: float  # thicker: by how much of the stroke's width; thinner: of the width what is left; pen: its pixels
    pressure: float  # of the pen: how far its width follows the glyph's own, 0-1
    unsteadiness: float  # standard deviation of the logarithm of that width along a character


def choose_font_writer(fonts: Sequence[Font], seed: int, key: tuple[int, ...]) -> FontWriter | None:
    """Chooses what a sheet is written with: a font and a way, each as likely as the others, or None for strokes.

    The choice depends on the seed and the sheet's key alone, so the sheets of strokes are the same as without fonts.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, _FONT_KEY)))
    if not fonts or rng.random() >= SHEET_FRACTION:
        return None
    font, way = fonts[int(rng.integers(len(fonts)))], tuple(Way)[int(rng.integers(len(Way)))]
    low, high = {Way.RAW: (0, 0), Way.THICKER: (0.15, 0.5), Way.THINNER: (0.4, 0.8), Way.PEN: (2.2, 6.0)}[way]
    amount = float(rng.uniform(low, high))
    return FontWriter(font, way, amount, pressure=0.6 * rng.random() ** 2, unsteadiness=0.2 * rng.random())


def draw_known_glyphs(
    font: Font, classes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Draws those of some characters (n,) that a font has: tells which they are (n,), and returns their glyphs.

    A blank glyph counts as missing.
    """
    has_glyph = font.file_of_class[classes] >= 0
    glyphs = draw_glyphs(font, classes[has_glyph])
    has_ink = glyphs.max(axis=(1, 2), initial=0) >= _INK
    has_glyph[has_glyph] = has_ink
    return has_glyph, glyphs[has_ink]


def write_outlines(
    glyphs: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    font_writer: FontWriter,
    writer: Writer,
    rng: np.random.Generator,
) -> WrittenStrokes:
    """Writes a font's glyphs (n, S, S) of characters (n,) as closed outlines in KanjiVG's units.

    They are as large, on the average, as KanjiVG's characters, and as centered.
    """
    is_kana = classes < NUM_HIRAGANA
    sizes = measure_font(font_writer.font)[np.where(is_kana, 0, 1)]  # (n, 3)
    pixels = 1 / (sizes[:, 0] * np.where(is_kana, writer.kana_scale, writer.kanji_scale))  # of glyphs, to one of cells
    outlines, cells = [], []
    for cell, glyph in enumerate(glyphs):
        shape = _change_shape(glyph, font_writer, float(pixels[cell]), rng)
        found = _trace_shape(shape)
        outlines += [(outline - sizes[cell, 1:]) * sizes[cell, 0] for outline in found]
        cells += [cell] * len(found)
    ink = np.exp(0.035 * rng.standard_normal(len(classes)))
    return make_outlines(outlines, ink[cells], np.array(cells, dtype=np.int64))


@functools.lru_cache(maxsize=64)
def measure_font(font: Font) -> npt.NDArray[np.float64]:
    """Measures a font's hiragana and kanji against KanjiVG's: (2, 3) units of a pixel, middle x and y in pixels."""
    table, sizes = read_glyph_table(), np.ones((2, 3))
    for row, (first, beyond) in enumerate(((0, NUM_HIRAGANA), (NUM_HIRAGANA, NUM_CLASSES))):
        known = first + np.flatnonzero(font.file_of_class[first:beyond] >= 0)
        if not len(known):
            continue
        chosen = known[np.linspace(0, len(known) - 1, min(_NUM_MEASURED, len(known))).astype(np.int64)]
        forms = table.form_of_class[chosen]
        ranges = zip(table.stroke_of_form[forms], table.stroke_of_form[forms + 1], strict=True)
        boxes = np.array([_find_box(table.points[start:end].reshape(-1, 2)) for start, end in ranges])
        drawn = [np.argwhere(glyph >= _INK)[:, ::-1] for glyph in draw_glyphs(font, chosen)]
        own_boxes = np.array([_find_box(points) for points in drawn if len(points)])
        if not len(own_boxes):
            continue
        units = np.median(np.ptp(boxes, axis=1).max(axis=1)) / np.median(np.ptp(own_boxes, axis=1).max(axis=1))
        sizes[row] = units, *(own_boxes.mean(axis=(0, 1)) - boxes.mean(axis=(0, 1)) / units)
    return sizes


def _find_box(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array([points.min(axis=0), points.max(axis=0)])


def _change_shape(
    glyph: npt.NDArray[np.uint8], font_writer: FontWriter, pixels: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Makes the shape that is written of a glyph, 1 on 0; a pixel of a cell is `pixels` of the glyph."""
    shape = (glyph >= _INK).astype(np.uint8)
    if font_writer.way is Way.RAW:
        return shape
    if font_writer.way is Way.THICKER:
        boundary = max(1, int(np.count_nonzero(shape != cv2.dilate(shape, np.ones((3, 3), np.uint8)))))
        width = 2 * int(shape.sum()) / boundary
        added = np.clip(_MAX_WIDTH * pixels - width, 0, font_writer.amount * width)
        return (cv2.distanceTransform(1 - shape, cv2.DIST_L2, 5) <= 0.5 * added).astype(np.uint8)
    small = (cv2.resize(glyph, (_SMALL_SIDE, _SMALL_SIDE), interpolation=cv2.INTER_AREA) >= _INK).astype(np.uint8)
    lines = thin(small, _SPUR_PIXELS)
    own = cv2.distanceTransform(small, cv2.DIST_L2, 5)
    if font_writer.way is Way.THINNER:
        radius = own * font_writer.amount
    else:
        mean = float(own[lines > 0].mean()) if lines.any() else 1.0
        noise = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE)) * font_writer.unsteadiness
        smooth = cv2.resize(noise, (_SMALL_SIDE, _SMALL_SIDE), interpolation=cv2.INTER_CUBIC)
        pressed = np.maximum(own / mean, 0.3) ** font_writer.pressure
        radius = 0.25 * font_writer.amount * pixels * np.exp(smooth) * pressed
    distance, nearest = cv2.distanceTransformWithLabels(1 - lines, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    radii = np.zeros(int(nearest.max()) + 1)
    radii[nearest[lines > 0]] = radius[lines > 0]
    reach = (np.maximum(radii, 0.25 * _MIN_WIDTH * pixels)[nearest] - distance).astype(np.float32)
    return (cv2.resize(reach, glyph.shape, interpolation=cv2.INTER_LINEAR) >= 0).astype(np.uint8)


def _trace_shape(shape: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float64]]:
    """Traces the outlines of a shape, and the other way round those of its holes, each (k, 2) in pixels."""
    # The outlines run through the middles of pixels; of a shape that is a pixel larger, they are those of the shape.
    larger = cv2.dilate(shape, np.ones((2, 2), np.uint8), anchor=(0, 0))
    found, _ = cv2.findContours(larger, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    outlines = [cv2.approxPolyDP(outline, _TOLERANCE, True)[::-1, 0] for outline in found]
    return [outline.astype(np.float64) for outline in outlines if len(outline) >= 3]
