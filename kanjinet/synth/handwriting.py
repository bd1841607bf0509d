"""Sheets of handwriting: a writer's strokes become the cells of a sheet."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kanjinet.synth.distortion import distort_strokes, place_characters
from kanjinet.synth.font_writers import FontWriter, draw_known_glyphs, write_outlines
from kanjinet.synth.glyph_table import FORMS, GlyphTable, StrokeEnding, read_glyph_table
from kanjinet.synth.joins import Joins, join_strokes, round_joins, swap_strokes
from kanjinet.synth.neighbors import add_fragments
from kanjinet.synth.rasterizer import rasterize, rasterize_outlines, trace_strokes
from kanjinet.synth.strokes import ALONG, SheetStrokes, WrittenStrokes, concatenate_outlines, concatenate_strokes
from kanjinet.synth.writers import KANA_WIDTH, Writer

GENERATOR_VERSION = "writers-5"  # changes whenever the same seed gives other bytes


def write_sheet(
    numbers: npt.NDArray[np.int64],
    writer: Writer,
    rng: np.random.Generator,
    *,
    with_fragments: bool = True,
    font_writers: Sequence[FontWriter] = (),
) -> npt.NDArray[np.uint8]:
    """Writes one sheet in one handwriting style.

    Args:
        numbers: (n,) of the repertoire, in the order of the sheet, 16 a row.
        writer: the style.
        rng: what varies from character to character.
        with_fragments: let neighbors reach into cells, as in ETL9G.
        font_writers: whose glyphs stand in place of strokes: those of the first that has the character.

    Returns:
        (n, 127, 128) uint8 ink levels, 0-15.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged, or a font is.
    """
    if font_writers:
        strokes = _write_with_fonts(numbers, font_writers, writer, rng)
    else:
        strokes = write_strokes(numbers, writer, rng)
    if with_fragments:
        strokes = add_fragments(strokes, numbers, rng)
    return (rasterize_outlines if font_writers else rasterize)(strokes, len(numbers), writer.ink, rng)


def _write_with_fonts(
    numbers: npt.NDArray[np.int64], font_writers: Sequence[FontWriter], writer: Writer, rng: np.random.Generator
) -> WrittenStrokes:
    """Writes characters with fonts, those that these lack with strokes; returns the outlines of all."""
    has_glyph, parts = write_glyphs(numbers, numbers, font_writers, writer, rng)
    if not has_glyph.all():
        part = trace_strokes(write_strokes(numbers[~has_glyph], writer, rng))
        parts.append(replace(part, cells=np.flatnonzero(~has_glyph)[part.cells]))
    return concatenate_outlines(parts)


def write_glyphs(
    numbers: npt.NDArray[np.int64],
    written_as: npt.NDArray[np.int64],
    font_writers: Sequence[FontWriter],
    writer: Writer,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.bool_], list[WrittenStrokes]]:
    """Writes those characters that some font has.

    Args:
        numbers: (n,) of the characters, in the repertoire.
        written_as: (n,) those that they are written like, as large and as freely.
        font_writers: the fonts, the first that has a character writing it, and how their glyphs are used.
        writer: the style.
        rng: what varies from character to character.

    Returns:
        Which they are (n,), and their outlines, the cells being places in `numbers`; none where no font has any.
    """
    is_written, parts = np.zeros(len(numbers), dtype=np.bool_), []
    for font_writer in font_writers:
        left = np.flatnonzero(~is_written)
        has_glyph, glyphs = draw_known_glyphs(font_writer.font, numbers[left])
        if not has_glyph.any():
            continue
        cells = left[has_glyph]
        part = write_outlines(glyphs, written_as[cells], font_writer, writer, rng)
        part = replace(part, points=place_characters(part.points, part.cells, written_as[cells], writer, rng))
        parts.append(replace(part, cells=cells[part.cells]))
        is_written[cells] = True
    return is_written, parts


def write_strokes(numbers: npt.NDArray[np.int64], writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Writes the strokes of characters, one character a cell, without what comes from neighboring cells."""
    table = read_glyph_table(numbers)
    return write_forms(SheetStrokes.of_forms(table, numbers, _choose_forms(table, numbers, writer, rng)), writer, rng)


