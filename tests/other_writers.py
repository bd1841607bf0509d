"""Handwriting by other writers than the toolkit's: nothing is shared with `make_sample_etl9g.py` but KanjiVG's files.

Strokes turn, shrink and tremble one by one, waves bend the whole, a round nib of one width draws them, and the paper
has grain and specks: what reads its own writers only, or clean paper only, fails here.

Run:  python -m tests.other_writers FOLDER FILES    (writes ETL9G_01 ... with 12,144 characters each)
"""

import importlib.metadata
import re
import struct
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS

WIDTH, HEIGHT = 128, 127  # pixels of a cell
FINENESS = 4  # pixels drawn for one of the cell
SETS_PER_FILE, SHEETS, CHARACTERS_PER_SHEET = 4, 20, 152
_NUMBER = re.compile(r"-?\d*\.?\d+")
_STEPS = np.linspace(0, 1, 9)[1:, None]

Floats = npt.NDArray[np.float64]


@cache
def read_strokes(character: str) -> tuple[Floats, ...]:
    """Reads a character's strokes as lines of points (k, 2), the character's middle at 0 and its side 1."""
    folder = Path(str(importlib.metadata.distribution("kanjivg").locate_file("kanji")))
    root = ElementTree.parse(folder / f"{ord(character):05x}.svg").getroot()
    strokes = []
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        line = [np.zeros((1, 2))]
        for letter, arguments in re.findall(r"([MmCcSs])([^MmCcSs]*)", path.attrib["d"]):
            values = np.array(_NUMBER.findall(arguments), dtype=float).reshape(-1, 2)
            if letter in "Mm":
                line, handle = [values[:1]], values[0]
                continue
            size = 3 if letter in "Cc" else 2
            for part in np.split(values, len(values) // size):
                start = line[-1][-1]
                points = part + (start if letter.islower() else 0)
                if size == 2:
                    points = np.concatenate([[2 * start - handle], points])
                first, handle, end = points
                rest = 1 - _STEPS
                bend = 3 * rest**2 * _STEPS * first + 3 * rest * _STEPS**2 * handle
                line.append(rest**3 * start + bend + _STEPS**3 * end)
        strokes.append(np.concatenate(line) / 109 - 0.5)
    return tuple(strokes)


class OtherWriter:
    """Draws characters in one style, on one kind of paper."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.side = rng.uniform(55, 88)  # pixels of a character
        self.shape = np.eye(2) + rng.normal(0, 0.08, (2, 2)) - [[0, rng.uniform(0, 0.2)], [0, 0]]
        self.pen = rng.uniform(2.2, 4.5)  # pixels
        self.tremble = rng.uniform(0.006, 0.02)  # of the side
        self.waves = rng.normal(0, 0.012, (4, 2))  # of the side
        self.wave_numbers = rng.uniform(4, 10, (4, 2))
        self.phases = rng.uniform(0, 7, 4)
        self.ink = rng.uniform(6, 12)  # level
        self.grain = rng.uniform(0.3, 1.2)  # levels, standard deviation

    def draw(self, character: str, *, noise: bool = True) -> npt.NDArray[np.uint8]:
        """Draws a cell (127, 128) uint8 of levels 0-15."""
        rng = self.rng
        fine = np.zeros((HEIGHT * FINENESS, WIDTH * FINENESS), np.uint8)
        shape = (self.shape + rng.normal(0, 0.04, (2, 2))).T * self.side
        middle, phases = rng.normal(0, 4, 2) + (WIDTH / 2, HEIGHT / 2), self.phases + rng.normal(0, 1, 4)
        for stroke in read_strokes(character):
            center, turn, size = stroke.mean(0), rng.normal(0, 0.05), 1 + rng.normal(0, 0.06)
            points = (stroke - center) @ np.array([[size, turn], [-turn, size]]) + center
            points = points + rng.normal(0, self.tremble, 2)
            points = points + np.sin(points @ self.wave_numbers.T + phases) @ self.waves
            pixels = np.round((points @ shape + middle) * FINENESS * 16).astype(np.int32)
            width = round(self.pen * rng.uniform(0.8, 1.2) * FINENESS)
            cv2.polylines(fine, [pixels], False, 255, width, cv2.LINE_8, shift=4)
        ink = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) / 255
        ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.5, 0.9)) * self.ink * rng.uniform(0.85, 1.1)
        if noise:
            ink *= 1 + rng.normal(0, 0.12, ink.shape)
            ink += rng.normal(0, self.grain, ink.shape)
            for _ in range(rng.poisson(6)):
                y, x, height, width = (*rng.integers(0, HEIGHT - 2, 2), *rng.integers(1, 3, 2))
                ink[y : y + height, x : x + width] += rng.uniform(1, 6)
        return np.clip(np.round(ink), 0, 15).astype(np.uint8)


def write_file(path: Path, number: int) -> None:
    """Writes file `number`, 1 the first: four data sets, by another writer on every sheet."""
    with path.open("wb") as file:
        for data_set in range(SETS_PER_FILE):
            for sheet in range(SHEETS):
                writer = OtherWriter(np.random.default_rng([number, data_set, sheet]))
                first = sheet * CHARACTERS_PER_SHEET
                for serial, character in enumerate(CHARACTERS[first : first + CHARACTERS_PER_SHEET], first + 1):
                    levels = writer.draw(character)
                    high, low = (byte & 0x7F for byte in character.encode("euc_jp"))
                    place = (data_set * SHEETS + sheet + 1, high << 8 | low, b"-       ", serial)
                    pixels = (levels[:, ::2] << 4 | levels[:, 1::2]).tobytes()
                    file.write(struct.pack(">2H8sI4B4H2B34x8128s7x", *place, *[0] * 6, 8212, 8310, 0, 0, pixels))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file_number in range(1, int(sys.argv[2]) + 1):
        write_file(folder / f"ETL9G_{file_number:02d}", file_number)
