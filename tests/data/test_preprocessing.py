"""The preprocessing against its written contract, by a slow second implementation that follows the words."""

import math

import numpy as np
import pytest

from kanjinet.contract import NORMALIZE, PLAIN
from kanjinet.data.preprocessing import preprocess


def spread_columns(box: np.ndarray, count: int) -> np.ndarray:
    """(count, width) fraction of each column of the box in the mean that makes an output column."""
    height, width = box.shape
    reach = math.floor(max(box.shape) * 4 / 52 + 0.5)
    padded = np.pad(box.astype(float), ((0, 0), (1, 1)))
    contrast = [
        sum(abs(padded[y, x + 1] - padded[y, x]) + abs(padded[y, x + 2] - padded[y, x + 1]) for y in range(height))
        for x in range(width)
    ]
    smooth = [
        sum(contrast[min(max(x + k, 0), width - 1)] for k in range(-reach, reach + 1)) / (2 * reach + 1)
        for x in range(width)
    ]
    density = [value + sum(smooth) / width for value in smooth]
    ends = [sum(density[: x + 1]) / sum(density) * count for x in range(width)]  # in output columns
    fractions = np.zeros((count, width))
    for i in range(count):
        for x in range(width):
            start = ends[x - 1] if x else 0.0
            overlap = max(0.0, min(ends[x], i + 1) - max(start, i))
            fractions[i, x] = overlap / (ends[x] - start)  # of the column's width
    return fractions / fractions.sum(axis=1, keepdims=True)


def follow_contract(image: np.ndarray, size: int) -> np.ndarray:
    paper = sorted(image.ravel().tolist())[(image.size - 1) // 2]
    ink = np.maximum(image.astype(int) - paper, 0)
    ink[ink * 8 < ink.max()] = 0
    rows, columns = np.nonzero(ink >= ink.max() / 4)
    box = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    target = round(size * 52 / 64)
    shorter = max(1, math.floor(target * math.sqrt(math.sin(math.pi / 2 * min(box.shape) / max(box.shape))) + 0.5))
    height = target if box.shape[0] == max(box.shape) else shorter
    width = target if box.shape[1] == max(box.shape) else shorter
    scaled = spread_columns(box.T, height) @ box @ spread_columns(box, width).T
    out = np.zeros((size, size))
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = np.floor(scaled * 255 / scaled.max() + 0.5)
    return out


def draw_blob(seed: int, height: int = 127, width: int = 128) -> np.ndarray:
    """A patch of random ink levels somewhere inside an empty image."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), dtype=np.uint8)
    box_height, box_width = rng.integers(3, height // 2), rng.integers(3, width // 2)
    top, left = rng.integers(5, height - box_height - 5), rng.integers(5, width - box_width - 5)
    smooth = rng.integers(0, 200, (box_height, box_width))
    image[top : top + box_height, left : left + box_width] = smooth
    return image


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128])
def test_images_follow_the_written_contract(size: int) -> None:
    images = np.stack([draw_blob(seed) for seed in range(12)])
    results = preprocess(images, size, NORMALIZE, cells=False)
    for image, result in zip(images, results, strict=True):
        assert np.abs(result.astype(float) - follow_contract(image, size)).max() <= 1


@pytest.mark.parametrize("shape", [(300, 300), (20, 500), (9, 7)])
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, dtype=np.uint8)
    image[2:-2, 2:-2] = np.random.default_rng(0).integers(1, 255, (shape[0] - 4, shape[1] - 4))
    result = preprocess(image[None], 64, NORMALIZE, cells=False)[0]
    assert np.abs(result.astype(float) - follow_contract(image, 64)).max() <= 1


def test_faint_and_shifted_ink_comes_out_the_same() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    image[40:80, 50:60] = 60
    image[40:50, 50:90] = 60
    strong_elsewhere = np.roll(image * 4, (20, 15), axis=(0, 1))
    first, second = preprocess(np.stack([image, strong_elsewhere]), 64, NORMALIZE, cells=True)
    assert first.max() == 255
    np.testing.assert_array_equal(first, second)


def test_paper_that_is_gray_and_dirty_counts_as_clean() -> None:
    clean = np.zeros((127, 128), dtype=np.uint8)
    clean[30:70, 50:60] = clean[60:70, 50:90] = 180
    dirty = clean + np.where(clean, 0, np.random.default_rng(0).integers(0, 20, clean.shape)).astype(np.uint8)
    results = preprocess(np.stack([clean, clean + np.uint8(60), dirty]), 64, NORMALIZE, cells=False)
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0].astype(int) - results[2]).max() <= 16  # the dirt's median of 10 makes ink 170 of 180
    assert (results[2][results[0] == 0] == 0).all()


def test_longer_side_fills_52_of_64_and_flat_characters_become_less_flat() -> None:
    image = np.zeros((127, 128), dtype=np.uint8)
    image[60:66, 20:98] = 100  # 78 x 6, like 一
    rows, columns = np.nonzero(preprocess(image[None], 64, NORMALIZE, cells=True)[0])
    assert (columns.min(), columns.max()) == (6, 57)
    assert (rows.min(), rows.max()) == (23, 40)  # 18 rows = 52 x sqrt(sin(pi / 2 x 6 / 78))


def test_empty_images_stay_empty() -> None:
    assert not preprocess(np.zeros((2, 127, 128), dtype=np.uint8), 64, NORMALIZE, cells=True).any()


def test_plain_is_the_whole_cell_resized() -> None:
    cell = np.zeros((1, 128, 128), dtype=np.uint8)
    cell[0, 32:64, 64:96] = 136
    expected = np.zeros((64, 64), dtype=np.uint8)
    expected[16:32, 32:48] = 136
    np.testing.assert_array_equal(preprocess(cell, 64, PLAIN, cells=True)[0], expected)


def test_a_batch_is_its_images_one_by_one() -> None:
    flat = np.zeros((40, 127, 128), dtype=np.uint8)  # whose means are often exactly between two levels
    for number, image in enumerate(flat):
        image[30 : 70 + number, 40:44] = image[50:54, 40 : 60 + number] = 136
        image[90:94, 50 : 52 + number] = 68
    images = np.concatenate([np.stack([draw_blob(seed) for seed in range(6)]), flat])
    together = preprocess(images, 48, NORMALIZE, cells=True)
    for index in range(len(images)):
        alone = preprocess(images[index : index + 1], 48, NORMALIZE, cells=True)[0]
        np.testing.assert_array_equal(alone, together[index])
