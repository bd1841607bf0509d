"""What reads files that may come from anyone, as a fuzzer calls it: bytes in, nothing or KanjinetError out."""

import contextlib
import functools
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kanjinet.classes import ETL9G_SET, JIS_CODES
from kanjinet.contract import NORMALIZE
from kanjinet.data import etl_records
from kanjinet.data.dataset import (
    CHARACTER_MAPPING_NAME,
    CHUNK_INFO_NAME,
    METADATA_NAME,
    ChunkInfo,
    DatasetInfo,
    Labels,
    check_chunk,
    chunk_name,
    decode_labels,
    describe_dataset,
    hash_dataset,
    read_dataset_info,
    write_chunk,
)
from kanjinet.data.etl_files import find_etl_files
from kanjinet.data.image_files import read_image, to_network_input
from kanjinet.errors import KanjinetError
from test_etl9g_setup import check_mapping
from tests.sample_files import draw_small_ink, pack_m_record

SIZE = 32  # pixels
RECORDS = 3


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        read: takes a file's bytes and an empty folder to put them in; raises KanjinetError where they are refused.
        make_seeds: files that it accepts.
    """

    read: Callable[[bytes, Path], None]
    make_seeds: Callable[[], list[bytes]]


def read_records(content: bytes, folder: Path) -> None:
    """An ETL9G file, as preparation reads it."""
    (folder / "ETL9G_01").write_bytes(content)
    for file in find_etl_files(folder):
        records = etl_records.open_records(file, allow_partial=True)
        classes, origins = etl_records.decode_classes(file, records), etl_records.decode_origins(file, records)
        cells = etl_records.unpack_pixels(records["pixels"])
        etl_records.is_synthetic(file, records)
        assert len(classes) == len(origins.data_sets) == len(cells) == len(content) // etl_records.RECORD_BYTES
        assert classes.min() >= 0
        assert 1 <= origins.data_sets.min() <= origins.data_sets.max() <= etl_records.SETS_PER_FILE
        assert origins.sheets.max() <= etl_records.SETS_PER_FILE * etl_records.SHEETS_PER_SET
        np.testing.assert_array_equal(etl_records.pack_pixels(cells), records["pixels"])


def make_records() -> list[bytes]:
    """Three records."""
    records = np.zeros(RECORDS, etl_records.RECORD_DTYPE)
    records["sheet"] = 1, 40, 80
    records["jis_code"] = JIS_CODES[[0, 2080, 3035]]
    records["pixels"][:, 50:70, 20:40] = 0x8F
    return [records.tobytes()]


def read_m_records(content: bytes, folder: Path) -> None:
    """An ETL1 file, as preparation reads it."""
    (folder / "ETL1C_01").write_bytes(content)
    for file in find_etl_files(folder):
        records = etl_records.open_records(file)
        labels, kept, note = decode_labels(file, records)
        assert len(kept) == len(records) and len(labels) == np.count_nonzero(kept) and "\n" not in note
        assert not len(labels) or 201 <= labels.data_sets.min() <= labels.data_sets.max() <= 225
        etl_records.is_synthetic(file, records)
        etl_records.unpack_cells(etl_records.ETL1, records["pixels"], 17)


def make_m_records() -> list[bytes]:
    """Two characters of twenty sheets."""
    return [b"".join(pack_m_record(code, sheet, draw_small_ink(sheet)) for code in b"AB" for sheet in range(20))]


def describe_chunk(content: bytes) -> ChunkInfo:
    """What chunk_info.json says of the only chunk."""
    return ChunkInfo(chunk_name(1), RECORDS, hashlib.sha256(content).hexdigest(), "ETL9G_01", 1, "", False)


def read_as_chunk(content: bytes, folder: Path) -> None:
    """A chunk of a dataset whose description is right about its checksum."""
    chunk = describe_chunk(content)
    (folder / chunk.name).write_bytes(content)
    check_chunk(DatasetInfo(folder, SIZE, NORMALIZE, ("ETL9G",), ETL9G_SET, False, (chunk,), ""), chunk)


def make_labels() -> Labels:
    """Those of three images."""
    numbers = np.arange(1, RECORDS + 1)
    return Labels(numbers.astype(np.uint16), numbers.astype(np.uint8), numbers.astype(np.uint8))


def make_chunks() -> list[bytes]:
    """The toolkit's own way of packing, and numpy's two."""
    labels, images = make_labels(), np.full((RECORDS, SIZE, SIZE), 7, np.uint8)
    own, *others = (io.BytesIO() for _ in range(3))
    write_chunk(own, labels, SIZE, [images])
    arrays: dict[str, Any] = {"X": images, "y": labels.classes, "data_set": labels.data_sets, "sheet": labels.sheets}
    np.savez(others[0], **arrays)
    np.savez_compressed(others[1], **arrays)
    return [file.getvalue() for file in (own, *others)]


def describe_info(chunks: tuple[ChunkInfo, ...]) -> DatasetInfo:
    """What metadata.json says of a dataset of these chunks."""
    return DatasetInfo(Path(), SIZE, NORMALIZE, ("ETL9G",), ETL9G_SET, False, chunks, hash_dataset(chunks))


@functools.cache
def make_descriptions() -> dict[str, bytes]:
    """The JSON files of a dataset, as the toolkit writes them."""
    chunks = (describe_chunk(b""),)
    contents = {
        CHUNK_INFO_NAME: {"settings": {}, "chunks": [asdict(chunk) for chunk in chunks]},
        METADATA_NAME: describe_dataset(describe_info(chunks), make_labels()),
        CHARACTER_MAPPING_NAME: ETL9G_SET.describe_classes(),
    }
    return {name: json.dumps(content, ensure_ascii=False).encode() for name, content in contents.items()}


def read_description(content: bytes, folder: Path, name: str) -> None:
    """One of the JSON files of a dataset that is otherwise whole."""
    for each, expected in make_descriptions().items():
        (folder / each).write_bytes(content if each == name else expected)
    info = read_dataset_info(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        check_mapping(info)


def read_any_image(content: bytes, _folder: Path) -> None:
    """An image of any kind, up to the network's input."""
    ink = read_image(io.BytesIO(content), "image")
    seen = to_network_input(ink, SIZE, NORMALIZE)
    assert seen is None or (seen.shape == (SIZE, SIZE) and seen.max() == 255)


