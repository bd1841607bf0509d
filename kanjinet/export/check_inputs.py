"""Images to compare networks on: real ones of a dataset where there is one, else characters drawn from KanjiVG."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS, NUM_CLASSES
from kanjinet.data.dataset import METADATA_NAME, read_dataset_info, read_images
from kanjinet.data.preprocessing import preprocess
from kanjinet.synth.kanjivg import VIEW_BOX, read_glyph

NUM_IMAGES = 512
DRAWN_SIDE = 128  # pixels, before preprocessing
STEPS = np.linspace(0, 1, 9)[:, None]  # points on each Bézier curve


@dataclass(frozen=True)
class CheckImages:
    """Network inputs (n, 1, size, size) float32, 0-1, and where they come from, for people."""

    inputs: npt.NDArray[np.float32]
    origin: str


def load_check_images(data_dir: Path, image_size: int, preprocessing: str) -> CheckImages:
    """Images as the network knows them: of a dataset that was prepared in the same way, else drawn.

    Raises:
        KanjinetError: the dataset is damaged, or KanjiVG is not installed.
    """
    random = np.random.default_rng(0)
    if (data_dir / METADATA_NAME).is_file():
        info = read_dataset_info(data_dir)
        if (info.image_size, info.preprocessing) == (image_size, preprocessing):
            chunk = info.chunks[-1]
            count = min(NUM_IMAGES, chunk.records)
            indices = np.sort(random.choice(chunk.records, count, replace=False))
            images = read_images(replace(info, chunks=(chunk,)), indices)
            return CheckImages(_to_inputs(images), f"{count} images of {data_dir / chunk.name}")
    classes = np.sort(random.choice(NUM_CLASSES, NUM_IMAGES, replace=False))
    drawn = np.stack([draw_character(CHARACTERS[index]) for index in classes])
    images = preprocess(drawn, image_size, preprocessing, cells=False)
    return CheckImages(_to_inputs(images), f"{NUM_IMAGES} characters drawn from KanjiVG")


def make_noise(count: int, image_size: int) -> npt.NDArray[np.float32]:
    """(count, 1, image_size, image_size) float32, uniform in 0-1, the same at every call."""
    return np.random.default_rng(1).random((count, 1, image_size, image_size), dtype=np.float32)


def draw_character(character: str) -> npt.NDArray[np.uint8]:
    """A character's strokes with a round pen: (DRAWN_SIDE, DRAWN_SIDE) uint8, ink 255 on 0."""
    image = np.zeros((DRAWN_SIDE, DRAWN_SIDE), dtype=np.uint8)
    scale = 16 * DRAWN_SIDE / VIEW_BOX  # cv2 takes sixteenths of a pixel with shift=4
    for stroke in read_glyph(character).strokes:
        p0, p1, p2, p3 = (stroke.curves[:, point, None, :] for point in range(4))  # (k, 1, 2) each
        curve = (1 - STEPS) ** 3 * p0 + 3 * (1 - STEPS) ** 2 * STEPS * p1 + 3 * (1 - STEPS) * STEPS**2 * p2
        points = (curve + STEPS**3 * p3).reshape(-1, 1, 2)  # (k * 9, 1, 2)
        cv2.polylines(image, [np.round(points * scale).astype(np.int32)], False, 255, 5, cv2.LINE_AA, shift=4)
    return image


def _to_inputs(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images[:, None].astype(np.float32) / np.float32(255)
