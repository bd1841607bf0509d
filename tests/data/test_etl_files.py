"""Data files are found where an unzip left them; what is taken or refused is named."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from kanjinet.data.dataset import read_dataset_info
from kanjinet.data.etl_files import describe_etl_files, find_databases, find_etl_files
from kanjinet.errors import KanjinetError
from tests.conftest import require


def make_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def find_names(folder: Path) -> list[str]:
    return [str(file.path.relative_to(folder).as_posix()) for file in find_etl_files(folder)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ETL9G_10", "ETL9G_02", "ETL9G_51", "ETL9G_00", "ETL9G_1", "ETL9INFO", "ETL9G_03.txt"], [1, 0]),
        (["ETL9G/ETL9G_01", "ETL9G/ETL9INFO", "ETL9G.zip"], [0]),  # the ZIP's own folder
        (["ETL9G/ETL9G/ETL9G_01", "__MACOSX/ETL9G/._ETL9G_01", ".x/ETL9G_02"], [0]),
        (["ETL9G_01", "etl9g_02", "ETL9G-03", "Etl9G 04.bin", "etl9g05.DAT"], [0, 1, 2, 3, 4]),
        (["ETL9G_01", "inner/ETL9G_02", "ETL9G_03_notes.csv"], [0]),  # the folder that was named comes first
        (["first/ETL9G_01", "second/ETL9G_02"], [0, 1]),  # a database in several ZIPs
        (["ETL9G_01", "ETL9G_01.part"], [0]),
        (["etl9b-1", "ETL9B_5", "ETL9B_6"], [0, 1]),
        (["ETL8G_33", "ETL8G_01"], [1, 0]),
        (["ETL1/ETL1C_13", "ETL1/ETL1C_01", "ETL1/ETL1INFO", "ETL1.zip", "ETL1/ETL1C_14"], [1, 0]),
        (["ETL6C_12", "etl6c-02.bin", "ETL6C_1", "ETL9GC_01"], [1, 0]),
    ],
)
def test_files_are_found_by_number(tmp_path: Path, names: list[str], expected: list[int]) -> None:
    assert find_names(make_files(tmp_path, *names)) == [names[index] for index in expected]


def test_folders_among_files_are_passed_over(tmp_path: Path) -> None:
    (make_files(tmp_path, "ETL9G_10") / "ETL9G_04").mkdir()
    assert find_names(tmp_path) == ["ETL9G_10"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ["no ETL9G files in it", "make_sample_etl9g.py"]),
        (["ETL9G_03", "ETL9G_03 (1)"], ["ETL9G_03 (1)", "copy", "remove it"]),
        (["ETL9G_03 (2).bin"], ["ETL9G_03 (2).bin", "copy"]),
        (["ETL9G_03 - Copy"], ["ETL9G_03 - Copy", "copy"]),
        (["ETL9G_03 のコピー"], ["ETL9G_03 のコピー", "copy"]),
        (["ETL9G_03", "etl9g-03"], ["two files of number 3", "ETL9G_03", "etl9g-03"]),
        (["a/ETL9G_03", "b/ETL9G_03"], ["two files of number 3", "a", "b"]),
        (["ETL9G_01", "ETL8G_01"], ["files of ETL8G and of ETL9G", "ETL9G_01", "one database"]),
        (["ETL1/ETL1C_01", "ETL9G/ETL9G_01"], ["files of ETL1 and of ETL9G", "data/ETL1 ", "data/ETL9G"]),
        (["ETL9G/ETL9G_01", "ETL9B/ETL9B_1"], ["files of ETL9B and of ETL9G", "name the folder of one"]),
        (["ETL9G_06", "ETL9G_07.crdownload"], ["ETL9G_07.crdownload", "unfinished", "wait until"]),
        (["ETL9G_07.part"], ["ETL9G_07.part", "unfinished"]),
        (["etl9g_dataset_chunk_01.npz"], ["a prepared dataset", "--data-dir"]),
        (["my data/ETL9G.zip"], ["unzip", "'", "ETL9G.zip", "-d", "Expand-Archive", "unpack it first"]),
        (["ETL9G (1).7z"], ["a packed archive", "unpack it first"]),
    ],
)
def test_what_is_not_taken_is_named_with_a_remedy(tmp_path: Path, names: list[str], words: list[str]) -> None:
    folder = make_files(tmp_path / "data", *names) if names else tmp_path
    with pytest.raises(KanjinetError) as error:
        find_etl_files(folder)
    assert all(word in str(error.value) for word in words), error.value
    assert error.value.remedy


def test_a_wrong_folder_names_the_right_one(tmp_path: Path) -> None:
    folder = make_files(tmp_path / "ETL9G", "ETL9G_01", "ETL9G.zip")
    (folder / "empty").mkdir()
    for path, words in (
        (tmp_path / "nowhere", "nowhere: no such folder: .*make_sample_etl9g"),
        (folder / "empty", "no ETL9G files in it: they lie in the folder around it: .*ETL9G$"),
        (folder / "ETL9G_01", "a file where a folder is needed: name the folder: --etl-dir .*ETL9G$"),
        (folder / "ETL9G.zip", "a ZIP archive: unpack it first"),
    ):
        with pytest.raises(KanjinetError, match=words):
            find_etl_files(path)
    with pytest.raises(
        KanjinetError, match=r"raw data files, .*: run prepare_etl9g_dataset\.py --etl-dir .*ETL9G, then"
    ):
        read_dataset_info(folder)
    with pytest.raises(KanjinetError, match=r"raw data files"):
        read_dataset_info(make_files(tmp_path / "outer", "a/ETL9G/ETL9G_01"))


def test_folders_of_several_databases(tmp_path: Path) -> None:
    names = ("one/ETL9G_01", "two/ETL9G_02", "6/ETL6C_01", "1/ETL1C_02", "b/ETL9B_1", "again/ETL9G_02")
    folder = make_files(tmp_path, *names)
    found = find_databases([folder / name for name in ("6", "two", "1", "one")])
    assert {name: [file.path.name for file in files] for name, files in found.items()} == {
        "ETL9G": ["ETL9G_01", "ETL9G_02"],
        "ETL1": ["ETL1C_02"],
        "ETL6": ["ETL6C_01"],
    }
    assert list(find_databases([folder / "1"])) == ["ETL1"]
    with pytest.raises(KanjinetError, match=r"ETL9B and of ETL9G: they are not mixed.*ETL1 and ETL6 beside it"):
        find_databases([folder / "one", folder / "b"])
    with pytest.raises(KanjinetError, match=r"two files of number 2: .*again.*two"):
        find_databases([folder / "two", folder / "again"])


def test_it_says_which_files_it_takes(tmp_path: Path) -> None:
    files = find_etl_files(make_files(tmp_path, "ETL9G/ETL9G_01", "ETL9G/etl9g_02"))
    assert describe_etl_files(files) == f"2 of 50 ETL9G files in {tmp_path / 'ETL9G'}: ETL9G_01, etl9g_02"


@pytest.mark.parametrize("shell", ["bash", "PowerShell"])
def test_the_commands_that_unpack_work(tmp_path: Path, shell: str) -> None:
    """A folder with a space, an apostrophe and a bracket, as the message names it."""
    folder = tmp_path / "it's my [1] data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "ETL9G.zip", "w") as archive:
        archive.writestr("ETL9G/ETL9G_01", b"x")
    with pytest.raises(KanjinetError) as error:
        find_etl_files(folder)
    bash, _, rest = error.value.remedy.removeprefix("unpack it first: ").partition(" (bash) or ")
    program, remedy = ("unzip", "install unzip") if shell == "bash" else ("pwsh", "install PowerShell 7")
    require(shutil.which(program), remedy)
    windows = ["pwsh", "-NoProfile", "-Command", rest.partition(" (PowerShell)")[0]]
    subprocess.run(["bash", "-c", bash] if shell == "bash" else windows, check=True, capture_output=True)
    assert find_names(folder) == ["ETL9G/ETL9G/ETL9G_01"]
