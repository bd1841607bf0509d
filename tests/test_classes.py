import numpy as np
import pytest

from kanjinet.classes import (
    CHARACTERS,
    ETL9G_SET,
    JAPANESE_SET,
    JIS_CODES,
    NO_CLASS,
    NUM_CLASSES,
    NUM_HIRAGANA,
    TWINS,
    jis_to_character,
    translate_classes,
)
from kanjinet.errors import KanjinetError


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
    assert ETL9G_SET.classes_of_jis(codes).tolist() == [0, 3035, -1, -1, -1, -1, -1]


def test_unassigned_jis_code_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        jis_to_character(0x2E7F)


def test_described_classes_are_not_escaped_and_four_digits() -> None:
    described = ETL9G_SET.describe_classes()
    assert described["0"] == {"character": "あ", "jis_code": "2422"}
    assert described["2080"] == {"character": "田", "jis_code": "4544"}
    assert list(described) == [str(index) for index in range(3036)]


def test_japanese_holds_what_its_documents_say_in_the_order_of_jis_codes() -> None:
    characters = JAPANESE_SET.characters
    assert JAPANESE_SET.num_classes == len(set(characters)) == 6594
    assert set(ETL9G_SET.characters) < set(characters)
    assert set("ぁっゃゎゐゑァッャヮヰヱヴヵヶー々〆〇0129AZaz𠮟塡剝頰彙鬱弌龠凜熙") < set(characters)
    assert np.all(np.diff(JAPANESE_SET.jis_codes.astype(int)) > 0)
    # men-ku-ten of JIS X 0213: 1-15-56, 1-15-94, 1-47-52, 1-93-90
    places = {
        "塡": (15, 56),
        "剝": (15, 94),
        "𠮟": (47, 52),
        "頰": (93, 90),
        "A": (3, 33),
        "ー": (1, 28),
        "亜": (16, 1),
    }
    for character, (row, cell) in places.items():
        assert JAPANESE_SET.jis_codes[JAPANESE_SET.class_of_character[character]] == (row + 0x20) << 8 | cell + 0x20


def test_japanese_has_all_kanji_of_jis_x_0208_by_another_codec() -> None:
    found = set()
    for row in range(16, 85):
        for cell in range(1, 95):
            pair = bytes([0x1B, 0x24, 0x42, row + 0x20, cell + 0x20, 0x1B, 0x28, 0x42])
            found.add(pair.decode("iso2022_jp", "ignore"))
    kanji = {character for character in found if len(character) == 1}
    assert len(kanji) == 6355
    own = {
        each for each, is_kanji in zip(JAPANESE_SET.characters, JAPANESE_SET.is_of("kanji"), strict=True) if is_kanji
    }
    assert own == kanji | set("々〆〇塡剝𠮟頰")


def test_twins_are_of_japanese_and_in_one_group_each() -> None:
    together = "".join(TWINS)
    assert len(together) == len(set(together))
    assert set(together) <= set(JAPANESE_SET.characters)
    assert not ETL9G_SET.has_twins  # its metrics and candidates are as ever
    group, of = JAPANESE_SET.twin_group, JAPANESE_SET.class_of_character
    for twins in (
        "カ力ヵ",
        "ニ二",
        "ハ八",
        "ロ口",
        "へヘ",
        "一ー",
        "タ夕",
        "ト卜",
        "エ工",
        "O0〇o",
        "l1I",
        "つっ",
        "9gq",
        "7フ",
        "yY",
    ):
        assert len({int(group[of[each]]) for each in twins}) == 1
    assert group[of["あ"]] != group[of["い"]]


def test_allowed_characters() -> None:
    of = JAPANESE_SET.class_of_character
    for allow, members, others in (
        ("kanji", "亜龠々𠮟", "あア0A"),
        ("kana", "あアっッー", "亜0A"),
        ("hiragana", "あっ", "アー亜"),
        ("katakana", "アッー", "あ亜"),
        ("digits", "09", "dOア"),
        ("latin", "AZaz", "0〇ア"),
        ("0123", "0123", "4あO"),
        ("etl9g", "あ亜", "アっ0龠"),
    ):
        allowed = JAPANESE_SET.find_allowed(allow)
        assert all(allowed[of[each]] for each in members), allow
        assert not any(allowed[of[each]] for each in others), allow
    for allow, problem in (
        ("あ☃", "☃ is none of the 6,594"),
        ("", "allows none"),
        ("Kanji", "'Kanji': neither a name"),
        (["kanji"], "neither a name"),
    ):
        with pytest.raises(KanjinetError, match=problem):
            JAPANESE_SET.find_allowed(allow)
    with pytest.raises(KanjinetError, match="allows none of the 3,036"):
        ETL9G_SET.find_allowed("katakana")


def test_twins_are_summed_where_there_are_some() -> None:
    values = np.zeros((1, JAPANESE_SET.num_classes))
    of = JAPANESE_SET.class_of_character
    values[0, [of[each] for each in "カ力あ"]] = 0.4, 0.35, 0.25
    sums = JAPANESE_SET.sum_twins(values)
    assert sums.sum() == pytest.approx(1)
    assert sums.max() == pytest.approx(0.75)
    assert values[0, of["カ"]] == 0.4  # left as it was


def test_classes_are_translated_by_character() -> None:
    classes = np.array([[0, 2080], [NO_CLASS, 3035]])
    found = translate_classes(classes, ETL9G_SET, JAPANESE_SET)
    assert [JAPANESE_SET.characters[index] for index in found[[0, 0, 1], [0, 1, 1]]] == list("あ田腕")
    assert found[1, 0] == NO_CLASS
    back = translate_classes(np.array([JAPANESE_SET.class_of_character["ア"]]), JAPANESE_SET, ETL9G_SET)
    assert back.tolist() == [NO_CLASS]
