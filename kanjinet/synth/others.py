"""Images of none of a set's characters, by the same simulated writers: other characters, scribbles, clicks."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CLASS_OF_CHARACTER, ETL9G_SET, NUM_CLASSES, CharacterSet
from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.font_writers import FontWriter
from kanjinet.synth.glyph_table import POINTS_PER_STROKE, GlyphTable, make_table
from kanjinet.synth.handwriting import write_forms, write_glyphs
from kanjinet.synth.kanjivg import file_name, find_kanjivg_folder, read_svg
from kanjinet.synth.other_characters import FREQUENT_OTHERS, Kind, list_others
from kanjinet.synth.rasterizer import rasterize_outlines, trace_strokes
from kanjinet.synth.repertoire import NUMBER_OF
from kanjinet.synth.strokes import ALONG, SheetStrokes, WrittenStrokes, concatenate_outlines
from kanjinet.synth.writers import Writer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FRACTIONS = {
    **{Kind.KATAKANA: 0.23, Kind.DIGITS: 0.12, Kind.LATIN: 0.14, Kind.SIGNS: 0.06, Kind.JOYO: 0.1, Kind.KANJI: 0.22},
    **{Kind.SCRIBBLES: 0.07, Kind.CLICKS: 0.02, Kind.VERTICAL: 0.02, Kind.SLOPING: 0.02},
}
_KINDS = tuple(Kind)
# How others are written: those of a few strokes as freely as hiragana, kanji as kanji.
_AS_HIRAGANA, _AS_KANJI = CLASS_OF_CHARACTER["あ"], NUM_CLASSES - 1


@functools.lru_cache(maxsize=2)
def read_other_glyphs(character_set: CharacterSet = ETL9G_SET) -> tuple[GlyphTable, str, dict[Kind, range]]:
    """Reads the strokes of all other characters than a set's, once a process.

    Returns:
        Their table, the characters in its order, and where those of each kind are that has some.
    """
    folder, characters, places = find_kanjivg_folder(), "", {}
    for kind, members in list_others(character_set).items():
        if members:
            places[kind] = range(len(characters), len(characters) + len(members))
            characters += members
    glyphs = [read_svg(folder / file_name(character)) for character in characters]
    return make_table(glyphs, [0] * len(glyphs), list(range(len(glyphs) + 1))), characters, places


def write_others(
    kinds: Iterable[Kind],
    writer: Writer,
    rng: np.random.Generator,
    font_writers: Sequence[FontWriter] = (),
    character_set: CharacterSet = ETL9G_SET,
) -> npt.NDArray[np.uint8]:
    """Writes one image of each kind: (n, 127, 128) uint8 ink levels, 0-15.

    Args:
        kinds: n of them.
        writer: the style.
        rng: what varies from image to image.
        font_writers: whose glyphs stand in place of strokes: those of the first that has the character.
        character_set: of whose characters none is shown.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged, or a font is.
    """
    table, characters, places = read_other_glyphs(character_set)
    members = tuple(kinds)
    forms = np.array([rng.choice(places[kind]) if kind in places else -1 for kind in members])
    written_as = np.array([_AS_KANJI if kind in (Kind.JOYO, Kind.KANJI) else _AS_HIRAGANA for kind in members])
    by_strokes = forms >= 0
    outlines: list[WrittenStrokes] = []
    if font_writers:
        by_fonts = "".join(FREQUENT_OTHERS.values())
        numbers = np.array([NUMBER_OF[each] if each in by_fonts else -1 for each in characters] + [-1])[forms]
        cells = np.flatnonzero(numbers >= 0)
        has_glyph, outlines = write_glyphs(numbers[cells], written_as[cells], font_writers, writer, rng)
        outlines = [replace(part, cells=cells[part.cells]) for part in outlines]
        by_strokes[cells[has_glyph]] = False
    strokes = [
        _write_lines(_DRAW[members[cell]](rng), cell, writer, rng) for cell in np.flatnonzero(forms < 0).tolist()
    ]
    if (cells := np.flatnonzero(by_strokes)).size:
        part = write_forms(SheetStrokes.of_forms(table, written_as[cells], forms[cells]), writer, rng)
        strokes.append(replace(part, cells=cells[part.cells]))
    together = concatenate_outlines([*outlines, *map(trace_strokes, strokes)])
    return rasterize_outlines(together, len(members), writer.ink, rng)


def list_kinds(character_set: CharacterSet = ETL9G_SET) -> list[Kind]:
    """Lists the kinds of images that show none of a set's characters: no line where it may be a 1 or a ノ."""
    others, has_lines = list_others(character_set), "1" in character_set.class_of_character
    drawn = (Kind.SCRIBBLES, Kind.CLICKS) if has_lines else _DRAW
    return [kind for kind in _KINDS if others.get(kind, kind in drawn)]


