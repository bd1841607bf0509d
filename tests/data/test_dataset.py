"""Images come out of a dataset's chunks as they went in, in any order, or not at all."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kanjinet.classes import ETL9G_SET
from kanjinet.contract import NORMALIZE
from kanjinet.data.dataset import ChunkInfo, DatasetInfo, Labels, chunk_name, read_images, write_chunk
from kanjinet.errors import KanjinetError

SIZES = (300, 1, 700)
IMAGES = np.random.default_rng(0).integers(0, 256, (sum(SIZES), 32, 32), dtype=np.uint8)


@pytest.fixture
def info(tmp_path: Path) -> DatasetInfo:
    chunks = []
    for number, images in enumerate(np.split(IMAGES, np.cumsum(SIZES)[:-1]), start=1):
        path, zeros = tmp_path / chunk_name(number), np.zeros(len(images), np.uint8)
        with open(path, "wb") as file:
            write_chunk(file, Labels(zeros.astype(np.uint16), zeros, zeros), 32, [images])
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        chunks.append(ChunkInfo(path.name, len(images), sha256, "ETL9G_01", 1, "", True))
    return DatasetInfo(tmp_path, 32, NORMALIZE, ("ETL9G",), ETL9G_SET, True, tuple(chunks), "")


@pytest.mark.parametrize(
    "indices",
    [np.arange(1001), np.random.default_rng(1).permutation(1001), np.array([1000, 5, 5, 300, 0]), np.arange(0)],
)
def test_images_come_in_the_order_asked_for(info: DatasetInfo, indices: np.ndarray) -> None:
    assert np.array_equal(read_images(info, indices), IMAGES[indices])


def test_a_chunk_that_is_not_what_it_should_be_is_named(info: DatasetInfo) -> None:
    everything = np.arange(1001)
    with pytest.raises(KanjinetError, match=r"chunk_01\.npz: images of \(32, 32\), expected \(48, 48\)"):
        read_images(replace(info, image_size=48), everything)
    short = replace(info, chunks=(*info.chunks[:2], replace(info.chunks[2], records=701)))
    with pytest.raises(KanjinetError, match=r"chunk_03\.npz: 700 values in X, expected 701: run prepare_etl9g_dataset"):
        read_images(short, everything)
    path = info.folder / info.chunks[2].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(KanjinetError, match=r"chunk_03\.npz: damaged chunk"):
        read_images(info, everything)
    changed = replace(info.chunks[2], sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(KanjinetError, match=r"chunk_03\.npz: not a chunk"):
        read_images(replace(info, chunks=(*info.chunks[:2], changed)), everything)
    assert np.array_equal(read_images(info, np.arange(301)), IMAGES[:301])  # nobody asked for the damaged one