def write_forms(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Writes the strokes of chosen forms, of any table; how, of hiragana or of kanji, is as their numbers say."""
    distort_strokes(strokes, writer, rng)
    swap_strokes(strokes, writer, rng)
    joins = join_strokes(strokes, writer, rng)
    round_joins(strokes, joins, writer, rng)
    written = _add_joins(_apply_pen(strokes, writer, rng), joins, writer, rng)
    return replace(written, points=place_characters(written.points, written.cells, strokes.numbers, writer, rng))


def _choose_forms(
    table: GlyphTable, numbers: npt.NDArray[np.int64], writer: Writer, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Chooses a form of each character (n,) by the writer's weights."""
    firsts = table.form_of_class[numbers]
    counts = table.form_of_class[numbers + 1] - firsts
    candidates = firsts[:, None] + np.arange(len(FORMS))
    exists = np.arange(len(FORMS)) < counts[:, None]
    weights = writer.form_weights[table.form_kind[np.where(exists, candidates, 0)]] * exists
    sums = np.cumsum(weights, axis=1)
    return firsts + np.sum(sums < rng.random((len(numbers), 1)) * sums[:, -1:], axis=1)


def _apply_pen(strokes: SheetStrokes, writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Gives each stroke its widths, by how it ends, and its ink."""
    count, cells, is_kana = len(strokes.cells), strokes.cells, strokes.is_kana
    shapes = np.ones((len(StrokeEnding), len(ALONG)))
    shapes[:] = 1.08 - 0.25 * np.sin(np.pi * ALONG)  # pressed at both ends
    shapes[StrokeEnding.SWEEP] = 1.15 - 0.85 * ALONG**1.5
    shapes[StrokeEnding.SPREADING_SWEEP] = 0.7 + 0.75 * np.sin(np.pi * ALONG**2) - 0.4 * ALONG**6
    shapes[StrokeEnding.DOT] = 0.55 + 0.65 * ALONG
    shapes[StrokeEnding.HOOKED] = 1.1 - 0.2 * np.sin(np.pi * ALONG) - 0.55 * ALONG**8
    shape = shapes[strokes.table.ending[strokes.rows]]
    shape[is_kana] = 1.1 - 0.4 * ALONG**3
    pressure = np.clip(writer.pressure * rng.uniform(0.6, 1.4, (count, 1)), 0, 1.1)
    character_width = np.exp(0.05 * rng.standard_normal(strokes.num_cells))[cells]
    stroke_width = character_width * np.exp(0.05 * rng.standard_normal(count))
    stroke_width *= np.where(is_kana, KANA_WIDTH, 1)
    half_widths = 0.5 * writer.pen_width * stroke_width[:, None] * (1 + pressure * (shape - 1))
    ink = np.exp(0.035 * rng.standard_normal(strokes.num_cells))[cells] * np.exp(0.04 * rng.standard_normal(count))
    return WrittenStrokes(strokes.points, np.maximum(half_widths, 0.5), ink, cells)


def _add_joins(strokes: WrittenStrokes, joins: Joins, writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Adds the joins, thinner and fainter than strokes, and sorts by cell."""
    thinness = rng.uniform(0.45, 0.8, (len(joins.after), 1)) * (1 - 0.35 * np.sin(np.pi * ALONG))
    ink = strokes.ink[joins.after] * rng.uniform(0.6, 1, len(joins.after))
    joined = WrittenStrokes(joins.points, thinness * 0.5 * writer.pen_width, ink, strokes.cells[joins.after])
    together = concatenate_strokes([strokes, joined])
    return together.take(np.argsort(together.cells, kind="stable"))