def make_images() -> list[bytes]:
    """Small images of many kinds."""
    gray = np.full((40, 60), 255, np.uint8)
    gray[5:35, 20:24] = gray[8:12, 10:50] = 0
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = Image.fromarray(gray)
    kinds = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000", "DDS", "ICNS", "SGI")
    seeds = [_save(image.convert("RGB"), kind) for kind in kinds]
    seeds += [_save(image, "JPEG", exif=exif), _save(image.convert("1"), "TIFF", compression="group4")]
    seeds += [_save(image.convert("P"), "PNG", transparency=0), _save(image.convert("LA"), "PNG")]
    return [*seeds, _save(image.convert("F"), "TIFF"), _save(image.convert("CMYK"), "JPEG", progressive=True)]


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read_checkpoint(content: bytes, folder: Path) -> None:
    """A .pth file."""
    from kanjinet.storage.checkpoint import load_checkpoint

    (folder / "m.pth").write_bytes(content)
    load_checkpoint(folder / "m.pth")


def read_safetensors(content: bytes, folder: Path) -> None:
    """A .safetensors file."""
    from kanjinet.storage.safetensors_file import load_safetensors

    (folder / "m.safetensors").write_bytes(content)
    load_safetensors(folder / "m.safetensors")


def make_small_checkpoints() -> list[bytes]:
    """A checkpoint with a network that is none of the toolkit's, since a fuzzer gets nowhere with 9 MB of weights."""
    import torch

    from kanjinet.classes import CHARACTERS
    from kanjinet.model import ModelConfig
    from kanjinet.storage.checkpoint import CHECKPOINT_FORMAT

    content = {
        "format": CHECKPOINT_FORMAT,
        "config": ModelConfig.preset("1.0", SIZE).to_dict(),
        "state_dict": {"stages.0.0.0.weight": torch.zeros(1, 1, 3, 3)},
        "class_table": CHARACTERS,
        "preprocessing": NORMALIZE,
        "synthetic": True,
        "training": {"split": "random"},
        "dataset_sha256": "",
        "environment": {},
    }
    file = io.BytesIO()
    torch.save(content, file)
    return [file.getvalue()]


def make_small_safetensors() -> list[bytes]:
    """The same as a .safetensors file."""
    import torch
    from safetensors.torch import save

    from kanjinet.classes import CHARACTERS
    from kanjinet.model import ModelConfig
    from kanjinet.storage.safetensors_file import SAFETENSORS_FORMAT

    header = {
        "kanjinet_format": SAFETENSORS_FORMAT,
        "class_table": CHARACTERS,
        "config": json.dumps(ModelConfig.preset("1.0", SIZE).to_dict()),
        "preprocessing": NORMALIZE,
        "synthetic": "true",
        "training": "{}",
        "dataset_sha256": "",
        "environment": "{}",
    }
    return [bytes(save({"stages.0.0.0.weight": torch.zeros(1, 1, 3, 3)}, metadata=header))]


def _describe(name: str) -> Reader:
    return Reader(lambda content, folder: read_description(content, folder, name), lambda: [make_descriptions()[name]])


READERS = {
    "records": Reader(read_records, make_records),
    "m_records": Reader(read_m_records, make_m_records),
    "chunk": Reader(read_as_chunk, make_chunks),
    "chunk_info": _describe(CHUNK_INFO_NAME),
    "metadata": _describe(METADATA_NAME),
    "mapping": _describe(CHARACTER_MAPPING_NAME),
    "image": Reader(read_any_image, make_images),
    "checkpoint": Reader(read_checkpoint, make_small_checkpoints),
    "safetensors": Reader(read_safetensors, make_small_safetensors),
}


def read_one(name: str, content: bytes, folder: Path) -> BaseException | None:
    """Let a reader read; what it raised where that was not KanjinetError, which is its right. The folder is emptied."""
    try:
        READERS[name].read(content, folder)
    except KanjinetError as error:
        if "\n" in str(error):
            return AssertionError(f"a message of several lines: {error}")
    except Exception as error:  # whatever else it raises is a finding
        return error
    finally:
        for path in folder.iterdir():
            path.unlink()
    return None
