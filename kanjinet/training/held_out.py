"""The images that a trained network's own training held back."""

import numpy as np
import torch

from kanjinet.data.dataset import DatasetInfo, read_images, read_labels
from kanjinet.data.splits import split_as_trained
from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.training.trainer import Samples


def load_held_out(info: DatasetInfo, checkpoint: Checkpoint) -> dict[str, Samples]:
    """The "validation" and "test" samples of a network's training; of another dataset, parts divided in the same way.

    Raises:
        KanjinetError: the dataset's images are of another size or preprocessing.
    """
    wanted = checkpoint.config.image_size, checkpoint.preprocessing
    if (info.image_size, info.preprocessing) != wanted:
        raise KanjinetError(
            f"{info.folder}: images of {info.image_size} pixels, preprocessing {info.preprocessing}, the network "
            f"needs {wanted[0]} pixels, {wanted[1]}",
            "name another dataset with --data-dir",
        )
    labels = read_labels(info.folder, info.chunks)
    parts = split_as_trained(labels, info.sha256, checkpoint.training)
    return {
        name: Samples(
            torch.from_numpy(read_images(info, parts[name])),
            torch.from_numpy(labels.classes[parts[name]].astype(np.int64)),
        )
        for name in ("validation", "test")
    }
