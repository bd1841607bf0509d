"""The parts of a dataset as a trained network's own training divided it."""

import numpy as np
import numpy.typing as npt
import torch

from kanjinet.data.dataset import DatasetInfo, read_images, read_labels
from kanjinet.data.splits import split_as_trained
from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.training.samples import Samples


def read_part(
    info: DatasetInfo, checkpoint: Checkpoint, part: str, max_images: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Reads images (n, S, S) and labels (n,) of one part of a network's training, "train", "validation" or "test".

    Another dataset is divided in the same way. Of more than `max_images`, so many are chosen, always the same ones.
    """
    labels = read_labels(info)
    indices = split_as_trained(labels, info.sha256, checkpoint.card.options)[part]
    if max_images is not None:
        chosen = np.random.default_rng(0).choice(indices, min(max_images, len(indices)), replace=False)
        indices = np.sort(chosen)
    return read_images(info, indices), labels.classes[indices].astype(np.int64)


def load_held_out(info: DatasetInfo, checkpoint: Checkpoint) -> tuple[Samples, Samples]:
    """Loads the validation and the test samples of a network's training.

    Raises:
        KanjinetError: the dataset's images are of another size or preprocessing, or of other characters.
    """
    size, preprocessing = checkpoint.config.image_size, checkpoint.card.preprocessing
    if info.character_set != checkpoint.character_set:
        raise KanjinetError(
            f"{info.folder}: of {info.character_set.title}, the network is of {checkpoint.character_set.title}",
            "name another dataset with --data-dir",
        )
    if (info.image_size, info.preprocessing) != (size, preprocessing):
        raise KanjinetError(
            f"{info.folder}: images of {info.image_size} pixels, preprocessing {info.preprocessing}, the network "
            f"needs {size} pixels, {preprocessing}",
            "name another dataset with --data-dir",
        )
    validation, test = (
        Samples(*map(torch.from_numpy, read_part(info, checkpoint, part))) for part in ("validation", "test")
    )
    return validation, test