def choose_kinds(count: int, rng: np.random.Generator, character_set: CharacterSet = ETL9G_SET) -> list[Kind]:
    """Chooses the kinds of images to train with: those that show none of a set's characters."""
    kinds = list_kinds(character_set)
    fractions = np.array([_FRACTIONS[kind] * (kind in kinds) for kind in _KINDS])
    if len(kinds) < len(_KINDS):
        fractions /= fractions.sum()
    return [_KINDS[number] for number in rng.choice(len(_KINDS), count, p=fractions)]


def _write_lines(lines: list[Floats], cell: int, writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Writes lines, (k, 2) points in pixels from a cell's middle, each as strokes of POINTS_PER_STROKE points."""
    strokes = np.concatenate([_divide_line(line) for line in lines]) + [CELL_WIDTH / 2, CELL_HEIGHT / 2]
    is_dot = np.ptp(strokes, axis=(0, 1)).max() < writer.pen_width
    width = writer.pen_width * np.exp(0.1 * rng.standard_normal((len(strokes), 1)))
    width *= rng.uniform(1, 8) if is_dot else 1  # as large as one is in an image of the dot alone
    pressed = 1 - 0.5 * writer.pressure * rng.random((len(strokes), 1)) * ALONG
    return WrittenStrokes(strokes, 0.5 * width * pressed, np.ones(len(strokes)), np.full(len(strokes), cell))


def _divide_line(line: Floats) -> Floats:
    """Divides a line (k, 2) into strokes (s, 32, 2) that join end to start."""
    along = np.cumsum([0, *np.hypot(*np.diff(line, axis=0).T)])
    count = int(np.ceil(along[-1] / 120)) or 1
    at = np.linspace(0, along[-1], count * (POINTS_PER_STROKE - 1) + 1)
    points = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=-1)
    firsts = np.arange(count)[:, None] * (POINTS_PER_STROKE - 1)
    return points[firsts + np.arange(POINTS_PER_STROKE)]


def _draw_click(rng: np.random.Generator) -> list[Floats]:
    """Draws a dot, or what a click leaves where the pen moves a little."""
    start = rng.uniform(-25, 25, 2)
    return [np.array([start, start + rng.normal(0, rng.choice([0.1, 1.2]), 2)])]


def _draw_vertical(rng: np.random.Generator) -> list[Floats]:
    return [_draw_line(rng, rng.normal(0, 0.06))]


def _draw_sloping(rng: np.random.Generator) -> list[Floats]:
    """Draws a line that leans, but not so far that it might be 一."""
    return [_draw_line(rng, rng.choice([-1, 1]) * rng.uniform(0.15, 1.1))]


def _draw_line(rng: np.random.Generator, angle: float) -> Floats:
    """Draws a line at an angle to the vertical, so straight that it is no く, し or つ."""
    length, bow = rng.uniform(25, 105), rng.normal(0, 0.015)
    y = np.linspace(-0.5, 0.5, POINTS_PER_STROKE)
    x = bow * (1 - 4 * y * y) + rng.normal(0, 0.004) * np.sin(rng.uniform(4, 12) * y)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return length * np.stack([x, y], axis=-1) @ turn.T + rng.uniform(-8, 8, 2)


