"""Fonts as writers: glyphs as they are, thicker, thinner, or redrawn along their skeletons with another pen."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import NUM_CLASSES, NUM_HIRAGANA
from kanjinet.synth.fonts import GLYPH_SIDE, Font, draw_glyphs
from kanjinet.synth.glyph_table import read_glyph_table
from kanjinet.synth.repertoire import IS_KANA, WITH_STROKES
from kanjinet.synth.strokes import WrittenStrokes, make_outlines
from kanjinet.synth.thinning import thin
from kanjinet.synth.writers import Writer

SHEET_FRACTION = 0.5  # of the sheets are by fonts, where there are any; of letters and digits, by fonts of these alone
_FONT_KEY = 1 << 16  # tells these random numbers from those of a sheet's strokes
_SPUR_PIXELS = 3  # of a glyph at half its size; branches up to this length are corners of broad strokes
_MIN_HOLE = 7  # pixels of a cell; a hole that is as large stays so
_NARROWEST = 0.35  # of a width, if a hole would be filled
_MIN_WIDTH, _MAX_WIDTH = 1.8, 6.5  # pixels of a cell: strokes are made no thinner, and no thicker than that
_NOISE_SIDE = 5  # values a side that the changing width of a pen is interpolated from
_NUM_MEASURED = 30  # characters whose size stands for all of a font's
_TOLERANCE = 0.7  # pixels of a glyph between its outline and the straight pieces that stand for it

_Image = npt.NDArray[np.uint8]


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


def choose_font_writers(fonts: Sequence[Font], seed: int, key: tuple[int, ...]) -> tuple[FontWriter, ...]:
    """Chooses what a sheet is written with; what none of them has is for strokes.

    For letters and digits that is, on some sheets, a font without kana and kanji; for all others, on other sheets, one
    of the other fonts. Each font is as likely as the others of its sort, and each way.
    The choice depends on the seed and the sheet's key alone, so the sheets of strokes are the same as without fonts.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, _FONT_KEY)))
    full = [font for font in fonts if (font.file_of_character[:NUM_CLASSES] >= 0).any()]
    chosen = _choose_font_writer(full, rng), _choose_font_writer([font for font in fonts if font not in full], rng)
    return tuple(filter(None, reversed(chosen)))


def _choose_font_writer(fonts: Sequence[Font], rng: np.random.Generator) -> FontWriter | None:
    if not fonts or rng.random() >= SHEET_FRACTION:
        return None
    font, way = fonts[int(rng.integers(len(fonts)))], tuple(Way)[int(rng.integers(len(Way)))]
    low, high = {Way.RAW: (0, 0), Way.THICKER: (0.1, 0.4), Way.THINNER: (0.4, 0.8), Way.PEN: (2.2, 6.0)}[way]
    amount = float(rng.uniform(low, high))
    return FontWriter(font, way, amount, pressure=0.6 * rng.random() ** 2, unsteadiness=0.2 * rng.random())


