"""The character sets: which characters a dataset, a network and an export are of, in class order.

A class's index is its rank by JIS code: a code of JIS X 0213's plane 1 (men-ku-ten 1-xx-xx), whose rows are those of
JIS X 0208 with more in their gaps. Sources: AIST, "Specification of ETL-9" (order and extent of ETL9G); JIS X 0208:1997
and JIS X 0213:2004, by Python's codec `euc_jis_2004`; the Joyo kanji as the Cabinet announced them in 2010.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kanjinet.errors import KanjinetError

NO_CLASS = -1  # of an image that shows none of the characters
SCRIPTS = ("hiragana", "kanji", "katakana", "digits", "latin")
ALLOWED_SCRIPTS = {
    "kanji": ["kanji"],
    "kana": ["hiragana", "katakana"],
    "hiragana": ["hiragana"],
    "katakana": ["katakana"],
    "digits": ["digits"],
    "latin": ["latin"],
}
_SMALL_AND_OBSOLETE_KANA = "ぁぃぅぇぉっゃゅょゎゐゑ"
_JOYO_BEYOND_JIS_X_0208 = "塡剝𠮟頰"
# Characters that cannot be told apart when one alone is written: an image is cropped to its ink, so size says nothing.
TWINS = (
    *("あぁ", "いぃ", "うぅ", "えぇ", "おぉ", "つっ", "やゃ", "ゆゅ", "よょ", "わゎ", "へヘ", "べベ", "ぺペ", "りリ"),
    *("アァ", "イィ", "ウゥ", "エェ工", "オォ才", "カヵ力", "ケヶ", "ツッ", "ヤャ", "ユュ", "ヨョ", "ワヮ"),
    *("タ夕", "チ千", "ト卜", "ニ二", "ノ丿", "ハ八", "ヒ匕", "ム厶", "メ乂", "ル儿", "ロ口囗", "ン冫", "ー一"),
    *("0Oo〇", "1Il", "7フ", "9gq", "Cc", "Kk", "Pp", "Ss", "Uu", "Vv", "Ww", "Xx", "Yy", "Zz"),
    *("日曰", "匚匸", "夂夊", "叱𠮟"),
)


def jis_to_character(jis_code: int) -> str:
    """The Unicode character of a JIS code such as 0x4544 (田); a table, not arithmetic. Digits and Latin are ASCII.

    Raises:
        UnicodeDecodeError: JIS X 0213's plane 1 assigns nothing to the code.
    """
    character = bytes([0x80 | jis_code >> 8, 0x80 | jis_code & 0xFF]).decode("euc_jis_2004")
    return unicodedata.normalize("NFKC", character) if jis_code >> 8 == 0x23 else character


def character_to_jis(character: str) -> int:
    """The JIS code of a character that is a single one of JIS X 0213's plane 1.

    Raises:
        UnicodeEncodeError: it is none.
    """
    high, low = character.encode("euc_jis_2004")
    return (high & 0x7F) << 8 | low & 0x7F


@dataclass(frozen=True)
class CharacterSet:
    """Represents the characters of a dataset or a network; the class of each is its place in `jis_codes`."""

    name: str  # of the option --characters
    title: str  # for people: "the 3,036 characters of ETL9G"
    dataset: str  # of the mapping's `model_info`: whose characters they are
    description: str  # of the order
    jis_codes: npt.NDArray[np.uint16] = field(compare=False, repr=False)  # class -> JIS code, ascending

    @functools.cached_property
    def characters(self) -> str:
        """Class -> character."""
        return "".join(jis_to_character(code) for code in self.jis_codes.tolist())

    @functools.cached_property
    def class_of_character(self) -> dict[str, int]:
        """Character -> class."""
        return {character: index for index, character in enumerate(self.characters)}

    @functools.cached_property
    def sha256(self) -> str:
        """Checksum of the class table, in hex."""
        return hashlib.sha256(self.characters.encode("utf-8")).hexdigest()

    @property
    def num_classes(self) -> int:
        """How many characters there are."""
        return len(self.jis_codes)

    @functools.cached_property
    def scripts(self) -> npt.NDArray[np.int8]:
        """(num_classes,) place of each character's script in SCRIPTS; 々, 〆 and 〇 are among kanji, ー in katakana."""
        return np.array([SCRIPTS.index(_name_script(code)) for code in self.jis_codes.tolist()], dtype=np.int8)

    def is_of(self, script: str) -> npt.NDArray[np.bool_]:
        """Tells which classes (num_classes,) are of a script, one of SCRIPTS."""
        return self.scripts == SCRIPTS.index(script)

    def find_allowed(self, allow: str) -> npt.NDArray[np.bool_]:
        """Tells which classes (num_classes,) are allowed: those of a name in ALLOWED_SCRIPTS.

        The name of a character set allows those of that set; any other text allows its own characters.

        Raises:
            KanjinetError: a character, or a script, that the set does not have.
        """
        names = [*ALLOWED_SCRIPTS, *CHARACTER_SETS]
        remedy = f"give {', '.join(names)}, or some of the characters"
        if not isinstance(allow, str) or (allow not in names and allow.lower() in names):
            raise KanjinetError(f"allow {allow!r}: neither a name nor a text of characters", remedy)
        if allow in ALLOWED_SCRIPTS:
            allowed = np.isin(self.scripts, [SCRIPTS.index(script) for script in ALLOWED_SCRIPTS[allow]])
        else:
            if other := CHARACTER_SETS.get(allow):
                allow = "".join(each for each in other.characters if each in self.class_of_character)
            if unknown := [each for each in allow if each not in self.class_of_character]:
                raise KanjinetError(f"allow {allow!r}: {unknown[0]} is none of {self.title}", remedy)
            allowed = np.isin(np.arange(self.num_classes), [self.class_of_character[each] for each in allow])
        if not allowed.any():
            raise KanjinetError(f"allow {allow!r}: allows none of {self.title}", "allow others, or all")
        return allowed

    @functools.cached_property
    def twins(self) -> tuple[str, ...]:
        """The groups of its characters that cannot be told apart when one alone is written."""
        groups = ("".join(each for each in twins if each in self.class_of_character) for twins in TWINS)
        return tuple(group for group in groups if len(group) > 1)

    @functools.cached_property
    def twin_group(self) -> npt.NDArray[np.int64]:
        """(num_classes,) the first class of those that a class cannot be told from; its own, where it has no twin."""
        groups = np.arange(self.num_classes)
        for twins in self.twins:
            members = sorted(self.class_of_character[each] for each in twins)
            groups[members] = members[0]
        return groups

    @property
    def has_twins(self) -> bool:
        """Whether any characters cannot be told apart when one alone is written."""
        return bool(self.twins)

    @functools.cached_property
    def _later_twins(self) -> list[tuple[int, int]]:
        """The classes that are not the first of their group, each with the first."""
        later = np.flatnonzero(self.twin_group != np.arange(self.num_classes))
        return list(zip(later.tolist(), self.twin_group[later].tolist(), strict=True))

    def sum_twins(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sums values (n, num_classes) of twins: (n, num_classes), at the first of each group, and 0 at the others."""
        if not self.has_twins:
            return values
        sums = values.copy()
        for twin, first in self._later_twins:
            sums[:, first] += values[:, twin]
            sums[:, twin] = 0
        return sums

    @functools.cached_property
    def _class_of_jis(self) -> npt.NDArray[np.int16]:
        classes = np.full(1 << 16, NO_CLASS, dtype=np.int16)
        classes[self.jis_codes] = np.arange(self.num_classes, dtype=np.int16)
        return classes

    def classes_of_jis(self, jis_codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.int16]:
        """Class index of each JIS code; -1 where the code is of none."""
        return self._class_of_jis[jis_codes]

    def describe_classes(self) -> dict[str, dict[str, str]]:
        """Class index -> character and JIS code, as mapping files hold them: {"0": {"character": "あ", ...}, ...}."""
        return {
            str(index): {"character": character, "jis_code": f"{code:04X}"}
            for index, (character, code) in enumerate(zip(self.characters, self.jis_codes, strict=True))
        }


def find_largest_set(character_sets: Sequence[CharacterSet]) -> CharacterSet:
    """Returns the largest of some character sets; `japanese` holds all others."""
    return max(character_sets, key=lambda each: each.num_classes)


def translate_classes(
    classes: npt.NDArray[np.int64], character_set: CharacterSet, target: CharacterSet
) -> npt.NDArray[np.int64]:
    """Turns classes of a set, of any shape, into those of the same characters in another; NO_CLASS stays."""
    found = [target.class_of_character.get(each, NO_CLASS) for each in character_set.characters]
    return np.array([*found, NO_CLASS])[classes]


def _name_script(jis_code: int) -> str:
    row = jis_code >> 8
    if row == 0x23:
        return "digits" if jis_code < 0x2341 else "latin"
    if row == 0x25 or jis_code == 0x213C:
        return "katakana"
    return "hiragana" if row == 0x24 else "kanji"


def _list_assigned(*ranges: tuple[int, int]) -> list[int]:
    """Lists the codes of JIS X 0208 from the first to the last of each range."""
    codes = [row << 8 | cell for row in range(0x21, 0x7F) for cell in range(0x21, 0x7F)]
    assigned = []
    for code in (code for code in codes if any(first <= code <= last for first, last in ranges)):
        try:
            bytes([0x80 | code >> 8, 0x80 | code & 0xFF]).decode("euc_jp")
        except UnicodeDecodeError:
            continue
        assigned.append(code)
    return assigned


def _list_etl9g() -> list[int]:
    codes = _list_assigned((0x2421, 0x2473), (0x3021, 0x4F53))
    return [code for code in codes if jis_to_character(code) not in _SMALL_AND_OBSOLETE_KANA]


def _list_japanese() -> list[int]:
    """Lists 々 〆 〇 ー, digits, Latin letters, hiragana, katakana, all kanji of JIS X 0208, the Joyo kanji beyond."""
    codes = _list_assigned((0x2139, 0x213C), (0x2330, 0x237A), (0x2421, 0x2473), (0x2521, 0x2576), (0x3021, 0x7426))
    return sorted([*codes, *map(character_to_jis, _JOYO_BEYOND_JIS_X_0208)])


ETL9G_SET = CharacterSet(
    name="etl9g",
    title="the 3,036 characters of ETL9G",
    dataset="ETL9G",
    description="71 hiragana, then 2,965 JIS level-1 kanji, by JIS X 0208 code",
    jis_codes=np.array(_list_etl9g(), dtype=np.uint16),
)
JAPANESE_SET = CharacterSet(
    name="japanese",
    title="the 6,594 characters of Japanese",
    dataset="Japanese",
    description=(
        "々 〆 〇 ー, digits, Latin letters, hiragana, katakana, the kanji of JIS X 0208 and 塡 剝 𠮟 頰, "
        "by code of JIS X 0213's plane 1"
    ),
    jis_codes=np.array(_list_japanese(), dtype=np.uint16),
)
CHARACTER_SETS = {each.name: each for each in (ETL9G_SET, JAPANESE_SET)}
SET_OF_TABLE = {each.characters: each for each in CHARACTER_SETS.values()}  # class table -> its set
SET_OF_SHA256 = {each.sha256: each for each in CHARACTER_SETS.values()}  # its checksum

# Of ETL9G, the default set.
JIS_CODES = ETL9G_SET.jis_codes
CHARACTERS = ETL9G_SET.characters
CLASS_OF_CHARACTER = ETL9G_SET.class_of_character
NUM_CLASSES = ETL9G_SET.num_classes  # 3,036
NUM_HIRAGANA = int(np.count_nonzero(ETL9G_SET.is_of("hiragana")))  # 71: classes 0-70