def _draw_scribble(rng: np.random.Generator) -> list[Floats]:
    """Draws random strokes, a zigzag, a coil, a crossing-out, a ring or a wave, turned by some angle."""
    ways = (_draw_random_strokes, _draw_zigzag, _draw_coil, _draw_crossing_out, _draw_wave)
    draw = ways[int(rng.integers(len(ways)))]
    angle, size = rng.uniform(-np.pi, np.pi), rng.uniform(25, 52, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [np.clip((line * size) @ turn.T, -58, 58) for line in draw(rng)]


def _draw_random_strokes(rng: np.random.Generator) -> list[Floats]:
    """Draws three strokes or more: some straight, some curved at random."""
    return [_smooth_through(rng.uniform(-1, 1, (rng.integers(2, 7), 2))) for _ in range(rng.integers(3, 14))]


def _draw_zigzag(rng: np.random.Generator) -> list[Floats]:
    turns = int(rng.integers(5, 16))
    line = np.stack([np.linspace(-1, 1, turns), np.where(np.arange(turns) % 2, 1.0, -1.0)], axis=-1)
    return [line + rng.normal(0, 0.12, line.shape)]


def _draw_coil(rng: np.random.Generator) -> list[Floats]:
    """Draws loops that advance, or a spiral; with little of both, rings on top of each other."""
    at = np.linspace(0, 2 * np.pi * rng.uniform(1, 8), 200)
    radius = 1 - rng.choice([0, rng.uniform(0, 0.9)]) * at / at[-1]
    loops = np.stack([np.cos(at), np.sin(at)], axis=-1) * radius[:, None]
    loops[:, 0] += rng.choice([0, rng.uniform(0.5, 3)]) * (at / at[-1] - 0.5)
    return [loops + 0.05 * rng.standard_normal(2) * np.sin(at[:, None] * rng.uniform(0.3, 1.3))]


def _draw_crossing_out(rng: np.random.Generator) -> list[Floats]:
    """Draws several near-parallel lines, or two such groups across each other."""
    count = int(rng.integers(4, 10))
    ends = np.stack([np.linspace(-1, 1, count), np.full(count, 1.0)], axis=-1)
    lines = [np.array([end * [1, -1], end]) + rng.normal(0, 0.1, (2, 2)) for end in ends]
    return lines + [line[:, ::-1] for line in lines] * int(rng.integers(2))


def _draw_wave(rng: np.random.Generator) -> list[Floats]:
    x = np.linspace(-1, 1, 120)
    y = rng.uniform(0.2, 0.8) * np.sin(np.pi * rng.uniform(3, 9) * x) * rng.uniform(0.7, 1.3, 1)
    return [np.stack([x, y + rng.normal(0, 0.2) * x * x], axis=-1)]


def _smooth_through(points: Floats) -> Floats:
    """Rounds the corners of a line (k, 2): every point between is a quadratic curve's control point."""
    middles = np.concatenate([points[:1], (points[1:-1] + points[2:]) / 2, points[-1:]]) if len(points) > 2 else points
    curves, at = [], np.linspace(0, 1, 12)[:, None]
    for start, control, end in zip(middles[:-1], points[1:-1], middles[1:], strict=False):
        curves.append((1 - at) ** 2 * start + 2 * at * (1 - at) * control + at**2 * end)
    return np.concatenate(curves) if curves else points


_DRAW: dict[Kind, Callable[[np.random.Generator], list[Floats]]] = {
    Kind.SCRIBBLES: _draw_scribble,
    Kind.CLICKS: _draw_click,
    Kind.VERTICAL: _draw_vertical,
    Kind.SLOPING: _draw_sloping,
}
