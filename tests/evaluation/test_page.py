"""Photographs and pages as a user has them read, composed of printed characters on paper that is lit and ruled."""

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import kanjinet
from kanjinet.contract import NORMALIZE
from kanjinet.data.image_files import make_ink_bright, to_network_input
from kanjinet.data.photographs import even_light
from kanjinet.data.rules import remove_ruling
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import Recognizer
from kanjinet.storage.png import write_png
from kanjinet.synth.printed import draw_character
from tests.conftest import read_schema, run_script
from tests.papers import Gray, frame, light, rule, square, warp, write

APART = "八川小い二"  # whose parts lie apart
LIKE_LINES = "一田国工口三"  # whose strokes are like rules, squares and frames


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    return kanjinet.load()


def spell(reader: Recognizer, image: Gray) -> str:
    return "".join(each.candidates[0].character for each in reader.read_page(image, 1).characters)


def test_plain_drawings_are_read_as_before_bit_for_bit(reader: Recognizer) -> None:
    for character in APART + LIKE_LINES + "東験墨":
        paper = write([character])
        inverted = cv2.dilate(255 - paper, np.ones((5, 5), np.uint8))  # bold strokes are no sheet on a desk
        for gray in (paper, np.asarray(inverted, np.uint8)):
            assert even_light(gray)[1]
            [found] = reader.read_page(gray, 3).characters
            assert found.candidates == reader.read(gray, 3)
            seen = to_network_input(make_ink_bright(gray), reader.image_size, NORMALIZE)
            assert seen is not None and np.array_equal(reader.find_characters(gray).inputs[0], seen)
        assert reader.read(paper, 1)[0].character == character or character == "口"


def test_strokes_that_touch_the_border_are_no_desk(reader: Recognizer) -> None:
    for character in "国回間こにじ":
        paper = write([character])
        rows, columns = np.nonzero(paper < 128)
        tight = np.ascontiguousarray(paper[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
        assert even_light(tight)[1]
        assert spell(reader, tight) == character


def test_a_soft_shadow_across_strokes_is_no_desk(reader: Recognizer) -> None:
    paper = np.pad(write(["的"]), 100, constant_values=245)
    step = 1 / (1 + np.exp(-np.linspace(-12, 12, paper.shape[0])))[:, None]
    assert spell(reader, np.asarray(paper * (0.5 + 0.5 * step), np.uint8)) == "的"


def test_one_practice_square_with_guides_is_taken_off(reader: Recognizer) -> None:
    for character, margin in (("東", 100), ("い", 20), ("年", 0)):
        paper = np.minimum(write([character]), 245)
        cv2.rectangle(paper, (25, 25), (185, 185), 150, 2)
        for at in range(30, 180, 14):
            paper[at : at + 7, 104:106] = np.minimum(paper[at : at + 7, 104:106], 190)
            paper[104:106, at : at + 7] = np.minimum(paper[104:106, at : at + 7], 190)
        paper = np.pad(paper, margin, constant_values=245)
        assert spell(reader, paper[: len(paper) if margin else 170]) == character


@pytest.mark.parametrize("kind", ["sloping", "ruled", "squared", "desk"])
def test_a_character_on_photographed_paper(reader: Recognizer, kind: str) -> None:
    for character in "東あ国工川":
        paper = np.pad(write([character]), 100, constant_values=255)
        if kind == "sloping":
            paper = light(paper, 0.45)
        elif kind == "desk":
            paper = np.pad(light(paper, 0.8), 60, constant_values=50)
        else:
            paper = rule(paper, 60 if kind == "ruled" else 40, kind == "squared")
        assert spell(reader, paper) == character
        assert reader.read(paper, 1)[0].character == character


def test_strokes_that_are_like_lines_stay() -> None:
    for character in LIKE_LINES:
        for ink in (255 - write([character]), draw_character(character)):
            assert remove_ruling(ink)[0] is ink


def test_words_and_pages_in_reading_order(reader: Recognizer) -> None:
    assert spell(reader, write(["東験"])) == "東験"
    assert spell(reader, write(["小川験", "八東い", "永気語"])) == "小川験八東い永気語"
    assert spell(reader, write([*"験い東二"])) == "験い東二"
    rows = ["東験い永", "小川二語", "八あ工気"]
    assert spell(reader, light(square(write(rows)), 0.6)) == "".join(rows)


def test_squares_at_the_ends_of_long_rows_in_perspective(reader: Recognizer) -> None:
    rows = ["東験永語気小川二学国"] * 8
    boxes = [each.box for each in reader.read_page(warp(square(write(rows, pitch=140), pitch=140)), 1).characters]
    assert len(boxes) == 80
    assert max(bottom - top for _, top, _, bottom in boxes) < 160


def test_manuscript_paper_in_perspective_is_read_down_its_columns(reader: Recognizer) -> None:
    columns = ["東験永語気小", "川学国永語気", "東験永語気小", "川学国永語気", "東験永語気小", "川学国永語気"]
    page = np.hstack([square(write([*column])) for column in columns[::-1]])
    assert spell(reader, warp(page)) == "".join(columns)


def test_a_frame_is_removed_or_strokes_or_unsure(reader: Recognizer) -> None:
    assert spell(reader, frame(write(["語"]), 120)) == "語"
    assert spell(reader, write(["国"])) == "国"
    page = reader.read_page(frame(write(["語"]), 40))
    assert page.unsure is not None and "frame or strokes" in page.unsure


def test_an_image_of_no_page_is_unsure_in_a_moment(reader: Recognizer) -> None:
    page = reader.read_page((np.random.default_rng(1).random((1200, 1600)) < 0.01) * np.uint8(255), 1)
    assert page.unsure is not None and "pieces" in page.unsure


def test_nothing_on_ruled_paper_and_bad_top(reader: Recognizer) -> None:
    assert reader.read_page(np.full((200, 200), 200, np.uint8)).characters == []
    with pytest.raises(KanjinetError, match="top 0"):
        reader.read_page(np.zeros((9, 9), np.uint8), 0)


def test_command_gives_boxes_with_candidates_and_draws_them(tmp_path: Path) -> None:
    write_png(tmp_path / "word.png", write(["東験"]))
    run_script(
        ["recognize_kanji.py", "word.png", "--format", "json", "--output", "a.json", "--explain", "seen"], tmp_path
    )
    answer = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    read_schema("recognition").validate(answer)
    [image] = answer["images"]
    first, second = image["characters"]
    assert (first["candidates"][0]["character"], second["candidates"][0]["character"]) == ("東", "験")
    assert image["candidates"] == first["candidates"]
    assert 30 <= first["box"][0] < first["box"][2] <= 180 <= second["box"][0] < second["box"][2] <= 330
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "0001_word.png",
        "0001_word_001.png",
        "0001_word_002.png",
    ]
    drawn = cv2.imread(str(tmp_path / "seen" / "0001_word.png"))
    assert drawn is not None
    assert (drawn[first["box"][1] : first["box"][3], first["box"][0] - 1] == (40, 40, 220)).all()
    rows = csv.DictReader(
        io.StringIO(run_script(["recognize_kanji.py", "word.png", "--format", "csv"], tmp_path).stdout)
    )
    assert [(row["character"], row["place"]) for row in rows if row["rank"] == "1"] == [("東", "1"), ("験", "2")]
    assert run_script(["recognize_kanji.py", "word.png"], tmp_path).stdout.splitlines()[-1].strip() == "東験"
