"""Write sample files in the ETL9G format, drawn stroke by stroke from KanjiVG by simulated writers.

Reads:  the package kanjivg (stroke data by Ulrich Apel, CC BY-SA 3.0); with --fonts, handwriting fonts.
Writes: ETL9G/ETL9G_01, ETL9G_02, ... and ETL9G/ETL9INFO, which says that they are synthetic; or with --format, in
        a folder of that name, files in the format of ETL8G, ETL9B, ETL1 or ETL6; with --characters japanese,
        JAPANESE/JAPANESE_01 ... with ETL9G's records.
Run:    python make_sample_etl9g.py --files 2

An interrupted run is continued by the same command: whole files of the same seed, difficulty and fonts are
kept.
"""

from kanjinet.cli import fraction, make_parser, positive_int, run_script, seed_number, show_path

import argparse
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import CHARACTER_SETS
from kanjinet.data.etl_files import list_etl_files
from kanjinet.data.etl_records import (
    DATABASES,
    ETL9B,
    JAPANESE,
    MAX_INFO_BYTES,
    SYNTHETIC_MARK,
    Database,
    etl_file_name,
    has_mark,
    write_records,
)
from kanjinet.data.worker_processes import choose_workers, open_workers
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import check_output_file, check_output_folder, make_folder, read_bytes, replace_on_success
from kanjinet.storage.locks import lock_folder
from kanjinet.storage.png import write_few_grays
from kanjinet.synth.font_writers import SHEET_FRACTION
from kanjinet.synth.fonts import find_fonts
from kanjinet.synth.kanjivg import find_kanjivg_folder
from kanjinet.synth.sheets import (
    CONTACT_CHARACTERS,
    Plan,
    Sample,
    make_contact_sheet,
    make_file_records,
    make_sheet_records,
)
from kanjinet.synth.writers import DEFAULT_DIFFICULTY

FILES, WRITERS = 2, 200  # that are written unless --files or --sets says how many; WRITERS: of ETL1 and ETL6
SHEETS_AHEAD_PER_WORKER = 4  # sheets made before they can be written; bounds the memory

Records = npt.NDArray[np.void]


