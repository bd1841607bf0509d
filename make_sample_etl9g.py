"""Write sample files in the ETL9G format, drawn stroke by stroke from KanjiVG by simulated writers.

Reads:  the package kanjivg (stroke data by Ulrich Apel, CC BY-SA 3.0).
Writes: ETL9G/ETL9G_01, ETL9G_02, ... and ETL9G/ETL9INFO, which says that they are synthetic.
Run:    python make_sample_etl9g.py --files 2

An interrupted run is continued by the same command: whole files of the same seed and difficulty are kept.
"""

import argparse
import itertools
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import CLASS_OF_CHARACTER, NUM_CLASSES
from kanjinet.cli import make_parser, positive_int, run_script, seed_number, share, show_path
from kanjinet.data.etl9g import (
    INFO_FILE_NAME,
    MAX_INFO_BYTES,
    NUM_DATA_SETS,
    NUM_FILES,
    RECORD_BYTES,
    SETS_PER_FILE,
    SHEETS_PER_SET,
    SYNTHETIC_MARK,
    Etl9gFile,
    etl9g_file_name,
    find_etl9g_files,
    write_records,
)
from kanjinet.data.worker_processes import MAX_WORKERS, start_worker, usable_cores
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import make_folder, read_bytes, replace_on_success
from kanjinet.storage.locks import lock_folder
from kanjinet.storage.png import write_few_grays
from kanjinet.synth.glyph_table import load_glyph_table, save_glyph_table_with
from kanjinet.synth.handwriting import GENERATOR_VERSION
from kanjinet.synth.kanjivg import find_kanjivg_folder, kanjivg_version
from kanjinet.synth.sheets import CONTACT_CHARACTERS, make_contact_sheet, make_sheet_records
from kanjinet.synth.writers import DEFAULT_DIFFICULTY

SHEETS = range(1, SHEETS_PER_SET + 1)
SheetJob = tuple[Path, int, int, int, float]  # copybook, data set, sheet, seed, difficulty
COPYBOOK_NAME = ".copybook.npz"  # for a run's workers; the next run removes that of a killed one
SHEETS_AHEAD_PER_WORKER = 4  # sheets made before they can be written; bounds the memory


