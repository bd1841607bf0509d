import numpy as np
import pytest

from kanjinet.classes import (
    CHARACTERS,
    JIS_CODES,
    NUM_CLASSES,
    NUM_HIRAGANA,
    classes_of_jis,
    describe_classes,
    jis_to_character,
)


def test_class_table_has_the_known_classes() -> None:
    known = {0: ("あ", 0x2422), 70: ("ん", 0x2473), 71: ("亜", 0x3021), 2080: ("田", 0x4544), 3035: ("腕", 0x4F53)}
    assert NUM_CLASSES == len(CHARACTERS) == 3036
    assert NUM_HIRAGANA == 71
    assert {index: (CHARACTERS[index], int(JIS_CODES[index])) for index in known} == known


def test_hiragana_are_the_71_of_the_specification() -> None:
    rows = "あいうえお かがきぎくぐけげこご さざしじすずせぜそぞ ただちぢつづてでとど なにぬねの"
    rows += "はばぱひびぴふぶぷへべぺほぼぽ まみむめも やゆよ らりるれろ わをん"
    assert CHARACTERS[:71] == rows.replace(" ", "")


def test_every_character_round_trips_through_the_codec() -> None:
    for character, code in zip(CHARACTERS, JIS_CODES, strict=True):
        high, low = character.encode("euc_jp")
        assert (high & 0x7F) << 8 | low & 0x7F == code


def test_class_order_is_ascending_by_jis_code() -> None:
    assert np.all(np.diff(JIS_CODES.astype(int)) > 0)


def test_classes_of_jis_marks_unknown_codes() -> None:
    codes = np.array([0x2422, 0x4F53, 0x4F54, 0x2421, 0x2470, 0x0000, 0xFFFF], dtype=np.uint16)
    assert classes_of_jis(codes).tolist() == [0, 3035, -1, -1, -1, -1, -1]


def test_unassigned_jis_code_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        jis_to_character(0x4F7E)


def test_described_classes_are_not_escaped_and_four_digits() -> None:
    described = describe_classes()
    assert described["0"] == {"character": "あ", "jis_code": "2422"}
    assert described["2080"] == {"character": "田", "jis_code": "4544"}
    assert list(described) == [str(index) for index in range(3036)]
