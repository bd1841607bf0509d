"""Prepare the dataset: ETL9G files -> one compressed NPZ chunk each, with every image preprocessed.

Reads:  ETL9G/ETL9G_01 ... ETL9G_50 (any number of them), or the files of ETL8G or ETL9B, also in folders within;
        beside them, or alone, those of ETL1 and ETL6
Writes: dataset/etl9g_dataset_chunk_*.npz, metadata.json, character_mapping.json, chunk_info.json
Run:    python prepare_etl9g_dataset.py --etl-dir ETL9G --output-dir dataset --size 64

A second run does only what is missing or changed, so an interrupted run is continued by the same command.
"""

from kanjinet.cli import make_parser, positive_int, run_script, show_path

import argparse
import hashlib
import shlex
import time
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from kanjinet.classes import CHARACTER_SETS, CharacterSet
from kanjinet.contract import IMAGE_SIZES, PREPROCESSINGS
from kanjinet.data.dataset import (
    CHARACTER_MAPPING_NAME,
    CHUNK_INFO_NAME,
    CHUNK_NAME,
    METADATA_NAME,
    RERUN_REMEDY,
    ChunkInfo,
    DatasetInfo,
    check_chunk,
    choose_character_set,
    chunk_name_of,
    decode_labels,
    describe_dataset,
    hash_dataset,
    read_chunk_infos,
    read_dataset_info,
    read_labels,
    write_chunk,
    write_chunk_infos,
)
from kanjinet.data.etl_files import EtlFile, describe_etl_files, find_databases
from kanjinet.data.etl_records import (
    DATABASES,
    SAMPLE_NOTE,
    describe_model_characters,
    is_synthetic,
    list_fonts,
    list_parts,
    read_records,
    unpack_cells,
)
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.data.worker_processes import choose_workers, open_workers
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import (
    check_output_folder,
    make_folder,
    read_json,
    replace_on_success,
    sha256_of_file,
    write_json,
)
from kanjinet.storage.locks import lock_folder

ETL_DIR = Path("ETL9G")
BLOCK_RECORDS = 128  # 2 MB of unpacked cells at a time: stays in the processor's cache


@dataclass(frozen=True)
class Settings:
    """Represents how chunks are made."""

    folder: Path
    databases: tuple[str, ...]
    character_set: CharacterSet
    image_size: int
    preprocessing: str
    allow_partial: bool

    def describe(self) -> dict[str, object]:
        """Returns what decides about a chunk's bytes, for chunk_info.json."""
        database = {} if self.databases == ("ETL9G",) else {"database": "+".join(self.databases)}
        if self.character_set != DATABASES[self.databases[0]].character_set:
            database["characters"] = self.character_set.name
        return {**database, "image_size": self.image_size, "preprocessing": self.preprocessing}


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, "python prepare_etl9g_dataset.py --etl-dir ETL9G --output-dir dataset --size 64")
    etl_dir_help = "folder of the ETL9G files, or folders of several databases: ETL9G ETL1 ETL6 (default: ETL9G)"
    parser.add_argument("--etl-dir", type=Path, nargs="+", action="extend", metavar="FOLDER", help=etl_dir_help)
    parser.add_argument("--output-dir", type=Path, default=Path("dataset"), help="folder for the dataset")
    characters_help = "character set of the dataset (default: the files' own, japanese with ETL1 and ETL6, else etl9g)"
    parser.add_argument("--characters", choices=CHARACTER_SETS, help=characters_help)
    parser.add_argument("--size", type=int, default=64, choices=IMAGE_SIZES, help="side of the images, pixels")
    parser.add_argument("--workers", type=positive_int, help="processes (default: by usable cores and memory)")
    parser.add_argument(
        "--preprocess",
        choices=PREPROCESSINGS,
        default="normalize",
        help="normalize: cropped to the ink, lines evened out, centered; plain: the whole cell resized, for comparison",
    )
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="accept files that do not hold whole data sets of each character once",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="prepare nothing: check that the dataset in --output-dir is whole, whatever the other options say",
    )
    return parser.parse_args()