def main() -> None:
    args = parse_args()
    started = time.perf_counter()
    folder = prepare_folder(args.output_dir)
    find_kanjivg_folder()  # or say at once what is missing
    num_sets = args.sets or args.files * SETS_PER_FILE
    workers = min(args.workers or usable_cores(), SHEETS_PER_SET * num_sets, MAX_WORKERS)
    plan = {
        number: list(itertools.islice(range((number - 1) * SETS_PER_FILE + 1, num_sets + 1), SETS_PER_FILE))
        for number in range(1, -(-num_sets // SETS_PER_FILE) + 1)
    }
    info = describe_sample(num_sets, args.seed, args.difficulty)
    with lock_folder(folder, "make_sample_etl9g.py"):
        finished = keep_finished_files(folder, plan, info)
        write_info(folder, info)  # first: data files without it could pass for real ones
        missing = {number: data_sets for number, data_sets in plan.items() if number not in finished}
        contact = (args.contact_sheet, args.contact_characters) if args.contact_sheet else None
        try:
            write_files(folder, missing, args.seed, args.difficulty, workers, contact)
        finally:
            (folder / COPYBOOK_NAME).unlink(missing_ok=True)
    report(folder, plan, finished, workers, time.perf_counter() - started)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python make_sample_etl9g.py --files 2 --output-dir ETL9G")
    parser.add_argument("--output-dir", type=Path, default=Path("ETL9G"), help="folder for the files")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--files", type=file_count, default=2, help="files of 12,144 characters, 1-50; ETL9G has 50")
    size.add_argument(
        "--sets", type=set_count, help="data sets of 3,036 characters, 1-200, four to a file, for less than whole files"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="the same seed and options, the same bytes")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one a usable core)")
    parser.add_argument("--difficulty", type=share, default=DEFAULT_DIFFICULTY, help="0 = copybook ... 1 = hasty")
    parser.add_argument("--contact-sheet", type=Path, metavar="IMAGE.PNG", help="also draw many hands in one image")
    parser.add_argument(
        "--contact-characters", type=known_characters, default=CONTACT_CHARACTERS, help="of its first rows, a row each"
    )
    return parser.parse_args()


def file_count(text: str) -> int:
    """An argparse type: 1-50."""
    return _bounded(text, NUM_FILES)


def set_count(text: str) -> int:
    """An argparse type: 1-200."""
    return _bounded(text, NUM_DATA_SETS)


def _bounded(text: str, most: int) -> int:
    value = positive_int(text)
    if value > most:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most {most}, as many as ETL9G has")
    return value


def known_characters(text: str) -> str:
    """An argparse type: some of the 3,036 characters."""
    if not text or any(character not in CLASS_OF_CHARACTER for character in text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected hiragana and kanji of ETL9G")
    return text


def prepare_folder(folder: Path) -> Path:
    """Make the output folder, or make sure that nothing but an earlier sample is in it.

    Raises:
        KanjinetError: the folder holds ETL9G files that do not say that they are synthetic, or is a file.
    """
    make_folder(folder)
    doubt = "this may be the real ETL9G, which is never overwritten"
    remedy = "choose another --output-dir"
    info = folder / INFO_FILE_NAME
    if info.exists() and SYNTHETIC_MARK not in read_bytes(info):
        raise KanjinetError(f"{info}: does not say that it belongs to a sample; {doubt}", remedy)
    for path in (file.path for file in list_data_files(folder)):
        if not is_sample_file(path):
            raise KanjinetError(f"{path}: its first record does not say that it belongs to a sample; {doubt}", remedy)
    return folder


def list_data_files(folder: Path) -> list[Etl9gFile]:
    """The ETL9G files of a folder; none is fine."""
    try:
        return find_etl9g_files(folder)
    except KanjinetError:
        return []


def is_sample_file(path: Path) -> bool:
    """Whether the first record carries the mark of a sample."""
    with open(path, "rb") as file:
        return SYNTHETIC_MARK in file.read(RECORD_BYTES)[30:64]


def write_files(
    folder: Path,
    plan: dict[int, list[int]],
    seed: int,
    difficulty: float,
    workers: int,
    contact: tuple[Path, str] | None = None,
) -> None:
    """Write every file of the plan (file number -> its data sets), each whole or not at all.

    The same for the contact sheet, where an image and its characters are given.
    """
    if not plan and not contact:
        return
    num_sheets = SHEETS_PER_SET * sum(map(len, plan.values()))
    with (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker) as pool,
        tqdm(total=num_sheets, unit="sheet", disable=not sys.stderr.isatty()) as bar,
    ):
        try:
            copybook = folder / COPYBOOK_NAME
            save_glyph_table_with(pool, workers, copybook)
            if contact:
                pool.submit(write_contact_sheet, *contact, copybook, seed, difficulty).result()
            for number, data_sets in plan.items():
                path = folder / etl9g_file_name(number)
                jobs = [(copybook, *job, seed, difficulty) for job in itertools.product(data_sets, SHEETS)]
                write_records(path, make_sheets(pool, jobs, workers * SHEETS_AHEAD_PER_WORKER, bar))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def make_sheets(
    pool: ProcessPoolExecutor, jobs: list[SheetJob], most_waiting: int, bar: "tqdm[None]"
) -> Iterator[npt.NDArray[np.void]]:
    """The sheets of jobs, in order; at most `most_waiting` are begun before they are taken."""
    waiting: deque[Future[npt.NDArray[np.void]]] = deque()
    for job in jobs:
        waiting.append(pool.submit(make_sheet, job))
        if len(waiting) >= most_waiting:
            yield waiting.popleft().result()
            bar.update()
    while waiting:
        yield waiting.popleft().result()
        bar.update()


def make_sheet(job: SheetJob) -> npt.NDArray[np.void]:
    """One sheet, in a worker process."""
    copybook, data_set, sheet, seed, difficulty = job
    return make_sheet_records(load_glyph_table(copybook), data_set, sheet, seed, difficulty)


def write_contact_sheet(path: Path, characters: str, copybook: Path, seed: int, difficulty: float) -> None:
    """An image of many hands, in a worker process."""
    image = make_contact_sheet(load_glyph_table(copybook), seed, difficulty, characters)
    make_folder(path.parent)
    write_few_grays(path, image)


def keep_finished_files(folder: Path, plan: dict[int, list[int]], info: str) -> set[int]:
    """The numbers of the plan's files that an earlier run has finished; everything else of it is removed.

    A file under its own name is whole, so that the options in ETL9INFO and its length tell whether it is the same.
    """
    path = folder / INFO_FILE_NAME
    is_same_sample = path.is_file() and identify(read_info(path)) == identify(info)
    finished = set()
    for file in list_data_files(folder):
        wanted_bytes = len(plan.get(file.number, ())) * NUM_CLASSES * RECORD_BYTES
        if is_same_sample and file.path.stat().st_size == wanted_bytes:
            finished.add(file.number)
        else:
            file.path.unlink()
    return finished


def read_info(path: Path) -> str:
    """What an ETL9INFO says."""
    return read_bytes(path, MAX_INFO_BYTES).decode("ascii", "replace")


def identify(info: str) -> list[str]:
    """The lines of an ETL9INFO that decide about a data set's bytes: all but the number of data sets."""
    return [line for line in info.splitlines() if not line.startswith("Data sets:")]


def describe_sample(num_sets: int, seed: int, difficulty: float) -> str:
    """The text of ETL9INFO."""
    return f"""{SYNTHETIC_MARK.decode()}

These files are synthetic. They have the format of ETL9G (AIST), but no person wrote the characters:
make_sample_etl9g.py drew them, stroke by stroke, as simulated writers.
An accuracy measured on them says nothing certain about real handwriting.

Strokes:    KanjiVG, Copyright (C) Ulrich Apel, https://kanjivg.tagaini.net, package kanjivg {kanjivg_version()},
            Creative Commons Attribution-Share Alike 3.0 (https://creativecommons.org/licenses/by-sa/3.0/);
            these files are derived from it and are under the same license
Writers:    {GENERATOR_VERSION}
Data sets:  {num_sets} ({NUM_CLASSES:,} characters each, 20 sheets, one simulated writer a sheet)
Seed:       {seed}
Difficulty: {difficulty} (0 = copybook, 1 = hasty)
Readings:   not given; the field holds each character's Unicode code point
"""


def write_info(folder: Path, info: str) -> None:
    """Write ETL9INFO."""
    with replace_on_success(folder / INFO_FILE_NAME) as file:
        file.write(info.encode("ascii"))


def report(folder: Path, plan: dict[int, list[int]], finished: set[int], workers: int, elapsed_s: float) -> None:
    """Say what was written, how fast, and what to do next."""
    num_sets = sum(map(len, plan.values()))
    new_characters = sum(len(data_sets) for number, data_sets in plan.items() if number not in finished) * NUM_CLASSES
    size_mb = num_sets * NUM_CLASSES * RECORD_BYTES / 1e6
    names = etl9g_file_name(1) if len(plan) == 1 else f"{etl9g_file_name(1)} ... {etl9g_file_name(len(plan))}"
    kept = f" ({len(finished)} of the files were there already)" if finished else ""
    print(f"wrote {names} and {INFO_FILE_NAME} in {show_path(folder)}{kept}")
    print(f"{num_sets} data sets, {num_sets * NUM_CLASSES:,} characters, {size_mb:.0f} MB")
    if new_characters:
        print(f"{elapsed_s:.1f} s, {new_characters / elapsed_s:,.0f} characters/s with {workers} processes")
    print("synthetic sample, not real handwriting; strokes: KanjiVG, Ulrich Apel, CC BY-SA 3.0")
    print(f"next: python prepare_etl9g_dataset.py --etl-dir {show_path(folder)}")


if __name__ == "__main__":
    run_script(main)
