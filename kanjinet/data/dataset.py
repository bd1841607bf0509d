"""The dataset between preparation and training: one compressed NPZ chunk for each ETL9G file, described by JSON files.

A chunk holds `X` uint8 (n, size, size), ink bright on 0; `y` uint16 (n,) class index; `data_set` uint8 (n,) 1-200, of
ETL1 201-225, of ETL6 226-255; `sheet` uint8 (n,) 1-80, counted again in each ETL9G file. Data set and sheet together
name the writer.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTER_SETS, SET_OF_SHA256, CharacterSet, find_largest_set
from kanjinet.contract import CONTRACTS, IMAGE_SIZES, check_preprocessing
from kanjinet.data.etl_files import BESIDE_OTHERS, EtlFile, has_etl_files
from kanjinet.data.etl_records import DATABASES, MAX_CHUNK_RECORDS, chunk_number, decode_classes, decode_origins
from kanjinet.data.m_type import deal_sheets, decode_sheets
from kanjinet.data.resources import usable_cores
from kanjinet.errors import KanjinetError, brief
from kanjinet.storage.files import read_bounded, read_json, write_json
from kanjinet.storage.model_card import SYNTHETIC, merge_sources, read_fonts
from kanjinet.storage.zip_files import MAX_UNPACKED_BYTES, open_array, open_zip, read_arrays

METADATA_NAME = "metadata.json"
CHUNK_INFO_NAME = "chunk_info.json"
CHARACTER_MAPPING_NAME = "character_mapping.json"
_WITH_OWN_CHUNKS = ("JAPANESE", *BESIDE_OTHERS)  # the chunks of other databases are called as ETL9G's
CHUNK_NAME = re.compile(rf"(etl9g|{'|'.join(_WITH_OWN_CHUNKS).lower()})_dataset_chunk_([0-9]{{2}})\.npz")
_ARRAYS = {"X": (np.uint8, 3), "y": (np.uint16, 1), "data_set": (np.uint8, 1), "sheet": (np.uint8, 1)}  # type, rank
DATASET_FORMAT = "kanjinet-dataset-1"
_REMEDY = "run prepare_etl9g_dataset.py"
RERUN_REMEDY = f"{_REMEDY} again"
_THREADS = min(4, usable_cores())  # inflating leaves the interpreter to others
_IMAGES_AT_ONCE = 256
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that ZIP knows: the same input gives the same bytes at any time


def chunk_name(number: int, prefix: str = "etl9g") -> str:
    """Returns the name of a chunk by its number, that of the data file or part that it is made from."""
    return f"{prefix}_dataset_chunk_{number:02d}.npz"


def chunk_name_of(part: EtlFile) -> str:
    """Returns the name of the chunk that is made from a data file or a part of one."""
    return chunk_name(chunk_number(part), part.database.lower() if part.database in _WITH_OWN_CHUNKS else "etl9g")


@dataclass(frozen=True)
class ChunkInfo:
    """Represents a chunk, and the ETL9G file that it was made from, as chunk_info.json lists them."""

    name: str
    records: int
    sha256: str
    source_name: str
    source_bytes: int
    source_sha256: str
    synthetic: bool
    fonts: tuple[str, ...] = ()  # of a sample, as a model card names them


@dataclass(frozen=True)
class DatasetInfo:
    """Represents a complete dataset folder by what its JSON files say."""

    folder: Path
    image_size: int
    preprocessing: str
    databases: tuple[str, ...]  # ETL9G, ETL8G or ETL9B, ETL1, ETL6: what the files are, or are samples of
    character_set: CharacterSet
    synthetic: bool
    chunks: tuple[ChunkInfo, ...]
    sha256: str

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of the data, as a model card names them."""
        files = [SYNTHETIC if chunk.synthetic else self.database_of(chunk) for chunk in self.chunks]
        return merge_sources(files, *(chunk.fonts for chunk in self.chunks))

    @property
    def database(self) -> str:
        """The databases in one word: ETL9G, or ETL9G+ETL1+ETL6."""
        return "+".join(self.databases)

    def database_of(self, chunk: ChunkInfo) -> str:
        """Returns the database of a chunk's file."""
        prefix = chunk.name.partition("_")[0].upper()
        return prefix if prefix in BESIDE_OTHERS else self.databases[0]

    @property
    def num_source_records(self) -> int:
        """Number of records in the files, with those that are left out."""
        return sum(chunk.source_bytes // DATABASES[self.database_of(chunk)].dtype.itemsize for chunk in self.chunks)

    @property
    def num_samples(self) -> int:
        """Number of images in all chunks."""
        return sum(chunk.records for chunk in self.chunks)


@dataclass(frozen=True)
class Labels:
    """Represents what is known of each sample but its image: arrays of shape (n,), in chunk order."""

    classes: npt.NDArray[np.uint16]
    data_sets: npt.NDArray[np.uint8]
    sheets: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.classes)


