"""The rasterizer against areas known from geometry; writers against ETL9G's measured cells."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from measure_cells import PERCENTILES, format_table, measure_cells

from kanjinet.classes import CHARACTERS, CLASS_OF_CHARACTER, NUM_CLASSES, NUM_HIRAGANA
from kanjinet.synth.further_allographs import FURTHER_ALLOGRAPHS
from kanjinet.synth.glyph_table import (
    FORMS,
    FREE_END,
    POINTS_PER_STROKE,
    StrokeEnding,
    read_glyph_table,
)
from kanjinet.synth.handwriting import _choose_forms, write_sheet, write_strokes
from kanjinet.synth.kanjivg import VIEW_BOX, read_glyph
from kanjinet.synth.rasterizer import MARGIN, fill_outlines, trace_outlines
from kanjinet.synth.repertoire import NUMBER_OF, WITH_STROKES
from kanjinet.synth.sheets import Sample, make_contact_sheet
from kanjinet.synth.writers import KANA_WIDTH, sample_writer


@pytest.fixture(scope="module")
def glyph_table():
    return read_glyph_table()


def _line(start, end):
    return np.linspace(start, end, POINTS_PER_STROKE)


def _cover(points, half_width, cells=None, num_cells=1):
    points = np.array(points, dtype=float)
    outlines = trace_outlines(points, np.full(points.shape[:2], float(half_width)))
    cells = np.zeros(len(points), dtype=np.int64) if cells is None else np.array(cells)
    covered = fill_outlines(outlines, cells, np.ones(len(points)), num_cells)
    return covered[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.mark.parametrize(("start", "end"), [((20, 30), (80, 30)), ((20, 30), (20, 90)), ((90, 90), (30.3, 20.7))])
def test_a_straight_stroke_covers_its_area(start, end):
    covered = _cover([_line(start, end)], 2.5)
    length = np.hypot(end[0] - start[0], end[1] - start[1])
    assert covered.sum() == pytest.approx(length * 5 + np.pi * 2.5**2, rel=0.02)
    assert covered.min() == pytest.approx(0, abs=1e-5)
    assert covered.max() == pytest.approx(1, abs=1e-5)


def test_a_straight_stroke_lies_where_it_was_drawn():
    covered = _cover([_line((20, 30), (80, 30))], 2)[0]  # pixel (r, c) is the square r...r+1, c...c+1
    assert covered[28:32, 25:75] == pytest.approx(1, abs=1e-5)
    assert covered[27, 25:75] == pytest.approx(0, abs=1e-5)
    assert covered[32, 25:75] == pytest.approx(0, abs=1e-5)


def test_a_loop_that_crosses_itself_has_no_holes():
    t = np.linspace(0, 2 * np.pi, POINTS_PER_STROKE)
    eight = np.stack([64 + 25 * np.sin(t), 64 + 25 * np.sin(2 * t)], axis=-1)
    covered = _cover([eight], 4)[0]
    assert covered[62:66, 62:66].min() > 0.99  # the crossing
    assert covered[64, 64 + 18 : 64 + 24].max() < 1.9  # and no more than two layers anywhere near


def test_a_sharp_corner_has_no_hole():
    corner = np.concatenate([np.linspace((20, 20), (60, 20), 16), np.linspace((60, 22), (60, 70), 16)])
    covered = _cover([corner], 3)[0]
    assert covered[20, 30:60].min() > 0.99
    assert covered[25:60, 60].min() > 0.99


def test_strokes_stay_in_their_cells_and_are_cut_at_the_edge():
    covered = _cover([_line((-30, 60), (200, 60)), _line((64, -40), (64, 300))], 2, cells=[0, 2], num_cells=3)
    assert covered[0].sum() == pytest.approx(128 * 4, rel=1e-3)
    assert covered[1].max() == pytest.approx(0, abs=1e-5)
    assert covered[2].sum() == pytest.approx(127 * 4, rel=1e-3)


def test_the_table_holds_every_form(glyph_table):
    for character in "あ田亜辻鴬":
        index = CLASS_OF_CHARACTER[character]
        first, end = glyph_table.form_of_class[index : index + 2]
        names = [FORMS[kind] for kind in glyph_table.form_kind[first:end]]
        assert names[0] == ""
        assert ("JIS78" in names) == (character == "鴬")
        main = glyph_table.points[glyph_table.stroke_of_form[first] : glyph_table.stroke_of_form[first + 1]] + 54.5
        glyph = read_glyph(character)
        assert main[:, 0] == pytest.approx(np.array([stroke.curves[0, 0] for stroke in glyph.strokes]))
        assert main[:, -1] == pytest.approx(np.array([stroke.curves[-1, 3] for stroke in glyph.strokes]))


def test_so_has_a_form_with_a_dot_on_top(glyph_table):
    for character, strokes in (("そ", (1, 2)), ("ぞ", (3, 4))):
        first, end = glyph_table.form_of_class[CLASS_OF_CHARACTER[character] :][:2]
        assert np.diff(glyph_table.stroke_of_form[first : end + 1]).tolist() == list(strokes)


def test_strokes_of_hasty_writers_change_places_within_their_cells_only():
    classes = np.array([CLASS_OF_CHARACTER[character] for character in "永はき田"])
    careful = replace(sample_writer(np.random.default_rng(0)), swap_rate=0, join_rate=0, kana_join_rate=0, flick_rate=0)

    def middles(writer):
        return write_strokes(classes, writer, np.random.default_rng(1)).points.mean(axis=1).round(6)

    usual, swapped = middles(careful), middles(replace(careful, swap_rate=1))
    assert len(usual) == len(swapped) == 17
    differs = (usual != swapped).any(axis=1)
    assert differs[:5].any() and differs[12:].any() and not differs[5:12].any()  # kanji, and no hiragana


def test_flicks_point_to_the_next_stroke_of_a_hiragana():
    classes = np.array([CLASS_OF_CHARACTER["こ"]])
    careful = replace(sample_writer(np.random.default_rng(0)), join_rate=0, kana_join_rate=0, flick_rate=1)
    strokes = write_strokes(classes, careful, np.random.default_rng(1))
    upper, lower, flick = strokes.points
    gap, way = lower[0] - upper[-1], flick[-1] - flick[0]
    assert flick[0] == pytest.approx(upper[-1])
    assert 0 < way @ gap < 0.5 * gap @ gap


def test_older_forms_are_outside_the_classes():
    from kanjinet.synth.glyph_table import _JIS78_FORMS

    assert len(_JIS78_FORMS) == 25  # 22 pairs of 1983, and three of four more; 瑶 is not of level 1
    assert all(simple in CLASS_OF_CHARACTER and old not in CLASS_OF_CHARACTER for simple, old in _JIS78_FORMS.items())


def test_hooks_and_touches_of_known_characters(glyph_table):
    def rows(character):
        form = glyph_table.form_of_class[CLASS_OF_CHARACTER[character]]
        return slice(*glyph_table.stroke_of_form[form : form + 2])

    assert (glyph_table.ending[rows("子")] == StrokeEnding.HOOKED).tolist() == [False, True, False]
    assert (glyph_table.ending[rows("口")] == StrokeEnding.HOOKED).sum() == 0
    assert (glyph_table.hook_from[rows("つ")] == 1).all()
    for character in "いけはり":  # a flick, which some leave out
        assert (glyph_table.hook_from[rows(character)] < 1).tolist()[:2] == [True, False]
    assert glyph_table.touches[rows("甲")][4, 0] != FREE_END  # the long stroke begins at the frame
    assert glyph_table.touches[rows("甲")][4, 1] == FREE_END
    assert glyph_table.touches[rows("由")][2, 0] == FREE_END  # here it begins above
    assert (glyph_table.touches[rows("三")] == FREE_END).all()


def _measure(writers, first_class, end_class, with_fragments=True):
    """Statistics of 24 characters of a range of classes by each of some writers."""
    images = []
    for number in range(writers):
        rng = np.random.default_rng(number)
        classes = rng.integers(first_class, end_class, 24)
        images.append(write_sheet(classes, sample_writer(rng), rng, with_fragments=with_fragments))
    return measure_cells(np.concatenate(images))


KANJI_TABLE = {  # percentiles 5, 25, 50, 75, 95 of 960 real ETL8G kanji, and how far a sample's may be from them
    "peak_ink": ((6, 7, 8, 8, 9), 1),
    "stroke_ink": ((4.0, 4.6, 5.2, 5.7, 6.5), 0.4),
    "box_width": ((0.40, 0.49, 0.55, 0.59, 0.65), 0.035),
    "box_height": ((0.54, 0.61, 0.65, 0.69, 0.76), 0.035),
    "stroke_width": ((2.4, 3.3, 3.7, 4.1, 4.8), 0.5),
}
HIRAGANA_TABLE = {  # the same of 1,500 real ETL9G hiragana
    "box_width": ((0.20, 0.29, 0.34, 0.40, 0.47), 0.06),
    "box_height": ((0.27, 0.35, 0.41, 0.46, 0.55), 0.04),
    "stroke_width": ((3.6, 4.0, 4.4, 4.9, 5.7), 0.5),
}


@pytest.mark.slow
def test_cells_fall_into_the_percentile_tables_of_real_cells():
    kanji = _measure(80, NUM_HIRAGANA, 3036)
    kana = _measure(80, 0, NUM_HIRAGANA, with_fragments=False)
    for cells, table in ((kanji, KANJI_TABLE), (kana, HIRAGANA_TABLE)):
        for name, (expected, slack) in table.items():
            found = np.nanpercentile(cells[name], PERCENTILES)
            assert found == pytest.approx(np.array(expected), abs=slack), name
    for cells, center in ((kanji, (0.47, 0.52)), (kana, (0.54, 0.54))):
        found = np.nanmedian(cells["center_x"]), np.nanmedian(cells["center_y"])
        assert found == pytest.approx(center, abs=0.02)
        assert np.nanmedian(cells["paper_ink"]) < 0.001
    kana = _measure(20, 0, NUM_HIRAGANA)
    assert kana["has_fragment"].mean() == pytest.approx(0.68, abs=0.07)
    assert kanji["has_fragment"].mean() < 0.02
    table = format_table({"kanji": kanji, "hiragana": kana})
    assert "peak ink" in table and len(table.splitlines()) == 10


def test_writers_differ_and_difficulty_is_a_dial(glyph_table):
    classes = np.array([CLASS_OF_CHARACTER[character] for character in "永語関木"] * 4)

    def distance_from_kanjivg(difficulty):
        distances = []
        for number in range(12):
            rng = np.random.default_rng(number)
            writer = replace(sample_writer(rng, difficulty), swap_rate=0)
            strokes = write_strokes(classes, writer, rng)
            first = strokes.points[strokes.cells == 0][:5]  # 永 has five strokes, joined ways come after
            form = glyph_table.form_of_class[classes[0]]
            model = glyph_table.points[glyph_table.stroke_of_form[form] :][:5]
            if len(first) == 5:
                scaled = [part - part.mean(axis=(0, 1)) for part in (first, model)]
                scaled = [part / part.std(axis=(0, 1)) for part in scaled]
                distances.append(np.abs(scaled[0] - scaled[1]).mean())
        return np.mean(distances)

    careful, usual, hasty = map(distance_from_kanjivg, (0.0, 0.5, 1.0))
    assert careful < 0.8 * usual < usual < hasty


def test_look_alikes_keep_what_tells_them_apart():
    """For many writers: 甲 begins at its frame and 由 ends there; 土's lower stroke is the longer, 士's the shorter."""
    characters = "申由甲土士未末"
    classes = np.array([CLASS_OF_CHARACTER[character] for character in characters])
    counts = [5, 5, 5, 3, 3, 5, 5]
    wrong = total = 0
    for number in range(60):
        rng = np.random.default_rng(1000 + number)
        writer = replace(sample_writer(rng), swap_rate=0)  # the figures below go by stroke numbers
        strokes = write_strokes(classes, writer, rng)
        points = {}
        for cell, (character, count) in enumerate(zip(characters, counts, strict=True)):
            points[character] = strokes.points[strokes.cells == cell][:count]

        def length(stroke):
            return np.ptp(stroke[:, 0])

        verdicts = [
            points["甲"][4][0, 1] > points["甲"][1][:, 1].min() - 4,
            points["由"][2][-1, 1] < points["由"][4][:, 1].max() + 4,
            points["申"][4][0, 1] < points["申"][1][:, 1].min() - 1,
            length(points["土"][0]) < length(points["土"][2]),
            length(points["士"][0]) > length(points["士"][2]),
            length(points["未"][0]) < length(points["未"][1]),
            length(points["末"][0]) > length(points["末"][1]),
        ]
        wrong += len(verdicts) - sum(verdicts)
        total += len(verdicts)
    assert wrong / total < 0.02


def test_a_stranger_to_the_cell_is_a_fragment_and_a_part_of_the_character_is_not():
    images = np.zeros((3, 127, 128), dtype=np.uint8)
    images[:, 40:90, 60:64] = 8
    images[1, 50:60, 0:5] = 8
    images[2, 60:64, 0:70] = 8
    statistics = measure_cells(images)
    assert statistics["has_fragment"].tolist() == [0, 1, 0]
    assert statistics["box_width"] == pytest.approx([4 / 128, 4 / 128, 70 / 128])
    assert statistics["stroke_width"][0] == pytest.approx(4, rel=0.1)
    assert statistics["stroke_ink"][0] == 8


def test_contact_sheet():
    image = make_contact_sheet(Sample(1, seed=0, difficulty=0.5))
    assert image.dtype == np.uint8 and image.shape[1] == 16 * 128 and image.shape[0] % 127 == 0
    assert (image < 128).mean() > 0.01


def test_every_character_can_be_written():
    rng = np.random.default_rng(3)
    for start in range(0, len(CHARACTERS), 152):
        classes = np.arange(start, min(start + 152, len(CHARACTERS)))
        images = write_sheet(classes, sample_writer(rng, 1.0), rng, with_fragments=False)
        assert images.max(axis=(1, 2)).min() >= 3  # ink in every cell
        assert images.max() <= 15


_UNJOINED = {"join_rate": 0.0, "kana_join_rate": 0.0, "flick_rate": 0.0}  # as many strokes in each cell


def test_loops_of_hiragana_are_found_and_change_their_size(glyph_table):
    forms = glyph_table.form_of_class[: NUM_HIRAGANA + 1]
    found = {
        CHARACTERS[number]
        for number in range(NUM_HIRAGANA)
        if glyph_table.loop[slice(*glyph_table.stroke_of_form[forms[number] + [0, 1]])].any()
    }
    assert found == set("おすずなぬねはばぱほぼぽまみむよる")
    assert not glyph_table.loop[glyph_table.stroke_of_form[forms[-1]] :].any()  # of kanji
    sizes = []
    for loop_size in (0.5, 1.0):
        rng = np.random.default_rng(1)
        writer = replace(sample_writer(rng, 0.0), loop_size=loop_size, kana_scale=1.0, **_UNJOINED)
        points = write_strokes(np.array([CLASS_OF_CHARACTER["ま"]] * 20), writer, rng).points.reshape(20, -1, 32, 2)[
            :, 2
        ]
        sizes.append(np.median(np.ptp(points[:, 13:26], axis=1)[:, 0]))
    assert 0.4 < sizes[0] / sizes[1] < 0.7


def _measure_marks(character, number, **amounts):
    rng = np.random.default_rng(2)
    writer = replace(sample_writer(rng, 0.0), kana_scale=1.0, mark_inset=0.0, **_UNJOINED, **amounts)
    strokes = write_strokes(np.array([CLASS_OF_CHARACTER[character]] * 40), writer, rng)
    return strokes.points.reshape(40, -1, 32, 2)[:, -number:]


def test_rings_are_small_or_large_open_or_closed_and_dots_near_or_far():
    lengths, openings = [], []
    for size, gap in ((0.7, 0.0), (1.4, 0.0), (1.4, 0.3)):
        ring = _measure_marks("ぱ", 1, ring_size=size, ring_gap=gap)[:, 0]
        lengths.append(np.median(np.linalg.norm(np.diff(ring, axis=1), axis=2).sum(axis=1)))
        openings.append(np.median(np.linalg.norm(ring[:, -1] - ring[:, 0], axis=1)) / lengths[-1])
    assert lengths[0] / lengths[1] == pytest.approx(0.5, abs=0.15)
    assert openings[2] > 0.2 > max(openings[:2])
    near, far = (_measure_dot_gap(dot_gap=gap, pen_width=1.0) for gap in (0.5, 1.0))
    assert near / far == pytest.approx(0.5, abs=0.15)


def _measure_dot_gap(**amounts):
    return np.median(np.linalg.norm(np.diff(_measure_marks("ば", 2, **amounts).mean(axis=2), axis=1)[:, 0], axis=1))


@pytest.mark.parametrize("pen_width", [3.0, 6.0])
def test_a_wide_pen_neither_fills_rings_nor_joins_dots(pen_width):
    ring = _measure_marks("ぱ", 1, ring_size=0.5, ring_gap=0.4, pen_width=pen_width)[:, 0]
    width = pen_width * KANA_WIDTH
    assert np.median(np.ptp(ring, axis=1).max(axis=1)) > 1.4 * width
    assert np.median(np.linalg.norm(ring[:, -1] - ring[:, 0], axis=1)) < 0.3 * 1.7 * np.pi * width
    assert _measure_dot_gap(dot_gap=0.4, pen_width=pen_width) > 1.4 * width
    dots = _measure_marks("ば", 2, pen_width=pen_width)
    assert np.median(np.linalg.norm(dots[:, :, -1] - dots[:, :, 0], axis=2)) > 0.7 * width


def test_loops_stay_where_writers_are_angular_and_pens_wide():
    """A ね without its loop is れ, る without it ろ."""
    rng = np.random.default_rng(1)
    writer = replace(sample_writer(rng, 0.5), kana_scale=1.0, angularity=0.8, pen_width=2.0, **_UNJOINED)
    cells = write_sheet(np.repeat([CLASS_OF_CHARACTER[each] for each in "るま"], 20), writer, rng)
    papers = [cv2.connectedComponents((cell < 4).astype(np.uint8), connectivity=4)[0] - 1 for cell in cells]
    assert np.mean(np.array(papers) >= 2) > 0.7
    writer = replace(writer, angularity=0.0, loop_size=0.4, pen_width=9.0)
    strokes = write_strokes(np.full(20, CLASS_OF_CHARACTER["ま"]), writer, rng).points.reshape(20, -1, 32, 2)
    assert np.median(np.ptp(strokes[:, 2, 13:26], axis=1).max(axis=1)) > 1.3 * 9.0 * KANA_WIDTH


def test_forms_of_our_own_are_forms_of_their_characters(glyph_table):
    """Each is written with as many strokes as KanjiVG's, and starts near where that starts."""
    kinds = glyph_table.form_kind == FORMS.index("Allograph")
    forms = np.flatnonzero(kinds)
    classes = np.searchsorted(glyph_table.form_of_class, forms, side="right") - 1
    assert {CHARACTERS[number] for number in classes} == set("そぞく八千四十二三")
    for form, number in zip(forms, classes, strict=True):
        own, main = (
            glyph_table.points[slice(*glyph_table.stroke_of_form[each : each + 2])]
            for each in (form, glyph_table.form_of_class[number])
        )
        if CHARACTERS[number] not in "そぞ":
            assert own.shape == main.shape and np.abs(own - main).mean() < 13
            assert not np.array_equal(own, main)


