"""The 3,036 characters of ETL9G in class order: 71 hiragana, then 2,965 JIS level-1 kanji, by JIS code.

Source of the order and the extent: AIST, "Specification of ETL-9".
"""

import hashlib

import numpy as np
import numpy.typing as npt

_SMALL_AND_OBSOLETE_KANA = "ぁぃぅぇぉっゃゅょゎゐゑ"


def jis_to_character(jis_code: int) -> str:
    """The Unicode character of a JIS X 0208 code such as 0x4544 (田); a table, not arithmetic.

    Raises:
        UnicodeDecodeError: JIS X 0208 assigns nothing to the code.
    """
    return bytes([0x80 | jis_code >> 8, 0x80 | jis_code & 0xFF]).decode("euc_jp")


def _list_jis_codes() -> list[int]:
    hiragana = [code for code in range(0x2421, 0x2474) if jis_to_character(code) not in _SMALL_AND_OBSOLETE_KANA]
    kanji = [row << 8 | cell for row in range(0x30, 0x50) for cell in range(0x21, 0x7F) if row << 8 | cell <= 0x4F53]
    return hiragana + kanji


JIS_CODES: npt.NDArray[np.uint16] = np.array(_list_jis_codes(), dtype=np.uint16)  # class -> JIS code
NUM_CLASSES = len(JIS_CODES)  # 3,036
NO_CLASS = -1  # of an image that shows none of the characters
NUM_HIRAGANA = int(np.count_nonzero(JIS_CODES < 0x3000))  # 71: classes 0-70
CHARACTERS = "".join(jis_to_character(int(code)) for code in JIS_CODES)  # class -> character
CLASS_OF_CHARACTER = {character: index for index, character in enumerate(CHARACTERS)}
CLASS_TABLE_SHA256 = hashlib.sha256(CHARACTERS.encode("utf-8")).hexdigest()

_CLASS_OF_JIS = np.full(1 << 16, -1, dtype=np.int16)
_CLASS_OF_JIS[JIS_CODES] = np.arange(NUM_CLASSES, dtype=np.int16)


def classes_of_jis(jis_codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.int16]:
    """Class index (0-3035) of each JIS code; -1 where the code is none of ETL9G's."""
    return _CLASS_OF_JIS[jis_codes]


def describe_classes() -> dict[str, dict[str, str]]:
    """Class index -> character and JIS code, as the mapping files hold them: {"0": {"character": "あ", ...}, ...}."""
    return {
        str(index): {"character": character, "jis_code": f"{code:04X}"}
        for index, (character, code) in enumerate(zip(CHARACTERS, JIS_CODES, strict=True))
    }
