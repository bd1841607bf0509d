"""Fonts as writers: fonts made here, of shapes whose sizes are known, in the formats that people have."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from measure_cells import measure_stroke_width

import fetch_fonts
from kanjinet.classes import CLASS_OF_CHARACTER, JAPANESE_SET, NUM_CLASSES
from kanjinet.data.dataset import read_dataset_info
from kanjinet.data.etl_files import find_etl_files
from kanjinet.data.etl_records import list_fonts
from kanjinet.errors import KanjinetError
from kanjinet.storage.model_card import SYNTHETIC
from kanjinet.synth.font_writers import FontWriter, Way, choose_font_writers, measure_font, write_outlines
from kanjinet.synth.fonts import EM, GLYPH_SIDE, draw_glyphs, find_fonts
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.online import GenerationSpec, _generate_sheet
from kanjinet.synth.rasterizer import fill_outlines
from kanjinet.synth.repertoire import NUMBER_OF
from kanjinet.synth.sheets import Sample, make_sheet_records
from kanjinet.synth.strokes import make_outlines
from kanjinet.synth.thinning import thin
from kanjinet.synth.writers import sample_writer
from tests.conftest import ROOT, run_script
from tests.font_files import MIT, OFL, make_font

HAND, OTHER = "font Test Hand (SIL Open Font License 1.1)", "font Other Bold (MIT)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "subsets").mkdir()
    make_font(folder / "subsets" / "Test Hand-1.woff2", "あ一", OFL)
    make_font(folder / "subsets" / "Test Hand-2.woff2", "口ア", OFL)
    make_font(folder / "Other.otf", "一口海", MIT, "Bold")
    (folder / "LICENSE").write_text("no font")
    return folder


@pytest.fixture(scope="module")
def fonts(folder):
    return find_fonts(folder)


def classes_of(text):
    return np.array([CLASS_OF_CHARACTER[each] for each in text])


def test_a_font_is_all_files_of_its_name_with_the_license_it_states(folder, fonts, tmp_path):
    assert [font.source for font in fonts] == [OTHER, HAND]
    known = [set(np.flatnonzero(font.file_of_character[:NUM_CLASSES] >= 0)) for font in fonts]
    assert known == [set(classes_of("一口")), set(classes_of("あ一口"))]  # 海 is written in another way in China
    assert [font.file_of_character[CLASS_OF_CHARACTER["口"]] for font in fonts] == [0, 1]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    make_font(tmp_path / "Other.otf", "一口左", MIT, "Bold")
    make_font(tmp_path / "毛筆.ttf", "一", {})
    changed, hand, unstated = find_fonts(tmp_path)
    assert hand == fonts[1] and changed.sha256 != fonts[0].sha256
    assert unstated.source == "font 毛筆 (license not stated)"


@pytest.mark.parametrize("number", [0, 1], ids=["otf", "woff2"])
def test_glyphs_are_drawn_as_large_as_the_font_says(fonts, number):
    frame, bar = draw_glyphs(fonts[number], classes_of("口一"))
    assert frame.sum() / 255 == pytest.approx((0.8**2 - 0.72**2) * EM**2, rel=0.05)
    assert bar.sum() / 255 == pytest.approx(0.8 * 0.1 * EM**2, rel=0.02)
    assert frame[GLYPH_SIDE // 2, GLYPH_SIDE // 2] == 0  # the hole


def write(fonts, way, amount, text):
    """Cells by a writer who neither bends nor slants."""
    rng = np.random.default_rng(0)
    writer = replace(sample_writer(rng, 0.0), haste=0.0, slant=0.0, rise=0.0, warp=np.zeros((2, 6)))
    font_writer = FontWriter(fonts[1], way, amount, pressure=0.0, unsteadiness=0.0)
    return write_sheet(classes_of(text), writer, rng, with_fragments=False, font_writers=[font_writer])


def test_each_way_has_its_width_and_the_frame_stays_open(fonts):
    for way, amount, expected in ((Way.RAW, 0, 1), (Way.THICKER, 0.4, 1.5), (Way.THINNER, 0.5, 0.5)):
        for cell in write(fonts, way, amount, "口口口"):
            width = measure_stroke_width(cell >= 4)
            assert width / measure_stroke_width(write(fonts, Way.RAW, 0, "口")[0] >= 4) == pytest.approx(
                expected, abs=0.2
            )
            assert cv2.connectedComponents((cell < 4).astype(np.uint8), connectivity=4)[0] == 3  # paper, paper inside
    for pixels in (2.5, 5.0):
        for cell in write(fonts, Way.PEN, pixels, "口口"):
            assert measure_stroke_width(cell >= 4) == pytest.approx(pixels, abs=0.8)


def test_outlines_hold_as_much_as_the_glyph(fonts):
    rng = np.random.default_rng(0)
    glyphs, chosen = draw_glyphs(fonts[1], classes_of("口")), classes_of("口")
    outlines = write_outlines(glyphs, chosen, FontWriter(fonts[1], Way.RAW, 0, 0, 0), sample_writer(rng), rng)
    x, y = np.moveaxis(outlines.points, 2, 0)
    areas = 0.5 * np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)
    assert sorted(np.sign(areas)) == [-1, 1]
    box = np.ptp(outlines.points.reshape(-1, 2), axis=0)
    assert abs(areas.sum()) == pytest.approx((1 - 0.9**2) * box.prod(), rel=0.05)


@pytest.mark.parametrize(("way", "amount"), [(Way.THICKER, 2.5), (Way.PEN, 6.0)])
def test_a_hole_is_not_filled(fonts, way, amount):
    glyph = cv2.circle(np.zeros((GLYPH_SIDE, GLYPH_SIDE), np.uint8), (120, 120), 8, 255, 4)
    rng = np.random.default_rng(0)
    font_writer = FontWriter(fonts[1], way, amount, 0, 0)
    outlines = write_outlines(glyph[None], classes_of("口"), font_writer, sample_writer(rng), rng)
    x, y = np.moveaxis(outlines.points, 2, 0)
    areas = 0.5 * np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)
    assert len(areas) == 2 and np.abs(areas).min() > 3 and areas.prod() < 0


def test_a_long_outline_is_cut_into_pieces_that_hold_as_much():
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    radius = 40 + 8 * np.sin(9 * angles)
    star = np.stack([64 + radius * np.cos(angles), 64 + radius * np.sin(angles)], axis=1)
    pieces = make_outlines([star[::50], star], np.array([0.5, 1.0]), np.array([0, 1]))
    assert pieces.points.shape[1] < 40
    images = fill_outlines(pieces.points, pieces.cells, pieces.ink, 2)
    for image, outline, ink in zip(images, (star[::50], star), (0.5, 1.0), strict=True):
        np.testing.assert_allclose(image, fill_outlines(outline[None], np.array([0]), np.array([ink]), 1)[0], atol=1e-3)


def test_thin_lines_are_connected_as_the_shape_was():
    rng = np.random.default_rng(1)
    for _ in range(20):
        noise = cv2.GaussianBlur(rng.standard_normal((80, 80)).astype(np.float32), (0, 0), 3)
        shape = np.pad((noise > 0.03).astype(np.uint8), 3)
        (lines,) = thin(shape[None], 0)
        assert not (lines & ~shape & 1).any()
        assert not cv2.erode(lines, np.ones((2, 2), np.uint8)).sum() > 0.05 * lines.sum()
        for image, connectivity in ((1, 8), (0, 4)):
            counts = [cv2.connectedComponents((each == image).astype(np.uint8), connectivity=connectivity)[0]
                      for each in (shape, lines)]  # fmt: skip
            assert counts[0] == counts[1]


def test_spurs_go_and_dots_stay():
    shape = np.zeros((60, 60), np.uint8)
    shape[20:27, 10:50] = 1
    shape[40:44, 30:34] = 1  # a dot
    # eight at a time, each in its own bit
    *_, lines = thin(np.stack([np.zeros_like(shape)] * 10 + [shape]), 6)
    assert cv2.connectedComponents(lines)[0] == 3
    rows, columns = np.nonzero(lines[:35])
    assert np.ptp(rows) <= 1 and np.ptp(columns) >= 28  # a line, without the forks at its ends


def test_what_a_font_lacks_is_written_with_strokes_and_its_blank_glyphs_too(fonts, tmp_path):
    cells = write(fonts, Way.RAW, 0, "口永はあ")
    assert (cells.max(axis=(1, 2)) >= 4).all()
    make_font(tmp_path / "Blank.ttf", "永", OFL)
    blank = replace(find_fonts(tmp_path)[0], file_of_character=fonts[1].file_of_character)
    font_writer = FontWriter(replace(blank, files=blank.files * 2), Way.RAW, 0, 0, 0)  # .notdef, which is blank
    rng = np.random.default_rng(0)
    assert write_sheet(classes_of("口"), sample_writer(rng), rng, font_writers=[font_writer]).max() >= 4


def test_half_of_the_sheets_are_by_fonts_and_the_others_as_without(fonts):
    chosen = [choose_font_writers(fonts, 3, (data_set, 1)) for data_set in range(400)]
    by_font = [each for (each,) in filter(None, chosen)]
    assert 160 < len(by_font) < 240
    assert {(each.font.name, each.way) for each in by_font} == {(font.name, way) for font in fonts for way in Way}
    assert choose_font_writers((), 3, (0, 1)) == ()
    first = next(number for number in range(1, 400) if not chosen[number])
    second = next(number for number in range(1, 400) if chosen[number])
    plain, mixed = Sample(200, 3, 0.5), Sample(200, 3, 0.5, fonts=fonts)
    pairs = [
        [make_sheet_records(each, number % 200, 1).tobytes() for each in (plain, mixed)] for number in (first, second)
    ]
    assert pairs[0][0] == pairs[0][1] and pairs[1][0] != pairs[1][1]
    assert pairs[1][1] == make_sheet_records(mixed, second % 200, 1).tobytes()


def test_letters_and_digits_are_by_fonts_of_these_alone_on_half_of_the_sheets(fonts, tmp_path):
    make_font(tmp_path / "Latin.ttf", "7x", OFL)
    all_fonts = (*fonts, *find_fonts(tmp_path, JAPANESE_SET))
    chosen = [[each.font for each in choose_font_writers(all_fonts, 3, (number, 1))] for number in range(400)]
    without = [[each.font for each in choose_font_writers(fonts, 3, (number, 1))] for number in range(400)]
    assert [[font for font in each if font != all_fonts[-1]] for each in chosen] == without
    by_both = next(each for each in chosen if len(each) == 2)
    assert by_both[0] == all_fonts[-1] and 160 < sum(all_fonts[-1] in each for each in chosen) < 240
    rng, writers = np.random.default_rng(0), [FontWriter(each, Way.RAW, 0, 0, 0) for each in by_both]
    numbers = np.array([NUMBER_OF[each] for each in "7口七"])
    cells = write_sheet(numbers, sample_writer(rng, 0.0), rng, with_fragments=False, font_writers=writers)
    is_frame = [cv2.connectedComponents((cell < 4).astype(np.uint8), connectivity=4)[0] == 3 for cell in cells]
    assert is_frame == [True, True, False]  # 七 is by strokes


def test_generated_samples_are_by_fonts_too(fonts):
    spec = GenerationSpec(1, 0.5, 3, 2, 32, "even-lines-2")
    by_font = [bool(choose_font_writers(fonts, 3, (0, 0, sheet))) for sheet in range(20)]
    for sheet in (by_font.index(False), by_font.index(True)):
        plain, mixed = (_generate_sheet(replace(spec, fonts=each), 0, 0, sheet) for each in ((), fonts))
        assert np.array_equal(plain, mixed) != by_font[sheet]


@pytest.mark.slow
def test_the_fonts_of_a_sample_reach_the_dataset(folder, tmp_path):
    options = ["--sets", "1", "--workers", "1", "--fonts", str(folder)]
    printed = run_script(["make_sample_etl9g.py", *options], tmp_path).stdout
    assert f"on 50% of the sheets: {OTHER}, {HAND}" in printed
    assert "(1 of the files were there already)" in run_script(["make_sample_etl9g.py", *options], tmp_path).stdout
    (file,) = find_etl_files(tmp_path / "ETL9G")
    assert list_fonts(file) == (OTHER, HAND)
    run_script(["prepare_etl9g_dataset.py", "--workers", "1"], tmp_path)
    assert read_dataset_info(tmp_path / "dataset").sources == (SYNTHETIC, OTHER, HAND)
    assert json.loads((tmp_path / "dataset" / "metadata.json").read_text(encoding="utf-8"))["fonts"] == [OTHER, HAND]
    run_script(["prepare_etl9g_dataset.py", "--verify"], tmp_path)
    assert "already" not in run_script(["make_sample_etl9g.py", *options[:4]], tmp_path).stdout  # without fonts: anew

    info = tmp_path / "ETL9G" / "ETL9INFO"
    for lines in ("Font:       a font\n", "Font:       font A (B)\n" * 2, "Font:       font A (\x1b[31mB)\n"):
        info.write_text(f"SYNTHETIC SAMPLE FROM KANJIVG\n{lines}")
        with pytest.raises(KanjinetError, match="ETL9INFO: its fonts are"):
            list_fonts(file)


def test_what_is_no_folder_of_fonts_is_refused_in_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    whole = (folder / "subsets" / "Test Hand-1.woff2").read_bytes()
    for name, content, problem in (
        ("none", None, "no such folder"),
        ("empty", None, "no font in it"),
        ("bad", b"no font", "not a font"),
        ("bad", whole[:-20], "not a font"),
        ("bad", whole[:300] + bytes(8) + whole[308:], "not a font"),
    ):
        if content:
            (tmp_path / name / "a.woff2").write_bytes(content)
        with pytest.raises(KanjinetError, match=problem):
            find_fonts(tmp_path / name)
    make_font(tmp_path / "empty" / "Kata.ttf", "アイ", OFL)
    with pytest.raises(KanjinetError, match="its fonts have none of the 3,036 characters"):
        find_fonts(tmp_path / "empty")
    (font,) = find_fonts(tmp_path / "empty", JAPANESE_SET)
    assert np.isfinite(measure_font(font)).all()
    make_font(tmp_path / "empty" / "Kanji.ttf", "田", OFL)
    assert [each.name for each in find_fonts(tmp_path / "empty")] == ["Kanji"]
    assert len(find_fonts(tmp_path / "empty", JAPANESE_SET)) == 2


NPM = """#!/bin/sh
[ "$FAILS" = npm ] && { echo npm error network; exit 1; }
shift 4
for package; do
    name=${package%@*}
    mkdir -p "node_modules/$name/files"
    (cd "node_modules/$name" && touch files/a-latin-400-normal.woff2 files/a.woff2 files/a.woff LICENSE)