def test_forms_of_letters_lie_in_the_box_and_differ():
    """No two forms of a character have the same strokes, and none is of ETL9G's characters, whose sheets stay."""
    table = read_glyph_table(np.array([WITH_STROKES[-1] - 1]))
    for character, forms in FURTHER_ALLOGRAPHS.items():
        assert character not in CLASS_OF_CHARACTER and len(forms) < len(FORMS)  # as many as can be chosen from
        number = NUMBER_OF[character]
        rows = range(*table.form_of_class[number : number + 2])
        assert [FORMS[kind] for kind in table.form_kind[rows[-len(forms) :]]] == ["Further"] * len(forms)
        shapes = [table.points[slice(*table.stroke_of_form[row : row + 2])] for row in rows]
        assert all(np.abs(shape).max() <= VIEW_BOX / 2 for shape in shapes[-len(forms) :]), character
        for first, second in itertools.combinations(shapes, 2):
            assert first.shape != second.shape or np.abs(first - second).max() > 3, character


def test_letters_are_written_in_many_forms():
    """The main form is taken now and then, and each of the others too."""
    number = NUMBER_OF["7"]
    numbers = np.full(400, number)
    table, rng = read_glyph_table(numbers), np.random.default_rng(1)
    chosen = _choose_forms(table, numbers, sample_writer(rng), rng) - table.form_of_class[number]
    fractions = np.bincount(chosen) / len(numbers)
    assert len(fractions) == 1 + len(FURTHER_ALLOGRAPHS["7"])
    assert 0.2 < fractions[0] < 0.5 and fractions.min() > 0.08


def test_forms_of_letters_change_no_sheet_of_etl9g():
    numbers = np.random.default_rng(0).permutation(NUM_CLASSES)[:32]
    writer = sample_writer(np.random.default_rng(0))
    weights = [np.append(writer.form_weights[:-1], weight) for weight in (0, 100)]
    none, many = (
        write_sheet(numbers, replace(writer, form_weights=each), np.random.default_rng(1)) for each in weights
    )
    np.testing.assert_array_equal(none, many)