def choose_character_set(name: str | None, databases: Iterable[str]) -> CharacterSet:
    """Chooses a dataset's character set: the one of that name, or the largest of the databases' own.

    Raises:
        KanjinetError: it has none of a database's characters.
    """
    own_set = find_largest_set([DATABASES[each].character_set for each in databases])
    chosen = CHARACTER_SETS[name] if name else own_set
    if chosen != own_set and (foreign := [each for each in databases if DATABASES[each].files]):
        problem = f"--characters {chosen.name}: {foreign[0]} has none of {chosen.title}"
        raise KanjinetError(problem, "leave one of both out")
    return chosen


def decode_labels(
    file: EtlFile,
    records: npt.NDArray[np.void],
    character_set: CharacterSet | None = None,
    *,
    allow_partial: bool = False,
) -> tuple[Labels, npt.NDArray[np.bool_], str]:
    """Decodes the labels of a data file's records.

    Returns:
        The labels of those records that are of the classes; which of all they are, (n,); and what to say where
        sheet numbers and order disagree, or records are left out.

    Raises:
        KanjinetError: a JIS code that the database does not have; or, of ETL1 and ETL6, unless `allow_partial`, far
            fewer records of a character than of others.
    """
    database = DATABASES[file.database]
    if database.files:
        own_set = character_set or database.character_set
        classes, note = decode_sheets(file.path, records, own_set, allow_partial=allow_partial)
        kept = classes >= 0
        origins_of_kept = deal_sheets(records["sheet"][kept], database.labels)
        return Labels(classes[kept].astype(np.uint16), *origins_of_kept), kept, note
    classes, origins = decode_classes(file, records, character_set), decode_origins(file, records)
    kept = classes >= 0
    labels = Labels(classes[kept].astype(np.uint16), origins.data_sets[kept], origins.sheets[kept])
    return labels, kept, origins.disagreement


def concatenate_labels(parts: Sequence[Labels]) -> Labels:
    """Joins the labels of successive files or chunks."""
    return Labels(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def write_chunk(file: IO[bytes], labels: Labels, size: int, image_blocks: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Writes one chunk to an open file; the images arrive in blocks, so that a chunk is never held as a whole."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, values in (("y", labels.classes), ("data_set", labels.data_sets), ("sheet", labels.sheets)):
            with _open_member(archive, name) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)
        with _open_member(archive, "X") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), size, size)}
            np.lib.format.write_array_header_1_0(member, header)
            for block in image_blocks:
                member.write(np.ascontiguousarray(block).data)


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    member = archive.open(entry, "w")
    # Runs of paper are nearly all there is to find: Z_RLE takes 0.6 of the time of level 1 for 0.92 of its bytes.
    # zipfile offers levels only, so its compressor is exchanged before the first byte.
    member._compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_RLE)  # type: ignore[attr-defined]
    return member


def hash_dataset(chunks: Iterable[ChunkInfo]) -> str:
    """Computes a dataset's checksum, of its chunks' names and checksums in order."""
    lines = "".join(f"{chunk.name} {chunk.sha256}\n" for chunk in chunks)
    return hashlib.sha256(lines.encode("utf-8", "backslashreplace")).hexdigest()


def write_chunk_infos(folder: Path, chunks: Iterable[ChunkInfo], settings: dict[str, Any]) -> None:
    """Writes chunk_info.json: the settings, then each chunk with the checksums of source and result."""
    entries = [asdict(chunk) for chunk in sorted(chunks, key=lambda chunk: chunk.name)]
    for entry in entries:
        if not entry["fonts"]:
            del entry["fonts"]
    write_json(folder / CHUNK_INFO_NAME, {"settings": settings, "chunks": entries})


def read_chunk_infos(folder: Path) -> tuple[tuple[ChunkInfo, ...], dict[str, Any]]:
    """Reads the chunks that chunk_info.json lists, by file number, and the settings that they were made with.

    Raises:
        KanjinetError: it is missing, damaged, or names anything but chunks of this folder.
    """
    path = folder / CHUNK_INFO_NAME
    content = read_json(path, _REMEDY)
    try:
        settings = dict(content["settings"])
        chunks = tuple(ChunkInfo(**{**entry, "fonts": read_fonts(entry)}) for entry in content["chunks"])
        names = [chunk.name for chunk in chunks]
        if names != sorted(set(names)) or not all(CHUNK_NAME.fullmatch(name) for name in names):
            raise KanjinetError(
                f"{path}: its chunk names are not such as etl9g_dataset_chunk_01.npz, or not in order", _REMEDY
            )
        if not all(type(chunk.records) is int and 0 <= chunk.records <= MAX_CHUNK_RECORDS for chunk in chunks):
            raise KanjinetError(
                f"{path}: a chunk whose number of records is none of 0 to {MAX_CHUNK_RECORDS:,}", _REMEDY
            )
    except (KeyError, TypeError, ValueError) as error:
        raise KanjinetError(f"{path}: does not list chunks ({brief(error)})", _REMEDY) from error
    return chunks, settings


