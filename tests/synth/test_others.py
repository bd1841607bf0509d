"""Images of none of the characters: what they show, that they vary, and that training sheets stay as they were."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kanjinet.classes import CHARACTERS, JAPANESE_SET, NO_CLASS, NUM_CLASSES
from kanjinet.contract import NORMALIZE
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.synth.font_writers import FontWriter, Way
from kanjinet.synth.fonts import find_fonts
from kanjinet.synth.kanjivg import list_characters
from kanjinet.synth.online import GenerationSpec, SampleGenerator, _generate_sheet
from kanjinet.synth.other_characters import FREQUENT_OTHERS, Kind, list_others
from kanjinet.synth.others import choose_kinds, write_others
from kanjinet.synth.sheets import list_sheet_classes
from kanjinet.synth.writers import sample_writer
from tests.conftest import ROOT
from tests.font_files import OFL, make_font

# The kanji that the Joyo list took up in 2010: all others of it are of JIS level 1, as ETL9G's are.
JOYO_OF_2010 = (
    "挨曖宛嵐畏萎椅彙茨咽淫唄鬱怨媛艶旺岡臆俺苛牙瓦楷潰諧崖蓋骸柿顎葛釜鎌韓玩伎亀毀畿臼嗅巾僅錦惧串窟熊詣憬稽隙桁拳鍵舷股"
    "虎錮勾梗喉乞傲駒頃痕沙挫采塞埼柵刹拶斬恣摯餌鹿𠮟嫉腫呪袖羞蹴憧拭尻芯腎須裾凄醒脊戚煎羨腺詮箋膳狙遡曽爽痩踪捉遜汰唾堆"
    "戴誰旦綻緻酎貼嘲捗椎爪鶴諦溺塡妬賭藤瞳栃頓貪丼那奈梨謎鍋匂虹捻罵剝箸氾汎阪斑眉膝肘阜訃蔽餅璧蔑哺蜂貌頰睦勃昧枕蜜冥麺"
    "冶弥闇喩湧妖瘍沃拉辣藍璃慄侶瞭瑠呂賂弄籠麓脇"
)
FORMS_OF_ETL9GS = "剝塡頰𠮟籠"  # of 剥 填 頬 叱 篭
SPEC = GenerationSpec(0, 0.5, seed=3, epochs=2, image_size=64, preprocessing=NORMALIZE, other_sets=1)


def test_none_of_them_is_one_of_the_characters() -> None:
    others = list_others()
    everything = "".join(others.values())
    assert not set(everything) & set(CHARACTERS)
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(list_characters())
    assert len(others[Kind.KANJI]) > 2500
    for looks_like_another in "カニロヘリタハエ國學櫻劍令":
        assert looks_like_another not in everything
    for kana in everything:
        assert not unicodedata.name(kana).startswith(("HIRAGANA LETTER SMALL", "KATAKANA LETTER SMALL"))


def test_joyo_kanji_are_those_that_etl9g_lacks() -> None:
    assert len(JOYO_OF_2010) == 196
    lacking = set(JOYO_OF_2010) - set(CHARACTERS)
    assert set(list_others()[Kind.JOYO]) == lacking - set(FORMS_OF_ETL9GS)
    card = (ROOT / "pretrained" / "README.md").read_text(encoding="utf-8")
    assert f"without {len(lacking)} of the 2,136" in card and all(f" {kanji}" in card for kanji in lacking)


@pytest.mark.parametrize("kind", Kind)
def test_images_of_a_kind_have_ink_and_differ(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    cells = write_others([kind] * 12, sample_writer(rng), rng)
    assert cells.shape == (12, 127, 128) and cells.dtype == np.uint8 and cells.max() <= 15
    seen = preprocess(cells * np.uint8(INK_SCALE), 64, NORMALIZE, cells=True)
    assert seen.any(axis=(1, 2)).all()
    assert len({image.tobytes() for image in seen}) == 12


def test_lines_lean_as_their_kind_says() -> None:
    """A vertical line is much higher than wide; a sloping one is never as flat as 一."""
    rng = np.random.default_rng(2)
    writer = sample_writer(rng)
    for kind, low, high in ((Kind.VERTICAL, 2.5, np.inf), (Kind.SLOPING, 0.35, np.inf)):
        for cell in write_others([kind] * 40, writer, rng):
            rows, columns = np.nonzero(cell > 3)
            assert low < np.ptp(rows) / np.ptp(columns) < high


def test_a_font_writes_those_that_it_has(tmp_path: Path) -> None:
    """Its digits are frames here; it has no katakana, nor any hiragana to take its size from."""
    make_font(tmp_path / "Digits.ttf", "一" + FREQUENT_OTHERS[Kind.DIGITS], OFL)
    font_writer = FontWriter(find_fonts(tmp_path)[0], Way.RAW, 0, pressure=0, unsteadiness=0)
    writer = sample_writer(np.random.default_rng(0), 0)
    kinds = [Kind.DIGITS, Kind.KATAKANA, Kind.SCRIBBLES, Kind.DIGITS]
    by_font = write_others(kinds, writer, np.random.default_rng(4), [font_writer])
    for cell in by_font[[0, 3]]:
        rows, columns = np.nonzero(cell > 3)
        assert cv2.connectedComponents((cell < 4).astype(np.uint8), connectivity=4)[0] == 3  # paper, paper inside
        assert np.ptp(rows) / np.ptp(columns) == pytest.approx(1 / writer.aspect, rel=0.2)
        assert 30 < np.ptp(rows) < 80 and abs(rows.mean() - 63) < 15 and abs(columns.mean() - 63) < 15
    assert by_font[1:3].any(axis=(1, 2)).all()


def test_every_kind_is_trained_with() -> None:
    assert set(choose_kinds(1000, np.random.default_rng(0))) == set(Kind)


def test_kana_sets_have_all_but_kanji_and_leave_the_others_as_they_are() -> None:
    spec = replace(SPEC, sets=1, kana_sets=1, character_set=JAPANESE_SET)
    labels = [spec.choose_classes(number) for number in range(3)]
    counts = np.bincount(labels[1], minlength=6594)
    assert counts[JAPANESE_SET.is_of("kanji")].max() == 0 and set(counts[~JAPANESE_SET.is_of("kanji")]) == {28, 29}
    assert np.array_equal(np.sort(labels[0]), np.arange(6594)) and (labels[2] == NO_CLASS).all()
    written = _generate_sheet(spec, 0, 1, 3)
    assert len(written) == len(list_sheet_classes(JAPANESE_SET)[3]) and written.any(axis=(1, 2)).all()
    assert np.array_equal(_generate_sheet(spec, 0, 2, 3), _generate_sheet(replace(spec, sets=2, kana_sets=0), 0, 2, 3))
    assert not np.array_equal(written, _generate_sheet(replace(spec, sets=2, kana_sets=0), 0, 1, 3))


def test_other_sets_come_after_the_sets_and_leave_those_as_they_are() -> None:
    both = replace(SPEC, sets=1)
    without = replace(both, other_sets=0)
    assert np.array_equal(_generate_sheet(both, 0, 0, 19), _generate_sheet(without, 0, 0, 19))
    others = [_generate_sheet(both, epoch, 1, 19) for epoch in (0, 1, 0)]
    assert np.array_equal(others[0], others[2]) and not np.array_equal(others[0], others[1])
    generator = SampleGenerator(both, None)  # type: ignore[arg-type]
    assert (generator.labels[:NUM_CLASSES] != NO_CLASS).all() and (generator.labels[NUM_CLASSES:] == NO_CLASS).all()
    assert len(generator.labels) == 2 * NUM_CLASSES
