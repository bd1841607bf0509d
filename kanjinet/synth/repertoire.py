"""All characters that can be written, whichever set they are of: each has a number, and strokes and fonts go by it.

Those of ETL9G come first, so that a class of ETL9G is its number.
"""

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTER_SETS, ETL9G_SET, JAPANESE_SET, CharacterSet
from kanjinet.synth.other_characters import FREQUENT_OTHERS

_IN_SETS = "".join(dict.fromkeys("".join(each.characters for each in CHARACTER_SETS.values())))
REPERTOIRE = "".join(dict.fromkeys(_IN_SETS + "".join(FREQUENT_OTHERS.values())))  # number -> character
NUMBER_OF = {character: number for number, character in enumerate(REPERTOIRE)}
WITH_STROKES = (ETL9G_SET.num_classes, len(_IN_SETS))  # the glyph table is of so many: fewer where these are enough
_SIMPLE = "々〆〇ー" + "".join(np.array(list(JAPANESE_SET.characters))[~JAPANESE_SET.is_of("kanji")])
IS_KANA = np.isin(np.array(list(REPERTOIRE)), list(_SIMPLE))  # (n,) written as small and as freely as hiragana


def numbers_of(character_set: CharacterSet, classes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Returns the number of each class of a set."""
    numbers = np.array([NUMBER_OF[character] for character in character_set.characters])
    return numbers[classes]