done
"""
APT_GET = """#!/bin/sh
[ "$FAILS" = apt-get ] && { echo E: Unable to locate package; exit 100; }
shift
for package; do touch "$package.deb"; done
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/share/fonts/truetype/y" "$3/usr/share/doc/y"
cd "$3/usr/share"
touch fonts/truetype/y/YOzRS_.ttf fonts/truetype/y/YOzBS_.ttf doc/y/copyright
"""


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand for npm and apt-get")
def test_fonts_are_fetched_once_and_a_failure_leaves_nothing(tmp_path):
    def fetch(folder="fonts", *options, **environment):
        command = [sys.executable, str(ROOT / "fetch_fonts.py"), "--output-dir", folder, *options]
        environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", **environment}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    status, text = fetch(PATH="/nowhere")
    assert (status, text.startswith("error: npm: not found")) == (1, True), text
    for name, script in (("npm", NPM), ("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    status, text = fetch(FAILS="npm")
    assert status == 1 and "(npm error network): check the network" in text
    assert list((tmp_path / "fonts").iterdir()) == []
    status, text = fetch(FAILS="apt-get")
    assert status == 1 and "apt-get download: failed with exit status 100 (E: Unable" in text
    assert {path.name for path in (tmp_path / "fonts").iterdir()} == set(fetch_fonts.VERSIONS)
    status, text = fetch()
    assert status == 0 and "13 packages" in text and "12 of them there already" in text, text
    assert {path.name for path in (tmp_path / "fonts").iterdir()} == {*fetch_fonts.VERSIONS, fetch_fonts.YOZFONT}
    files = {path.relative_to(tmp_path / "fonts").as_posix() for path in (tmp_path / "fonts").glob("*/*")}
    assert {"yomogi/a.woff2", "yomogi/LICENSE", "yozfont/YOzRS_.ttf", "yozfont/copyright"} <= files
    assert len(files) == 3 * len(fetch_fonts.VERSIONS) + 2
    (tmp_path / "fonts" / "yomogi" / "mark").touch()
    shutil.rmtree(tmp_path / "fonts" / "long-cang")
    status, text = fetch()
    assert status == 0 and "12 of them there already" in text
    assert (tmp_path / "fonts" / "yomogi" / "mark").exists()

    (tmp_path / "bin").mkdir()
    for name in ("npm", "sh", "mkdir", "touch"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name, path=f"{tmp_path}:/usr/bin:/bin"))
    status, text = fetch("latin", "--characters", "japanese")
    assert status == 0 and "60 packages" in text and "make_sample_etl9g.py --characters japanese --fonts latin" in text
    status, text = fetch("others", PATH=str(tmp_path / "bin"))
    assert status == 0 and "YOzFont is left out" in text and "12 packages" in text, text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, "SIL Open Font License 1.1"),
        ({"licenseDescription": "Cr:TTE09"}, "SIL Open Font License 1.1"),
        ({"licenseDescription": "All rights reserved"}, "All rights reserved"),
        ({"copyright": "Copyright 2010 A. All rights reserved."}, "SIL Open Font License 1.1"),
        (MIT, "MIT"),
    ],
)
def test_a_license_beside_a_font_counts_where_the_font_states_none(tmp_path, names, expected):
    make_font(tmp_path / "Hand.ttf", "一", names)
    (tmp_path / "copyright").write_text("Files: *.ttf\nLicense: OFL-1.1\n")
    assert find_fonts(tmp_path)[0].license == expected
