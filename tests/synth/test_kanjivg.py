"""KanjiVG's files against hand-counted strokes, a second XML reader and hand-worked path data."""

import importlib.metadata
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from kanjinet.classes import CHARACTERS, CLASS_OF_CHARACTER
from kanjinet.errors import KanjinetError
from kanjinet.synth import kanjivg
from kanjinet.synth.bezier import sample_evenly
from kanjinet.synth.glyph_table import POINTS_PER_STROKE

HAND_COUNTED = {
    "あ": 3,
    "き": 4,
    "ん": 1,
    "ぱ": 4,
    "ば": 5,
    "一": 1,
    "亜": 7,
    "田": 5,
    "口": 3,
    "凸": 5,
    "永": 5,
    "腕": 12,
}


def test_stroke_counts_of_hand_counted_characters():
    counts = kanjivg.stroke_counts()
    assert len(counts) == 3036
    assert {character: counts[CLASS_OF_CHARACTER[character]] for character in HAND_COUNTED} == HAND_COUNTED


def test_stroke_counts_are_quick():
    started = time.process_time()
    kanjivg.stroke_counts()
    assert time.process_time() - started < 2  # under 1 s on an idle machine


def test_glyphs_agree_with_an_xml_parser():
    counts = kanjivg.stroke_counts()
    for character in CHARACTERS[::97]:
        path = kanjivg.find_kanjivg_folder() / f"{ord(character):05x}.svg"
        expected = [element.get("d") for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}path")]
        glyph = kanjivg.read_glyph(character)
        assert len(glyph.strokes) == len(expected) == counts[CLASS_OF_CHARACTER[character]]
        for stroke, data in zip(glyph.strokes, expected, strict=True):
            start = [float(value) for value in data[1:].replace("C", "c").split("c")[0].split(",")]
            assert stroke.curves[0, 0] == pytest.approx(start)
            assert (stroke.curves[1:, 0] == stroke.curves[:-1, 3]).all()


def test_components_of_a_divided_one_are_one():
    strokes = kanjivg.read_glyph("亜").strokes  # 二 is written first and last, 口 between
    outermost = [stroke.components[:1] for stroke in strokes]
    assert outermost[0] == outermost[6] != ()
    assert outermost[1] == outermost[2] == outermost[3] not in ((), outermost[0])
    assert outermost[4] == outermost[5] == ()


def test_variants():
    forms = kanjivg.list_forms("辻あ")
    assert forms["あ"] == [""]
    assert "Kaisho" in kanjivg.list_forms("休")["休"]
    main, hyougai = kanjivg.read_glyph("辻"), kanjivg.read_glyph("辻", "Hyougai")
    assert len(main.strokes) - len(hyougai.strokes) == 1  # one dot less on the left
    assert sum(len(names) - 1 for names in kanjivg.list_forms(CHARACTERS).values()) == 2302


@pytest.mark.parametrize(
    ("data", "curves"),
    [
        ("M1,2c1,1,2,1,3,0", [[(1, 2), (2, 3), (3, 3), (4, 2)]]),
        ("m1,2C1,1 2,1,3-1", [[(1, 2), (1, 1), (2, 1), (3, -1)]]),
        ("M0,0C0,1,1,2,2,2S4,1,4,0", [[(0, 0), (0, 1), (1, 2), (2, 2)], [(2, 2), (3, 2), (4, 1), (4, 0)]]),
        ("M0,0c0,1,1,2,2,2s2-1,2-2", [[(0, 0), (0, 1), (1, 2), (2, 2)], [(2, 2), (3, 2), (4, 1), (4, 0)]]),
        ("M5,5s2-1,2-2", [[(5, 5), (5, 5), (7, 4), (7, 3)]]),
        ("M0,0c1,1,2,1,3,0 1-1,2-1,3,0", [[(0, 0), (1, 1), (2, 1), (3, 0)], [(3, 0), (4, -1), (5, -1), (6, 0)]]),
    ],
)
def test_path_data(data, curves):
    assert np.allclose(kanjivg.parse_path(data), curves)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        *((data, "is not one M or m followed by C, c, S and s") for data in ("", "1,2", "M1", "c1,1,2,1,3,0")),
        *((data, "is not one M or m followed by C, c, S and s") for data in ("M1,2L3,4", "M1,2A1,1,0,0,0,3,3z")),
        ("M1,2M1,2c1,1,2,1,3,0", "is not one M or m followed by C, c, S and s"),
        ("M1,2c1,1,2,1,3,x", "is not one M or m followed by C, c, S and s"),
        ("M1,2c1,1", "'c' with 2 values is not understood"),
        ("M1,2,3,4c1,1,2,1,3,0", "'M' with 4 values is not understood"),
        ("M1,2c1,1,2,1,3,.5.5", "something else than letters and numbers"),
    ],
)
def test_bad_path_data(data, message):
    with pytest.raises(ValueError, match=f"^path data .*{message}"):
        kanjivg.parse_path(data)


def test_every_file_of_the_package_is_read():
    paths = [path for path in kanjivg.find_kanjivg_folder().iterdir() if path.suffix == ".svg"]
    assert len(paths) > 11_000
    for path in paths:
        glyph = kanjivg.read_svg(path)  # which refuses all but the path commands M, C and S
        assert all(len(stroke.curves) for stroke in glyph.strokes)


def test_points_stand_at_equal_distances():
    circle = 4 / 3 * np.tan(np.pi / 8)  # a quarter circle of radius 10, the textbook approximation
    quarter = np.array([[(10, 0), (10, 10 * circle), (10 * circle, 10), (0, 10)]], dtype=float)
    line = np.array([[(0, 0), (10, 0), (20, 0), (31, 0)]], dtype=float)
    points = sample_evenly([quarter, line], POINTS_PER_STROKE)
    assert np.hypot(*points[0].T) == pytest.approx(10, abs=0.06)
    steps = np.hypot(*np.diff(points[0], axis=0).T)
    assert steps == pytest.approx(np.pi * 5 / 31, rel=0.01)
    assert points[1] == pytest.approx(np.stack([np.arange(32), np.zeros(32)], axis=1))


def test_a_missing_package_names_its_install_line(monkeypatch):
    def not_found(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", not_found)
    with pytest.raises(KanjinetError, match="pip install kanjivg"):
        kanjivg.stroke_counts()


def test_damaged_files(tmp_path):
    with pytest.raises(KanjinetError, match=r"07530\.svg.*not found.*reinstall"):
        kanjivg.read_svg(tmp_path / "07530.svg")
    (tmp_path / "07530.svg").write_text("<svg><g></g></svg>", encoding="utf-8")
    with pytest.raises(KanjinetError, match="no strokes"):
        kanjivg.read_svg(tmp_path / "07530.svg")
    (tmp_path / "07530.svg").write_text('<svg><g><path d="M1,2A3"/></g></svg>', encoding="utf-8")
    with pytest.raises(KanjinetError, match="path data"):
        kanjivg.read_svg(tmp_path / "07530.svg")
