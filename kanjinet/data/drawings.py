"""Files of real drawings, made on a screen: images to evaluate a network on, never to train it with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.errors import KanjinetError
from kanjinet.storage.zip_files import read_arrays


@dataclass(frozen=True)
class Drawings:
    """Represents images (n, height, width) uint8, bright ink on paper of 0, and their classes (n,) int64."""

    ink: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]


def read_drawings(path: Path, character_set: CharacterSet = ETL9G_SET) -> Drawings:
    """Reads an .npz file of `images` (n, height, width) uint8, dark on white, and `characters` (n,), one each.

    Raises:
        KanjinetError: no such file, another kind of file, or a character that is none of the set's.
    """
    remedy = "name an .npz file with the arrays images (n, height, width) uint8 and characters (n,)"
    if not path.is_file():
        raise KanjinetError(f"{path}: not found", remedy)
    try:
        with open(path, "rb") as file:
            images, characters = read_arrays(file, ("images", "characters")).values()
    except ValueError as error:
        raise KanjinetError(f"{path}: not a file of drawings ({error})", remedy) from error
    if not images.size or images.ndim != 3 or images.dtype != np.uint8 or characters.shape != images.shape[:1]:
        raise KanjinetError(
            f"{path}: images {images.shape} {images.dtype}, characters {characters.shape}, are no drawings", remedy
        )
    if unknown := sorted({str(character) for character in characters} - character_set.class_of_character.keys()):
        raise KanjinetError(f"{path}: {unknown[0]!r} is none of {character_set.title}", "leave its drawings out")
    classes = np.array([character_set.class_of_character[str(character)] for character in characters], dtype=np.int64)
    return Drawings(255 - images, classes)
