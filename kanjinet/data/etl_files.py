"""The data files of the ETL databases, found where an unzip left them. Standard library only."""

import contextlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kanjinet.errors import KanjinetError

# Of each database; JAPANESE: samples only.
NUM_FILES = {"ETL9G": 50, "ETL8G": 33, "ETL9B": 5, "JAPANESE": 50, "ETL1": 13, "ETL6": 12}
BESIDE_OTHERS = ("ETL1", "ETL6")  # databases that are prepared beside one of the others
_CHUNKS = "*_dataset_chunk_*.npz"
DEPTH = 2  # folders within folders that are looked into: a ZIP's own, and one around it
_DATABASE = "|".join(NUM_FILES)
_DATA_FILE = re.compile(  # ETL1's and ETL6's names have a C: ETL1C_01
    rf"({_DATABASE})(?:(?<=[16])C)?[-_ ]?([0-9]{{1,2}})(\.bin|\.dat|\.raw)?(.*)", re.IGNORECASE | re.DOTALL
)
_COPY = re.compile(r"(\s|-|~|\().*|.*(copy|kopie|コピー|副本).*", re.IGNORECASE | re.DOTALL)
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".tmp")
_ARCHIVE = re.compile(rf"({_DATABASE}).*\.(zip|7z|rar|tar|gz|tgz)", re.IGNORECASE | re.DOTALL)
_REMEDY = "name the folder that holds ETL9G_01 ... ETL9G_50, or write a sample with make_sample_etl9g.py"


@dataclass(frozen=True)
class EtlFile:
    """Represents a data file, or one of the parts in which a large one is read.

    The number is the one in its name; parts are counted from 0.
    """

    path: Path
    number: int
    database: str = "ETL9G"
    part: int = 0


@dataclass(frozen=True)
class _Listing:
    """Represents what some folders hold: data files, copies of such, unfinished ones (number), archives."""

    files: list[EtlFile]
    copies: list[Path]
    unfinished: list[EtlFile]
    archives: list[Path]


def find_etl_files(folder: Path) -> list[EtlFile]:
    """Finds the data files of one database, by number, in a folder or else in the folders within it.

    Raises:
        KanjinetError: no such folder, no data file in it, several of one number, of several databases, a copy, or an
            unfinished download.
    """
    if folder.is_file():
        raise _explain_file(folder)
    if not folder.is_dir():
        raise KanjinetError(f"{folder}: no such folder", _REMEDY)
    listing = _search(folder)
    if listing.files or listing.copies or listing.unfinished:
        return _check_listing(folder, listing)
    if listing.archives:
        raise _explain_archive(listing.archives[0])
    if any(folder.glob(_CHUNKS)):
        remedy = "name it with --data-dir in the stages after preparation; --etl-dir is the folder of the raw files"
        raise KanjinetError(f"{folder}: a prepared dataset, not the files that it is made from", remedy)
    if _list_folders([parent := folder.resolve().parent]).files:
        raise KanjinetError(f"{folder}: no ETL9G files in it", f"they lie in the folder around it: {parent}")
    raise KanjinetError(f"{folder}: no ETL9G files in it, nor such of ETL8G, ETL9B, ETL1 or ETL6", _REMEDY)


def find_databases(folders: list[Path]) -> dict[str, list[EtlFile]]:
    """Finds the data files in several folders, by database: one, and those that are prepared beside others after it.

    Raises:
        KanjinetError: as `find_etl_files`, in any of the folders or in all of them, or databases that are not mixed.
    """
    found: dict[str, list[EtlFile]] = {}
    for folder in folders:
        files = find_etl_files(folder)
        found.setdefault(files[0].database, []).extend(files)
    databases = sorted(found, key=lambda database: (database in BESIDE_OTHERS, database))
    if len(databases) > 1 and databases[1] not in BESIDE_OTHERS:
        raise KanjinetError(
            f"--etl-dir: files of {databases[0]} and of {databases[1]}: they are not mixed in one dataset",
            f"give one of them, and {' and '.join(BESIDE_OTHERS)} beside it",
        )
    return {name: _sort_files(", ".join(map(str, folders)), found[name]) for name in databases}


def list_etl_files(folder: Path) -> list[EtlFile]:
    """Lists all data files that lie in a folder itself, of whatever database."""
    return _list_folders([folder]).files


def has_etl_files(folder: Path) -> bool:
    """Tells whether `find_etl_files` would find data files in a folder."""
    return folder.is_dir() and bool(_search(folder).files)


def describe_etl_files(files: list[EtlFile]) -> str:
    """Says which files are taken: database, how many, folder and names."""
    database, folders = files[0].database, sorted({str(file.path.parent) for file in files})
    names = [file.path.name for file in files]
    shown = ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"
    return f"{len(files)} of {NUM_FILES[database]} {database} files in {' and '.join(folders)}: {shown}"


