"""Network inputs for exports: to compare on, to calibrate quantization on, and to measure its loss on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.data.dataset import METADATA_NAME, DatasetInfo, read_dataset_info, read_images
from kanjinet.data.preprocessing import preprocess, to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.synth.printed import draw_character
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.held_out import read_part
from kanjinet.training.samples import to_float_images

NUM_IMAGES = 512
CALIBRATION_IMAGES = 512
HELD_OUT_IMAGES = 4096
_BATCH = 32

Inputs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SampleInputs:
    """Holds network inputs (n, 1, size, size) float32, 0-1, and their origin, for messages."""

    inputs: Inputs
    origin: str


def load_sample_inputs(
    data_dir: Path, image_size: int, preprocessing: str, character_set: CharacterSet = ETL9G_SET
) -> SampleInputs:
    """Loads images of a dataset that was prepared in the same way, or draws characters where there is none.

    Raises:
        KanjinetError: the dataset is damaged, or KanjiVG is not installed.
    """
    random = np.random.default_rng(0)
    if info := _read_matching_info(data_dir, (image_size, preprocessing, character_set)):
        chunk = info.chunks[-1]
        count = min(NUM_IMAGES, chunk.records)
        indices = np.sort(random.choice(chunk.records, count, replace=False))
        images = read_images(replace(info, chunks=(chunk,)), indices)
        return SampleInputs(to_model_input(images), f"{count} images of {data_dir / chunk.name}")
    classes = np.sort(random.choice(character_set.num_classes, NUM_IMAGES, replace=False))
    drawn = np.stack([draw_character(character_set.characters[index]) for index in classes])
    images = preprocess(drawn, image_size, preprocessing, cells=False)
    return SampleInputs(to_model_input(images), f"{NUM_IMAGES} characters drawn from KanjiVG")


def make_random_inputs(count: int, image_size: int) -> Inputs:
    """Makes inputs (count, 1, image_size, image_size) float32, uniform in 0-1, the same at every call."""
    return np.random.default_rng(1).random((count, 1, image_size, image_size), dtype=np.float32)


def load_calibration_inputs(data_dir: Path, checkpoint: Checkpoint) -> Inputs:
    """Loads images that a checkpoint was trained on, augmented as in training: (512, 1, size, size) float32, 0-1.

    The augmentation matters: measured on neat images only, ranges are too small for coarse and blurred ones.

    Raises:
        KanjinetError: no dataset, or one that was prepared in another way.
    """
    images, _ = read_part(read_calibration_info(data_dir, checkpoint), checkpoint, "train", CALIBRATION_IMAGES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches = to_float_images(torch.from_numpy(images)).split(_BATCH)
        return torch.cat([Augmentation()(batch) for batch in batches]).numpy()


def read_calibration_info(data_dir: Path, checkpoint: Checkpoint) -> DatasetInfo:
    """Reads what there is to know of the dataset that `load_calibration_inputs` takes its images from.

    Raises:
        KanjinetError: no dataset, or one that was prepared in another way.
    """
    info = _read_matching_info(data_dir, _describe_inputs(checkpoint))
    if info is None:
        raise KanjinetError(
            f"{data_dir}: no prepared dataset with images of {checkpoint.config.image_size} pixels and preprocessing "
            f"{checkpoint.card.preprocessing}, of {checkpoint.character_set.title}, on which --quantize int8 measures "
            "activations",
            "name the one that the network was trained on with --data-dir, or use --quantize int8-weights or fp16",
        )
    return info


def load_held_out_inputs(data_dir: Path, checkpoint: Checkpoint) -> tuple[Inputs, npt.NDArray[np.int64]] | None:
    """Loads held-out images (n, 1, size, size) and their class indices (n,); at most 4,096.

    Returns:
        None where there is no dataset whose images were prepared as those that the network was trained on.
    """
    info = _read_matching_info(data_dir, _describe_inputs(checkpoint))
    if info is None:
        return None
    images, labels = read_part(info, checkpoint, "test", HELD_OUT_IMAGES)
    return to_model_input(images), labels


def _describe_inputs(checkpoint: Checkpoint) -> tuple[int, str, CharacterSet]:
    return checkpoint.config.image_size, checkpoint.card.preprocessing, checkpoint.character_set


def _read_matching_info(data_dir: Path, wanted: tuple[int, str, CharacterSet]) -> DatasetInfo | None:
    """Reads the description of a dataset of an image size, a preprocessing and a character set."""
    if not (data_dir / METADATA_NAME).is_file():
        return None
    info = read_dataset_info(data_dir)
    return info if (info.image_size, info.preprocessing, info.character_set) == wanted else None