def main() -> None:
    """Prepares every file, then describes the dataset."""
    args = parse_args()
    if args.verify:
        verify_dataset(args.output_dir)
        return
    check_output_folder(args.output_dir, "--output-dir")
    start = time.perf_counter()
    found = find_databases(args.etl_dir or [ETL_DIR])
    character_set = choose_character_set(args.characters, found)
    for of_database in found.values():
        print(f"reading     {describe_etl_files(of_database)}{describe_model_characters(of_database)}")
    files = [file for of_database in found.values() for file in of_database]
    parts = [part for file in files for part in list_parts(file, allow_partial=args.allow_partial)]
    if not parts:
        raise KanjinetError(f"{files[0].path}: only model characters, no handwriting", "get the other files as well")
    folder = make_folder(args.output_dir)
    preprocessing = PREPROCESSINGS[args.preprocess]
    settings = Settings(folder, tuple(found), character_set, args.size, preprocessing, args.allow_partial)
    with lock_folder(folder, "prepare_etl9g_dataset.py"):
        refuse_foreign_chunks(parts, settings)
        chunks, written = prepare_chunks(parts, settings, choose_workers(args.workers, len(parts)))
        if not any(chunk.records for chunk in chunks):
            problem = f"{files[0].path}: none of its characters is one of {character_set.title}"
            raise KanjinetError(problem, "get the other files as well")
        write_descriptions(chunks, settings)
    print_summary(folder, read_dataset_info(folder), written, time.perf_counter() - start)


def verify_dataset(folder: Path) -> None:
    """Compares every chunk with what the dataset's JSON files say, prints a line for each, and fails after the last."""
    info = read_dataset_info(folder)
    problems = 0
    for chunk in info.chunks:
        try:
            check_chunk(info, chunk)
        except KanjinetError as error:
            problems += 1
            print(f"wrong      {error}")
        else:
            print(f"whole      {chunk.name}: {chunk.records:,} images")
    if problems:
        problem = f"{folder}: {problems} of {len(info.chunks)} chunks are wrong, as listed above"
        raise KanjinetError(problem, RERUN_REMEDY)
    labels = read_labels(info)
    metadata = read_json(folder / METADATA_NAME, RERUN_REMEDY)
    expected = describe_dataset(info, labels)
    if wrong := sorted(name for name in expected.keys() | metadata.keys() if expected.get(name) != metadata.get(name)):
        raise KanjinetError(f"{folder / METADATA_NAME}: {wrong[0]} is wrong", RERUN_REMEDY)
    mapping_path = folder / CHARACTER_MAPPING_NAME
    if read_json(mapping_path, RERUN_REMEDY) != info.character_set.describe_classes():
        raise KanjinetError(f"{mapping_path}: not the class table", RERUN_REMEDY)
    print(f"verified   {show_path(folder)}: {info.num_samples:,} images in {len(info.chunks)} chunks")


def refuse_foreign_chunks(parts: list[EtlFile], settings: Settings) -> None:
    """Refuses to mix a dataset of other files with this one, or to replace it."""
    folder, remedy = settings.folder, "remove it, or choose another --output-dir"
    expected = {chunk_name_of(part) for part in parts}
    present = {path.name for path in folder.iterdir() if CHUNK_NAME.fullmatch(path.name)}
    if foreign := sorted(present - expected):
        problem = f"{folder}: holds {foreign[0]}, which is made from none of the files given now"
        raise KanjinetError(problem, remedy)
    try:
        earlier = read_chunk_infos(folder)[1] if present else settings.describe()
    except KanjinetError:  # damaged: all of it is written again
        return
    database, given = (str(each.get("database", "ETL9G")) for each in (earlier, settings.describe()))
    if database != given:
        raise KanjinetError(f"{folder}: holds a dataset of {database}, and the files are of {given}", remedy)


def prepare_chunks(parts: list[EtlFile], settings: Settings, workers: int) -> tuple[tuple[ChunkInfo, ...], int]:
    """Writes the chunks that are missing or out of date; returns all chunks, and how many were written.

    chunk_info.json is brought up to date after every chunk. While anything is missing there is no metadata.json, so
    that no later stage takes half a dataset for a whole one.
    """
    known = read_finished_chunks(settings)
    finished: dict[str, ChunkInfo] = {}
    written = 0
    with open_workers(workers) as pool:
        tasks = [pool.submit(make_chunk, part, settings, known.get(chunk_name_of(part))) for part in parts]
        for task in tqdm(as_completed(tasks), total=len(tasks), unit="chunk", disable=None):
            chunk, is_new, note = task.result()
            finished[chunk.name] = chunk
            if note:
                tqdm.write(f"note        {note}")
            if is_new:
                written += 1
                (settings.folder / METADATA_NAME).unlink(missing_ok=True)
                known[chunk.name] = chunk
                write_chunk_infos(settings.folder, known.values(), settings.describe())
    return tuple(finished[name] for name in sorted(finished)), written