def draw_known_glyphs(
    font: Font, numbers: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Draws those of some characters (n,) that a font has: tells which they are (n,), and returns their glyphs.

    A blank glyph counts as missing.
    """
    has_glyph = font.file_of_character[numbers] >= 0
    glyphs = draw_glyphs(font, numbers[has_glyph])
    has_ink = glyphs.any(axis=(1, 2))
    has_glyph[has_glyph] = has_ink
    return has_glyph, glyphs[has_ink]


def write_outlines(
    glyphs: _Image,
    numbers: npt.NDArray[np.int64],
    font_writer: FontWriter,
    writer: Writer,
    rng: np.random.Generator,
) -> WrittenStrokes:
    """Writes a font's glyphs (n, S, S) of characters (n,) as closed outlines in KanjiVG's units.

    They are as large, on the average, as KanjiVG's characters, and as centered.
    """
    is_kana = IS_KANA[numbers]
    sizes = measure_font(font_writer.font)[np.where(is_kana, 0, 1)]  # (n, 3)
    pixels = 1 / (sizes[:, 0] * np.where(is_kana, writer.kana_scale, writer.kanji_scale))  # of glyphs, to one of cells
    skeletons: Iterable[_Image | None] = itertools.repeat(None)
    if font_writer.way in (Way.THINNER, Way.PEN):
        skeletons = thin(np.array([_shrink(glyph) for glyph in glyphs]), _SPUR_PIXELS)
    outlines, cells = [], []
    for cell, (glyph, lines) in enumerate(zip(glyphs, skeletons, strict=False)):
        rows, columns = _find_part(glyph, 2 + math.ceil(_MAX_WIDTH * pixels[cell] / 2))
        part = slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
        shape = glyph[rows, columns]
        if font_writer.way is Way.THICKER:
            shape = _broaden(shape & 1, font_writer, float(pixels[cell]))
        elif lines is not None and lines.any():
            shape = _redraw(_shrink(shape), lines[part], font_writer, float(pixels[cell]) / 2, rng)
        middle = sizes[cell, 1:] - [columns.start, rows.start]
        found = _trace_shape(shape)
        outlines += [(outline - middle) * sizes[cell, 0] for outline in found]
        cells += [cell] * len(found)
    ink = np.exp(0.035 * rng.standard_normal(len(numbers)))
    return make_outlines(outlines, ink[cells], np.array(cells, dtype=np.int64))


def _find_part(glyph: _Image, margin: int) -> tuple[slice, slice]:
    """Finds the rows and columns of a glyph's ink, and at least so many more round them; even numbers."""
    left, top, width, height = cv2.boundingRect(glyph)
    ranges = ((top - margin, top + height + margin), (left - margin, left + width + margin))
    rows, columns = (slice(max(0, a // 2 * 2), min(GLYPH_SIDE, -(-b // 2) * 2)) for a, b in ranges)
    return rows, columns


def _shrink(glyph: _Image) -> _Image:
    """Shrinks a glyph to half its size, 1 on 0."""
    small = cv2.resize(glyph, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return (small >= 128).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def measure_font(font: Font) -> npt.NDArray[np.float64]:
    """Measures a font's hiragana and kanji against KanjiVG's: (2, 3) units of a pixel, middle x and y in pixels.

    Of those that it lacks, the measures are the others'; of a font without either, those of all that it has.
    """
    table, sizes = read_glyph_table(), np.full((2, 3), np.nan)
    numbers = np.arange(WITH_STROKES[-1])
    rows = [numbers[:NUM_HIRAGANA], numbers[NUM_HIRAGANA:NUM_CLASSES]]
    if (font.file_of_character[:NUM_CLASSES] < 0).all():
        table, rows = read_glyph_table(numbers), [numbers]
    for row, members in enumerate(rows):
        known = members[font.file_of_character[members] >= 0]
        if not len(known):
            continue
        # To open a file takes longer than to draw its characters.
        chosen = known[np.argsort(font.file_of_character[known], kind="stable")][:_NUM_MEASURED]
        forms = table.form_of_class[chosen]
        ranges = zip(table.stroke_of_form[forms], table.stroke_of_form[forms + 1], strict=True)
        boxes = np.array([_find_box(table.points[start:end].reshape(-1, 2)) for start, end in ranges])
        parts = [cv2.boundingRect(glyph) for glyph in draw_glyphs(font, chosen) if glyph.any()]
        if not parts:
            continue
        own_boxes = np.array([[[x, y], [x + width, y + height]] for x, y, width, height in parts])
        units = np.median(np.ptp(boxes, axis=1).max(axis=1)) / np.median(np.ptp(own_boxes, axis=1).max(axis=1))
        sizes[row] = units, *(own_boxes.mean(axis=(0, 1)) - boxes.mean(axis=(0, 1)) / units)
    return np.where(np.isnan(sizes), sizes[::-1], sizes)


def _find_box(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array([points.min(axis=0), points.max(axis=0)])


def _broaden(shape: _Image, font_writer: FontWriter, pixels: float) -> _Image:
    """Makes the strokes of a shape thicker; a pixel of a cell is `pixels` of the shape."""
    boundary = max(1, int(np.count_nonzero(shape != cv2.dilate(shape, np.ones((3, 3), np.uint8)))))
    width = 2 * int(np.count_nonzero(shape)) / boundary
    added = np.clip(_MAX_WIDTH * pixels - width, 0, font_writer.amount * width)
    distance = cv2.distanceTransform(1 - shape, cv2.DIST_L2, 5) - 0.5
    return (_choose_reach(lambda factor: 0.5 * factor * added - distance, shape, pixels) >= 0).astype(np.uint8)


def _redraw(shape: _Image, lines: _Image, font_writer: FontWriter, pixels: float, rng: np.random.Generator) -> _Image:
    """Draws a shape's skeleton with another pen, twice as large; a pixel of a cell is `pixels` of the shape."""
    places = np.nonzero(lines)
    own = cv2.distanceTransform(shape, cv2.DIST_L2, 3)[places]
    if font_writer.way is Way.THINNER:
        radius = own * font_writer.amount
    else:
        noise = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE)) * font_writer.unsteadiness
        smooth = cv2.resize(noise, lines.shape[::-1], interpolation=cv2.INTER_CUBIC)[places]
        pressed = np.maximum(own / own.mean(), 0.3) ** font_writer.pressure
        radius = 0.5 * font_writer.amount * pixels * np.exp(smooth) * pressed
    distance, nearest = cv2.distanceTransformWithLabels(1 - lines, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    radii = np.zeros(len(radius) + 1)

    def find_reach(factor: float) -> npt.NDArray[np.float64]:
        radii[nearest[places]] = np.clip(factor * radius, 0.5 * _MIN_WIDTH * pixels, 0.5 * _MAX_WIDTH * pixels)
        return radii[nearest] - distance

    reach = _choose_reach(find_reach, lines, pixels)
    return (cv2.resize(reach, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) >= 0).astype(np.uint8)


def _choose_reach(
    find_reach: Callable[[float], npt.NDArray[np.float64]], lines: _Image, pixels: float
) -> npt.NDArray[np.float64]:
    """Chooses how far ink reaches from lines: less than at 1 where a hole in them would be filled; inked from 0 on."""
    count, holes = cv2.connectedComponents(1 - lines, connectivity=4)
    min_area = _MIN_HOLE * pixels**2

    def find_open(reach: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return (np.bincount(holes[reach < 0], minlength=count) >= min_area)[1:]

    widest = find_reach(1)
    if find_open(widest).all():
        return widest
    narrowest = find_reach(_NARROWEST)
    is_hole = find_open(narrowest)
    between = map(find_reach, (0.7, 0.5))
    return next((reach for reach in (widest, *between) if find_open(reach)[is_hole].all()), narrowest)


def _trace_shape(shape: _Image) -> list[npt.NDArray[np.float64]]:
    """Traces the outlines of a shape, and the other way round those of its holes, each (k, 2) in pixels."""
    # The outlines run through the middles of pixels; of a shape that is a pixel larger, they are those of the shape.
    larger = cv2.dilate(shape, np.ones((2, 2), np.uint8), anchor=(0, 0))
    found, _ = cv2.findContours(larger, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [cv2.approxPolyDP(outline, _TOLERANCE, True)[::-1, 0] for outline in found]
    return [outline.astype(np.float64) for outline in outlines if len(outline) >= 3]