def main() -> None:
    """Writes the files that are missing, and the contact sheet."""
    args = parse_args()
    started = time.perf_counter()
    database = choose_database(args)
    num_sets = args.sets or (WRITERS if database.files else (args.files or FILES) * database.sets_per_file)
    output_dir = args.output_dir or Path(database.name)
    check_output_folder(output_dir, "--output-dir")
    check_output_file(args.contact_sheet, "--contact-sheet")
    folder = make_folder(output_dir)
    refuse_other_files(folder, database.name)
    find_kanjivg_folder()  # or say at once what is missing
    fonts = find_fonts(args.fonts, database.character_set) if args.fonts else ()
    sample = Sample(num_sets, args.seed, args.difficulty, database, fonts)
    workers = choose_workers(args.workers, database.sheets_per_set * sample.num_sets)
    contact = (args.contact_sheet, args.contact_characters) if args.contact_sheet else None
    with lock_folder(folder, "make_sample_etl9g.py"):
        finished = keep_finished_files(folder, sample)
        with replace_on_success(
            folder / database.info_file_name
        ) as file:  # first: without it files could pass for real
            file.write(sample.describe().encode())
        missing = {number: sets for number, sets in sample.plan_files().items() if number not in finished}
        write_files(folder, missing, sample, workers, contact)
    print_summary(folder, sample, len(finished))
    if missing:
        elapsed_s = time.perf_counter() - started
        characters = sum(len(sets) * database.characters_in(number) for number, sets in missing.items())
        print(f"{elapsed_s:.1f} s, {characters / elapsed_s:,.0f} characters/s with {workers} processes")
    print("synthetic sample, not real handwriting; strokes: KanjiVG, Ulrich Apel, CC BY-SA 3.0")
    if fonts:
        print(f"on {SHEET_FRACTION:.0%} of the sheets: {', '.join(font.source for font in fonts)}")
    print(f"next: python prepare_etl9g_dataset.py --etl-dir {show_path(folder)}")


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, "python make_sample_etl9g.py --files 2 --output-dir ETL9G")
    parser.add_argument("--output-dir", type=Path, help="folder for the files (default: the format's name, ETL9G)")
    formats = [name for name, database in DATABASES.items() if name == database.format_name]
    parser.add_argument("--format", choices=formats, default="ETL9G", help="database whose format is written")
    characters_help = "etl9g: the format's own; japanese: also katakana, digits, Latin letters, all kanji of JIS X 0208"
    parser.add_argument("--characters", choices=CHARACTER_SETS, default="etl9g", help=characters_help)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--files",
        type=positive_int,
        help=(
            f"files of 12,144 characters, 1-50 (default: {FILES}); ETL9G has 50; ETL8G has 32 of 4,780, ETL9B 5 of "
            "121,440; those of --characters japanese have 13,188"
        ),
    )
    size.add_argument(
        "--sets",
        type=positive_int,
        help=(
            "data sets of 3,036 characters, 1-200, four to a file, for less than whole files; ETL8G has 160 of 956, "
            "--characters japanese 100 of 6,594, two to a file; ETL1 has 1,445 of 87 and ETL6 1,383 of 82, a writer's "
            f"each, in all files (default: {WRITERS})"
        ),
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="the same seed and options, the same bytes")
    parser.add_argument("--workers", type=positive_int, help="processes (default: by usable cores and memory)")
    parser.add_argument("--difficulty", type=fraction, default=DEFAULT_DIFFICULTY, help="0 = neat ... 1 = hasty")
    parser.add_argument(
        "--fonts", type=Path, metavar="FOLDER", help="handwriting fonts (TTF, OTF, WOFF2) that write half of the sheets"
    )
    parser.add_argument("--contact-sheet", type=Path, metavar="IMAGE.PNG", help="also write an image of many writers")
    parser.add_argument("--contact-characters", default=CONTACT_CHARACTERS, help="of its first rows, a row each")
    args = parser.parse_args()
    if args.characters != "etl9g" and args.format != "ETL9G":
        parser.error(f"--characters {args.characters}: only in the format of ETL9G, not of {args.format}")
    database = choose_database(args)
    if database.files and args.files:
        parser.error(f"--files: a file of {database.name} has some characters of all writers: give --sets, the writers")
    for option, value, maximum in (
        ("--files", args.files or 1, database.num_data_sets // database.sets_per_file),
        ("--sets", args.sets or 1, database.num_data_sets),
    ):
        if value > maximum:
            parser.error(f"{option} {value}: expected at most {maximum}, as many as {database.name} has")
    known = database.character_set.class_of_character
    unknown = [each for each in args.contact_characters if each not in known]
    if unknown or not args.contact_characters:
        parser.error(f"--contact-characters: {''.join(unknown[:1])!r}: expected some of {database.character_set.title}")
    if args.contact_characters != CONTACT_CHARACTERS and not args.contact_sheet:
        parser.error("--contact-characters are for --contact-sheet: give that, too")
    return args


def choose_database(args: argparse.Namespace) -> Database:
    """Returns the layout of the files: that of samples of more characters has a name of its own."""
    return JAPANESE if args.characters == JAPANESE.character_set.name else DATABASES[args.format]


def refuse_other_files(folder: Path, database: str) -> None:
    """Refuses a folder that holds data files of another database, or such as do not say that they are synthetic."""
    doubt = f"this may be the real {database}, which is never overwritten"
    remedy = "choose another --output-dir"
    info = folder / DATABASES[database].info_file_name
    if info.exists() and SYNTHETIC_MARK not in read_bytes(info):
        raise KanjinetError(f"{info}: does not say that it belongs to a sample; {doubt}", remedy)
    for file in list_etl_files(folder):
        dtype = DATABASES[file.database].dtype
        content = read_bytes(file.path, dtype.itemsize, DATABASES[file.database].num_dummies * dtype.itemsize)
        if not has_mark(np.frombuffer(content, dtype, count=len(content) // dtype.itemsize)):
            problem = f"{file.path}: its first record does not say that it belongs to a sample; {doubt}"
            raise KanjinetError(problem, remedy)
        if file.database != database:
            raise KanjinetError(f"{file.path}: a file of {file.database} among those of {database}", remedy)


def keep_finished_files(folder: Path, sample: Sample) -> set[int]:
    """Returns the numbers of the files that an earlier run of the same sample has finished, and removes the others.

    A file under its own name is whole, so that the options in ETL9INFO and its length tell whether it is the same.
    """
    database, plan = sample.database, sample.plan_files()
    path = folder / database.info_file_name
    earlier = read_bytes(path, MAX_INFO_BYTES).decode(errors="replace") if path.is_file() else ""
    is_same_sample = sample.has_same_bytes(earlier)
    finished = set()
    for file in list_etl_files(folder):
        num_characters = len(plan.get(file.number, ())) * database.characters_in(file.number)
        expected_records = database.num_dummies + num_characters
        has_same_length = file.path.stat().st_size == expected_records * database.dtype.itemsize
        if is_same_sample and has_same_length and file.path.name == etl_file_name(database.name, file.number):
            finished.add(file.number)
        else:
            file.path.unlink()
    return finished


def write_files(folder: Path, plan: Plan, sample: Sample, workers: int, contact: tuple[Path, str] | None) -> None:
    """Writes every file of the plan, and the contact sheet (image, characters), each whole or not at all."""
    if not plan and not contact:
        return
    database = sample.database
    sheet_numbers = range(1, database.sheets_per_set + 1)
    with (
        open_workers(workers) as pool,
        tqdm(total=len(sheet_numbers) * sum(map(len, plan.values())), unit="sheet", disable=None) as bar,
    ):
        if contact:
            pool.submit(write_contact_sheet, *contact, sample).result()
        for number, data_sets in plan.items():
            make: Callable[..., Records] = make_file_records if database.files else make_sheet_records
            jobs = itertools.product(data_sets, [number] if database.files else sheet_numbers)
            tasks = (pool.submit(make, sample, *job) for job in jobs)
            sheets = take_in_order(tasks, workers * SHEETS_AHEAD_PER_WORKER, bar)
            path = folder / etl_file_name(database.name, number)
            sort = sort_data_sets if database is ETL9B else sort_file if database.files else iter
            write_records(path, sort(sheets), database)


def sort_data_sets(sheets: Iterator[Records]) -> Iterator[Records]:
    """Joins the sheets of each data set of ETL9B, whose records follow the JIS codes."""
    while data_set := list(itertools.islice(sheets, ETL9B.sheets_per_set)):
        records = np.concatenate(data_set, dtype=ETL9B.dtype)  # numpy would turn the byte order
        yield records[np.argsort(records["jis_code"], kind="stable")]


def sort_file(sheets: Iterator[Records]) -> Iterator[Records]:
    """Joins the sheets of a file of ETL1 or ETL6, in which the records of each character follow each other."""
    every = list(sheets)
    records = np.concatenate(every, dtype=every[0].dtype)
    yield records[np.argsort(records["number"], kind="stable")]


def take_in_order(tasks: Iterator[Future[Records]], max_waiting: int, bar: "tqdm[None]") -> Iterator[Records]:
    """Yields the results of tasks in order; at most `max_waiting` are submitted before they are taken."""
    waiting = deque(itertools.islice(tasks, max_waiting))
    while waiting:
        yield waiting.popleft().result()
        bar.update()
        waiting.extend(itertools.islice(tasks, 1))


def write_contact_sheet(path: Path, characters: str, sample: Sample) -> None:
    """Writes an image of many writers, in a worker process."""
    image = make_contact_sheet(sample, characters)
    make_folder(path.parent)
    write_few_grays(path, image)


def print_summary(folder: Path, sample: Sample, num_kept: int) -> None:
    """Prints what now lies in the folder."""
    database, numbers = sample.database, list(sample.plan_files())
    first, last = (etl_file_name(database.name, number) for number in (numbers[0], numbers[-1]))
    kept = f" ({num_kept} of the files were there already)" if num_kept else ""
    num_characters = sample.num_sets * database.characters_of_set
    size_mb = num_characters * database.dtype.itemsize / 1e6
    names = first if first == last else f"{first} ... {last}"
    print(f"wrote {names} and {database.info_file_name} in {show_path(folder)}{kept}")
    print(f"{sample.num_sets} data sets, {num_characters:,} characters, {size_mb:.0f} MB")


if __name__ == "__main__":
    run_script(main)