def read_finished_chunks(settings: Settings) -> dict[str, ChunkInfo]:
    """Reads what an earlier run with the same settings has finished, by chunk name."""
    if not (settings.folder / CHUNK_INFO_NAME).is_file():
        return {}
    try:
        chunks, earlier = read_chunk_infos(settings.folder)
    except KanjinetError as error:
        print(f"{error}; starting over")
        return {}
    return {chunk.name: chunk for chunk in chunks} if earlier == settings.describe() else {}


def make_chunk(part: EtlFile, settings: Settings, known: ChunkInfo | None) -> tuple[ChunkInfo, bool, str]:
    """Writes the chunk of a data file or part in a worker process, unless `known` says that it stands already.

    Returns what chunk_info.json says of it, whether it was written now, and what to tell of its records.
    """
    path = settings.folder / chunk_name_of(part)
    records = read_records(part, allow_partial=settings.allow_partial)
    labels, kept, note = decode_labels(part, records, settings.character_set, allow_partial=settings.allow_partial)
    info = ChunkInfo(
        name=path.name,
        records=len(labels),
        sha256=known.sha256 if known else "",
        source_name=part.path.name,
        source_bytes=records.nbytes,
        source_sha256=hashlib.sha256(records.data).hexdigest(),
        synthetic=is_synthetic(part, records),
        fonts=list_fonts(part),
    )
    if info == known and path.is_file() and sha256_of_file(path) == known.sha256:
        return info, False, note
    firsts = range(0, len(records), BLOCK_RECORDS)
    blocks = (records["pixels"][first : first + BLOCK_RECORDS][kept[first : first + BLOCK_RECORDS]] for first in firsts)
    cells = (unpack_cells(DATABASES[part.database], block, INK_SCALE) for block in blocks if len(block))
    images = (preprocess(block, settings.image_size, settings.preprocessing, cells=True) for block in cells)
    with replace_on_success(path) as chunk:
        write_chunk(chunk, labels, settings.image_size, images)
    return replace(info, sha256=sha256_of_file(path)), True, note


def write_descriptions(chunks: tuple[ChunkInfo, ...], settings: Settings) -> None:
    """Writes the JSON files; last of all, because it marks the dataset as finished, metadata.json."""
    folder = settings.folder
    info = DatasetInfo(
        folder=folder,
        image_size=settings.image_size,
        preprocessing=settings.preprocessing,
        databases=settings.databases,
        character_set=settings.character_set,
        synthetic=any(chunk.synthetic for chunk in chunks),
        chunks=chunks,
        sha256=hash_dataset(chunks),
    )
    write_chunk_infos(folder, chunks, settings.describe())
    write_json(folder / CHARACTER_MAPPING_NAME, settings.character_set.describe_classes())
    write_json(folder / METADATA_NAME, describe_dataset(info, read_labels(info)))


def print_summary(folder: Path, info: DatasetInfo, written: int, elapsed_s: float) -> None:
    """Prints what now lies in the folder, and how long it took."""
    size_mb = sum((folder / chunk.name).stat().st_size for chunk in info.chunks) / 1e6
    num_files, note = len({chunk.source_name for chunk in info.chunks}), f" ({SAMPLE_NOTE})" if info.synthetic else ""
    print(f"source      {num_files} {info.database} files{note}")
    if left_out := info.num_source_records - info.num_samples:
        faulty = ", or faulty: see the notes" if any(DATABASES[each].files for each in info.databases) else ""
        print(f"left out    {left_out:,} records, of characters that are none of {info.character_set.title}{faulty}")
    print(f"dataset     {show_path(folder)}: {info.num_samples:,} images of {info.image_size} x {info.image_size}")
    print(f"chunks      {written} written, {len(info.chunks) - written} already there, {size_mb:,.1f} MB")
    if written:
        records = info.num_samples * written / len(info.chunks)
        print(f"time        {elapsed_s:.1f} s, {records / elapsed_s:,.0f} records/s")
    print(f"next        python test_etl9g_setup.py --data-dir {shlex.quote(show_path(folder))} --test-model")


if __name__ == "__main__":
    run_script(main)