def _search(folder: Path) -> _Listing:
    """Lists what a folder holds, or else the folders within it; archives of all of them where there is nothing else."""
    level, archives = [folder], []
    for _ in range(DEPTH + 1):
        listing = _list_folders(level)
        if listing.files or listing.copies or listing.unfinished:
            return listing
        archives += listing.archives
        level = [inner for outer in level for inner in _list_inner_folders(outer)]
    return _Listing([], [], [], archives)


def _list_folders(folders: Iterable[Path]) -> _Listing:
    listing = _Listing([], [], [], [])
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        if not (match := _DATA_FILE.fullmatch(path.name)):
            if _ARCHIVE.fullmatch(path.name) and path.is_file():
                listing.archives.append(path)
            continue
        database, digits, rest = match[1].upper(), match[2], match[4]
        file = EtlFile(path, int(digits), database)
        has_width = len(digits) == 2 or database == "ETL9B"  # ETL9G_01, but ETL9B_1
        if not 1 <= file.number <= NUM_FILES[database] or not has_width or not path.is_file():
            continue
        if not rest:
            listing.files.append(file)
        elif rest.lower().endswith(_UNFINISHED):
            listing.unfinished.append(file)
        elif _ARCHIVE.fullmatch(path.name):
            listing.archives.append(path)
        elif _COPY.fullmatch(rest):
            listing.copies.append(path)
    return listing


def _list_inner_folders(folder: Path) -> list[Path]:
    """Lists the folders within one, but hidden ones and those that may not be read."""
    inner = []
    with contextlib.suppress(PermissionError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(PermissionError):
                if path.is_dir() and not path.name.startswith((".", "__")) and any(path.iterdir()):
                    inner.append(path)
    return inner


def _check_listing(folder: Path, listing: _Listing) -> list[EtlFile]:
    if listing.copies:
        path = listing.copies[0]
        raise KanjinetError(f"{path}: looks like a copy of a data file", "remove it, or move it into another folder")
    taken = {(file.database, file.number) for file in listing.files}
    if missing := [file for file in listing.unfinished if (file.database, file.number) not in taken]:
        remedy = "wait until it is downloaded or written, or remove it"
        raise KanjinetError(f"{missing[0].path}: an unfinished file, and the finished one is not there", remedy)
    return _sort_files(str(folder), listing.files)


def _sort_files(where: str, files: list[EtlFile]) -> list[EtlFile]:
    """Sorts the files of one database by number."""
    files = sorted(files, key=lambda file: (file.database, file.number, str(file.path)))
    for file, following in zip(files, files[1:], strict=False):
        if file.database != following.database:
            folders = sorted({shlex.quote(str(each.path.parent)) for each in files})
            remedy = (
                f"name the folder of one database, or of several that belong together: --etl-dir {' '.join(folders)}"
            )
            raise KanjinetError(
                f"{where}: files of {file.database} and of {following.database}: {file.path}, {following.path}",
                remedy if len(folders) > 1 else "move the others away: a folder is of one database",
            )
        if file.number == following.number:
            problem = f"{where}: two files of number {file.number}: {file.path}, {following.path}"
            raise KanjinetError(problem, "remove one of them")
    return files


def _explain_file(path: Path) -> KanjinetError:
    if _ARCHIVE.fullmatch(path.name) or path.suffix.lower() == ".zip":
        return _explain_archive(path)
    remedy = f"name the folder: --etl-dir {shlex.quote(str(path.parent))}" if has_etl_files(path.parent) else _REMEDY
    return KanjinetError(f"{path}: a file where a folder is needed", remedy)


def _explain_archive(path: Path) -> KanjinetError:
    source, target = str(path), str(path.with_name(path.name.partition(".")[0]))
    if path.suffix.lower() != ".zip":
        return KanjinetError(f"{path}: a packed archive", f"unpack it first, then --etl-dir {shlex.quote(target)}")
    bash, windows = ([quote(text) for text in (source, target)] for quote in (shlex.quote, _quote_for_powershell))
    return KanjinetError(
        f"{path}: a ZIP archive",
        f"unpack it first: unzip {bash[0]} -d {bash[1]} (bash) or Expand-Archive -LiteralPath {windows[0]} "
        f"-DestinationPath {windows[1]} (PowerShell), then --etl-dir {bash[1]}",
    )


def _quote_for_powershell(text: str) -> str:
    return text if re.fullmatch(r"[\w.:\\/-]+", text) else f"'{text.replace(chr(39), chr(39) * 2)}'"