def read_dataset_info(folder: Path) -> DatasetInfo:
    """Reads the description of a complete dataset.

    Raises:
        KanjinetError: no dataset there, an unfinished one, or one of another class table or preprocessing.
    """
    path = folder / METADATA_NAME
    if not path.is_file():
        if has_etl_files(folder):
            remedy = f"{_REMEDY} --etl-dir {folder}, then name its --output-dir here"
            raise KanjinetError(
                f"{folder}: holds the raw data files, not the dataset that is prepared from them", remedy
            )
        problem = f"no {METADATA_NAME}, so no finished dataset" if folder.is_dir() else "no such folder"
        raise KanjinetError(f"{folder}: {problem}", f"{_REMEDY} --output-dir {folder} first")
    metadata = read_json(path, _REMEDY)
    chunks, _ = read_chunk_infos(folder)
    try:
        info = DatasetInfo(
            folder=folder,
            image_size=int(metadata["image_size"]),
            preprocessing=str(metadata["preprocessing"]["version"]),
            databases=tuple(str(metadata.get("dataset", "ETL9G")).split("+")),
            character_set=_find_character_set(str(metadata["class_table_sha256"]), path),
            synthetic=bool(metadata["synthetic"]),
            chunks=chunks,
            sha256=str(metadata["dataset_sha256"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise KanjinetError(f"{path}: not the description of a dataset ({brief(error)})", RERUN_REMEDY) from error
    if not DATABASES.keys() >= set(info.databases):
        raise KanjinetError(
            f"{path}: dataset {brief(info.database)}, expected one of {', '.join(DATABASES)}", RERUN_REMEDY
        )
    if info.image_size not in IMAGE_SIZES:
        raise KanjinetError(f"{path}: image_size {info.image_size}, expected one of {IMAGE_SIZES}", RERUN_REMEDY)
    check_preprocessing(info.preprocessing, str(path))
    if info.sha256 != hash_dataset(chunks):
        raise KanjinetError(f"{path}: does not belong to {CHUNK_INFO_NAME} beside it", RERUN_REMEDY)
    return info


def read_chunk(folder: Path, chunk: ChunkInfo, names: tuple[str, ...] = tuple(_ARRAYS)) -> dict[str, Any]:
    """Reads arrays of one chunk after a check of the file's checksum.

    Raises:
        KanjinetError: the chunk is missing, damaged, or not the one that chunk_info.json lists.
    """
    content, path = _read_file(folder, chunk), folder / chunk.name
    with _expect_chunk(path):
        found = read_arrays(content, names)
    for name, array in found.items():
        _check_array(path, name, array.shape, array.dtype, chunk)
    return found


def _read_file(folder: Path, chunk: ChunkInfo) -> io.BytesIO:
    """Reads the chunk's file, and compares its checksum with the one in chunk_info.json."""
    path = folder / chunk.name
    if not path.is_file():
        raise KanjinetError(f"{path}: missing chunk", f"{RERUN_REMEDY}, which writes it again")
    content = read_bounded(path, MAX_UNPACKED_BYTES, _REMEDY)
    if hashlib.sha256(content).hexdigest() != chunk.sha256:
        raise KanjinetError(
            f"{path}: damaged chunk, its checksum is not the one in {CHUNK_INFO_NAME}",
            f"{RERUN_REMEDY}, which writes it again",
        )
    return io.BytesIO(content)


@contextmanager
def _expect_chunk(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise KanjinetError(f"{path}: not a chunk ({error})", RERUN_REMEDY) from error


def _check_array(path: Path, name: str, shape: tuple[int, ...], kind: np.dtype[Any], chunk: ChunkInfo) -> None:
    expected, rank = _ARRAYS[name]
    if kind != expected or len(shape) != rank:
        raise KanjinetError(
            f"{path}: {name} is of {kind}, {shape}, expected {expected.__name__} of {rank} dimensions", RERUN_REMEDY
        )
    if shape[0] != chunk.records:
        raise KanjinetError(f"{path}: {shape[0]:,} values in {name}, expected {chunk.records:,}", RERUN_REMEDY)


def check_chunk(info: DatasetInfo, chunk: ChunkInfo) -> None:
    """Reads a whole chunk and checks everything that is promised of it.

    Raises:
        KanjinetError: with the chunk's name and what is wrong.
    """
    arrays = read_chunk(info.folder, chunk)
    path = info.folder / chunk.name
    _check_size(path, arrays["X"].shape[1:], info.image_size)
    _check_classes(path, arrays["y"], info.character_set)


def _check_size(path: Path, found: tuple[int, ...], size: int) -> None:
    if found != (size, size):
        raise KanjinetError(f"{path}: images of {found}, expected {(size, size)}", RERUN_REMEDY)


def _find_character_set(class_table_sha256: str, path: Path) -> CharacterSet:
    if class_table_sha256 not in SET_OF_SHA256:
        raise KanjinetError(f"{path}: another class table ({brief(class_table_sha256)})", RERUN_REMEDY)
    return SET_OF_SHA256[class_table_sha256]


def _check_classes(path: Path, classes: npt.NDArray[np.uint16], character_set: CharacterSet) -> None:
    if len(classes) and int(classes.max()) >= character_set.num_classes:
        problem = f"{path}: class {classes.max()}, expected 0-{character_set.num_classes - 1}"
        raise KanjinetError(problem, RERUN_REMEDY)


def read_labels(info: DatasetInfo) -> Labels:
    """Reads classes, data sets and sheets of all samples, without their images.

    Raises:
        KanjinetError: a missing or damaged chunk, or a class that the character set does not have.
    """
    parts = (read_chunk(info.folder, chunk, ("y", "data_set", "sheet")) for chunk in info.chunks)
    labels = concatenate_labels([Labels(part["y"], part["data_set"], part["sheet"]) for part in parts])
    _check_classes(info.folder, labels.classes, info.character_set)
    return labels


def read_images(
    info: DatasetInfo, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Reads the images of the given samples, (len(indices), size, size) uint8, in their order, into `out` if given.

    Chunks are unpacked beside each other, a few images at a time, so memory is little more than that of the result.

    Raises:
        KanjinetError: a missing or damaged chunk, or images of another size than metadata.json says.
    """
    images = np.empty((len(indices), info.image_size, info.image_size), dtype=np.uint8) if out is None else out
    order = np.argsort(indices, kind="stable")
    starts = np.cumsum([0, *(chunk.records for chunk in info.chunks)])
    bounds = np.searchsorted(indices[order], starts)

    def read(number: int) -> None:
        rows = order[bounds[number] : bounds[number + 1]]
        if len(rows):
            _unpack(info, info.chunks[number], indices[rows] - starts[number], rows, images)

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(read, range(len(info.chunks))):
            pass
    return images


def _unpack(
    info: DatasetInfo,
    chunk: ChunkInfo,
    numbers: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    images: npt.NDArray[np.uint8],
) -> None:
    """Copies the images of a chunk with the given numbers, ascending, to these rows of `images`."""
    content, path = _read_file(info.folder, chunk), info.folder / chunk.name
    with _expect_chunk(path), open_zip(content) as archive, open_array(archive, "X.npy") as (member, shape, kind):
        _check_array(path, "X", shape, kind, chunk)
        _check_size(path, shape[1:], info.image_size)
        block = np.empty((min(_IMAGES_AT_ONCE, chunk.records), *shape[1:]), dtype=np.uint8)
        for first in range(0, int(numbers[-1]) + 1, len(block)):
            count = min(len(block), chunk.records - first)
            pixels = member.read(block[:count].nbytes)
            block[:count] = np.frombuffer(pixels, dtype=np.uint8).reshape(block[:count].shape)
            inside = slice(*np.searchsorted(numbers, [first, first + count]))
            images[rows[inside]] = block[numbers[inside] - first]


def describe_dataset(info: DatasetInfo, labels: Labels) -> dict[str, Any]:
    """Returns the content of metadata.json."""
    fonts = merge_sources(*(chunk.fonts for chunk in info.chunks))
    character_set = info.character_set
    return {
        "format": DATASET_FORMAT,
        "dataset": info.database,
        "synthetic": info.synthetic,
        **({"fonts": list(fonts)} if fonts else {}),
        "total_samples": len(labels),
        "num_classes": character_set.num_classes,
        "image_size": info.image_size,
        "num_chunks": len(info.chunks),
        "data_sets": np.unique(labels.data_sets).tolist(),
        "dataset_sha256": info.sha256,
        "preprocessing": {"version": info.preprocessing, "contract": CONTRACTS[info.preprocessing]},
        "class_table": character_set.characters,
        "class_table_sha256": character_set.sha256,
        "samples_per_class": np.bincount(labels.classes, minlength=character_set.num_classes).tolist(),
    }
