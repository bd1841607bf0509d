"""Paper noise and specks go from a cell, its character stays, and a clean cell is not touched."""

import cv2
import numpy as np
import pytest

from kanjinet.classes import CHARACTERS
from kanjinet.contract import NORMALIZE
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.specks import erase_specks, find_strokes
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.writers import sample_writer
from tests.other_writers import OtherWriter


def write_other_cells(characters: str, seed: int, *, noise: bool) -> np.ndarray:
    writer = OtherWriter(np.random.default_rng(seed))
    return np.stack([writer.draw(character, noise=noise) for character in characters]) * np.uint8(INK_SCALE)


def test_clean_cells_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    cells = write_sheet(np.arange(0, 3036, 20), sample_writer(rng), rng) * np.uint8(INK_SCALE)
    cleaned = erase_specks(cells)
    assert (cleaned != cells).any(axis=(1, 2)).mean() < 0.03  # a stroke's faint end may look like a speck
    other = write_other_cells("亜一二三川小八しいう", 2, noise=False)
    assert np.array_equal(erase_specks(other), other)


@pytest.mark.parametrize("place", [(8, 10), (60, 5), (120, 110)])
def test_a_speck_does_not_enlarge_the_box(place: tuple[int, int]) -> None:
    cell = np.zeros((127, 128), np.uint8)
    cell[40:90, 50:54] = cell[60:64, 40:80] = 102
    specked = cell.copy()
    y, x = place
    specked[y : y + 2, x : x + 2] = 102
    alone, other = preprocess(np.stack([cell, specked]), 64, NORMALIZE, cells=True)
    assert np.array_equal(alone, other)


@pytest.mark.parametrize("level", [4, 8, 15])
def test_dots_of_a_thin_pen_are_no_specks(level: int) -> None:
    cell = np.zeros((127, 128), np.uint8)
    cv2.line(cell, (40, 40), (40, 90), level * INK_SCALE, 3, cv2.LINE_AA)
    cv2.line(cell, (70, 35), (74, 41), level * INK_SCALE, 2, cv2.LINE_AA)  # as of ば
    rng = np.random.default_rng(level)
    noisy = np.clip(cell + rng.normal(0, 0.02 * 255, cell.shape), 0, 255).astype(np.uint8)
    strokes = find_strokes(noisy)
    assert strokes[36:40, 70:74].any() and strokes[45:85, 40].all()
    assert strokes[:, 90:].sum() == 0


def test_noise_is_erased_whether_paper_is_white_or_gray() -> None:
    clean = write_other_cells("書", 3, noise=False)[0].astype(np.float64)
    for paper in (0, 30):
        rng = np.random.default_rng(4)
        noisy = np.clip(clean + paper + rng.normal(0, 15, clean.shape), 0, 255).astype(np.uint8)
        strokes = find_strokes(noisy)
        assert strokes[clean >= clean.max() / 2].mean() > 0.95
        far = cv2.dilate((clean > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        assert strokes[far].mean() < 0.01


def test_the_shipped_model_reads_other_writers_on_noisy_paper() -> None:
    """Transfer: of these 300 characters it read 78 % as long as specks enlarged the box."""
    characters = [CHARACTERS[index] for index in range(0, 3036, 10)][:300]
    reader, read = load_recognizer(), 0
    for number in range(6):
        part = characters[50 * number : 50 * number + 50]
        images = preprocess(write_other_cells("".join(part), number, noise=True), 64, NORMALIZE, cells=True)
        best = reader.compute_logits(images).argmax(axis=1)
        read += sum(CHARACTERS[index] == each for index, each in zip(best, part, strict=True))
    assert read / 300 > 0.95
