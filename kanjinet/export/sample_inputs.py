"""Inputs to compare networks on: images of a dataset where there is one, else characters drawn from KanjiVG."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS, NUM_CLASSES
from kanjinet.data.dataset import METADATA_NAME, read_dataset_info, read_images
from kanjinet.data.preprocessing import preprocess, to_model_input
from kanjinet.synth.printed import draw_character

NUM_IMAGES = 512


@dataclass(frozen=True)
class SampleInputs:
    """Holds network inputs and their origin.

    Attributes:
        inputs: (n, 1, size, size) float32, 0-1.
        origin: where they come from, for messages.
    """

    inputs: npt.NDArray[np.float32]
    origin: str


def load_sample_inputs(data_dir: Path, image_size: int, preprocessing: str) -> SampleInputs:
    """Loads images of a dataset that was prepared in the same way, or draws characters where there is none.

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
            return SampleInputs(to_model_input(images), f"{count} images of {data_dir / chunk.name}")
    classes = np.sort(random.choice(NUM_CLASSES, NUM_IMAGES, replace=False))
    drawn = np.stack([draw_character(CHARACTERS[index]) for index in classes])
    images = preprocess(drawn, image_size, preprocessing, cells=False)
    return SampleInputs(to_model_input(images), f"{NUM_IMAGES} characters drawn from KanjiVG")


def make_random_inputs(count: int, image_size: int) -> npt.NDArray[np.float32]:
    """Makes inputs (count, 1, image_size, image_size) float32, uniform in 0-1, the same at every call."""
    return np.random.default_rng(1).random((count, 1, image_size, image_size), dtype=np.float32)
