"""Preparation through the real script, on files that an independent writer made, read by numpy and json alone."""

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from kanjinet.storage.locks import lock_folder
from tests.conftest import run_on_full_disk
from tests.sample_files import (
    BINARY_RECORD,
    RECORD_8G,
    draw_ink,
    list_jis_codes,
    pack_cell,
    write_data_sets,
    write_file,
)

ROOT = Path(__file__).parents[2]


def run_prepare(etl_dir: Path, output_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "prepare_etl9g_dataset.py"), "--etl-dir", str(etl_dir)]
    return subprocess.run(
        [*command, "--output-dir", str(output_dir), *options], capture_output=True, text=True, check=False
    )


def folder_bytes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def etl_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "ETL 9G 字"  # spaces and Japanese are fine
    write_data_sets(folder, 1, 1)
    write_data_sets(folder, 7, 2, shuffle_seed=1)  # no order may be assumed
    return folder


@pytest.fixture(scope="module")
def dataset(etl_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "dataset"
    result = run_prepare(etl_dir, folder, "--workers", "2")
    assert result.returncode == 0, result.stderr
    return folder


def test_chunks_hold_what_the_files_hold(dataset: Path) -> None:
    first = np.load(dataset / "etl9g_dataset_chunk_01.npz", allow_pickle=False)
    second = np.load(dataset / "etl9g_dataset_chunk_07.npz", allow_pickle=False)
    assert first["X"].shape == (3036, 64, 64)
    assert first["X"].dtype == np.uint8
    assert first["y"].tolist() == list(range(3036))
    assert set(first["data_set"].tolist()) == {1}
    assert set(second["data_set"].tolist()) == {25, 26}
    assert np.bincount(second["y"]).tolist() == [2] * 3036
    assert second["sheet"].min() == 1
    assert second["sheet"].max() == 40
    assert np.median(first["X"].max(axis=(1, 2))) == 255  # faint ink, at most 9 of 15, is stretched
    same_class = second["y"] == 2080
    np.testing.assert_array_equal(second["X"][same_class][0], first["X"][2080])  # a shift in the cell is normalized


def test_descriptions_agree_with_the_chunks(dataset: Path) -> None:
    metadata = json.loads((dataset / "metadata.json").read_text(encoding="utf-8"))
    mapping = json.loads((dataset / "character_mapping.json").read_text(encoding="utf-8"))
    chunks = json.loads((dataset / "chunk_info.json").read_text(encoding="utf-8"))["chunks"]
    assert metadata["total_samples"] == 9108 == sum(chunk["records"] for chunk in chunks)
    assert metadata["samples_per_class"] == [3] * 3036
    assert metadata["synthetic"] is False
    assert mapping["2080"] == {"character": "田", "jis_code": "4544"}
    for chunk in chunks:
        assert hashlib.sha256((dataset / chunk["name"]).read_bytes()).hexdigest() == chunk["sha256"]
    assert list(dataset.glob("*.part")) == []


def test_bytes_do_not_depend_on_the_number_of_workers(etl_dir: Path, dataset: Path, tmp_path: Path) -> None:
    assert run_prepare(etl_dir, tmp_path / "one", "--workers", "1").returncode == 0
    assert folder_bytes(tmp_path / "one") == folder_bytes(dataset)


def test_a_second_run_does_only_what_is_missing_or_damaged(etl_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    assert run_prepare(etl_dir, folder).returncode == 0
    before = folder_bytes(folder)
    assert "0 written, 2 already there" in run_prepare(etl_dir, folder).stdout
    damaged = folder / "etl9g_dataset_chunk_07.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert "1 written, 1 already there" in run_prepare(etl_dir, folder).stdout
    (folder / "etl9g_dataset_chunk_01.npz").unlink()
    (folder / "metadata.json").unlink()
    assert "1 written, 1 already there" in run_prepare(etl_dir, folder).stdout
    assert folder_bytes(folder) == before


def test_other_settings_replace_the_whole_dataset(etl_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    assert run_prepare(etl_dir, folder, "--size", "32").returncode == 0
    result = run_prepare(etl_dir, folder, "--size", "48", "--preprocess", "plain")
    assert "2 written" in result.stdout
    assert np.load(folder / "etl9g_dataset_chunk_01.npz")["X"].shape == (3036, 48, 48)
    assert json.loads((folder / "metadata.json").read_text())["preprocessing"]["version"] == "plain-1"


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "ETL9G"
    folder.mkdir()
    codes = list_jis_codes()
    write_file(folder / "ETL9G_01", [1] * 3036, codes)
    yield folder


def assert_refused(result: subprocess.CompletedProcess[str], *messages: str) -> None:
    assert result.returncode == 1, result.stdout
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for message in messages:
        assert message in result.stderr


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert_refused(run_prepare(tmp_path / "none", tmp_path / "out"), "no such folder", "make_sample_etl9g.py")
    (tmp_path / "empty").mkdir()
    assert_refused(run_prepare(tmp_path / "empty", tmp_path / "out"), "no ETL9G files in it")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("cut_bytes", "message"), [(1000, "truncated or damaged"), (8199, "no whole number of data")])
def test_truncated_files_are_refused_before_anything_is_written(
    small_folder: Path, tmp_path: Path, cut_bytes: int, message: str
) -> None:
    path = small_folder / "ETL9G_01"
    os.truncate(path, path.stat().st_size - cut_bytes)
    assert_refused(run_prepare(small_folder, tmp_path / "out"), "ETL9G_01", message, "99,568,656")
    assert not (tmp_path / "out").exists()


def test_partial_files_are_taken_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "ETL9G"
    folder.mkdir()
    write_file(folder / "ETL9G_03", [1, 2, 80], [0x2422, 0x4544, 0x4F53])
    assert run_prepare(folder, tmp_path / "out", "--allow-partial").returncode == 0
    chunk = np.load(tmp_path / "out" / "etl9g_dataset_chunk_03.npz")
    assert chunk["y"].tolist() == [0, 2080, 3035]
    assert chunk["data_set"].tolist() == [9, 9, 12]


def test_unknown_jis_code_names_file_and_record(small_folder: Path, tmp_path: Path) -> None:
    path = small_folder / "ETL9G_01"
    content = bytearray(path.read_bytes())
    content[8199 * 5 + 2 : 8199 * 5 + 4] = b"\x50\x21"
    path.write_bytes(content)
    assert_refused(run_prepare(small_folder, tmp_path / "out"), "ETL9G_01: record 6 has JIS code 5021")
    assert list((tmp_path / "out").iterdir()) == []


def test_chunks_of_other_files_are_not_mixed_in(small_folder: Path, dataset: Path) -> None:
    before = folder_bytes(dataset)
    assert_refused(run_prepare(small_folder, dataset), "etl9g_dataset_chunk_07.npz", "choose another --output-dir")
    assert folder_bytes(dataset) == before


def test_output_folder_that_is_a_file(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    assert_refused(run_prepare(small_folder, tmp_path / "out"), "out: is a file where a folder is needed")


@pytest.mark.parametrize("options", [("--size", "50"), ("--workers", "0"), ("--workers", "-3"), ("--size", "-64")])
def test_silly_options(small_folder: Path, tmp_path: Path, options: tuple[str, str]) -> None:
    result = run_prepare(small_folder, tmp_path / "out", *options)
    assert result.returncode == 2
    assert options[0] in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits a process's file size, which Windows cannot")
def test_a_full_disk_leaves_no_half_chunk(etl_dir: Path, tmp_path: Path) -> None:
    command = ["prepare_etl9g_dataset.py", "--etl-dir", etl_dir, "--output-dir", tmp_path / "out"]
    result = run_on_full_disk(command, limit_bytes=200_000)
    assert_refused(result, "etl9g_dataset_chunk_", os.strerror(errno.EFBIG))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
def test_killed_runs_are_completed_to_the_same_bytes(etl_dir: Path, dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    command = [sys.executable, str(ROOT / "prepare_etl9g_dataset.py"), "--etl-dir", str(etl_dir)]
    rng = random.Random(4)
    for _ in range(6):
        process = subprocess.Popen([*command, "--output-dir", str(folder)], stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 2.0))
        process.kill()
        process.wait()
    assert run_prepare(etl_dir, folder).returncode == 0
    assert folder_bytes(folder) == folder_bytes(dataset)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
def test_workers_of_a_killed_run_end_with_it(etl_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "prepare_etl9g_dataset.py"), "--etl-dir", str(etl_dir)]
    process = psutil.Popen([*command, "--output-dir", str(tmp_path / "out")], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(workers := process.children(recursive=True)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert workers
    assert alive == []


def test_a_second_run_in_the_same_folder_is_refused(etl_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    with lock_folder(folder, "test"):
        result = run_prepare(etl_dir, folder)
    assert_refused(result, "another prepare_etl9g_dataset.py is at work in this folder")
    assert run_prepare(etl_dir, folder).returncode == 0


def test_files_are_taken_as_an_unzip_leaves_them(etl_dir: Path, dataset: Path, tmp_path: Path) -> None:
    inner = tmp_path / "unzipped" / "ETL9G"
    inner.mkdir(parents=True)
    shutil.copyfile(etl_dir / "ETL9G_01", inner / "ETL9G-01")
    shutil.copyfile(etl_dir / "ETL9G_07", inner / "etl9g_07.bin")
    result = run_prepare(tmp_path / "unzipped", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert f"2 of 50 ETL9G files in {inner}: ETL9G-01, etl9g_07.bin" in result.stdout
    chunks = sorted(path.name for path in dataset.glob("*.npz"))
    assert [(tmp_path / "out" / name).read_bytes() for name in chunks] == [
        (dataset / name).read_bytes() for name in chunks
    ]
    shutil.copyfile(etl_dir / "ETL9G_01", inner / "ETL9G-01 (1)")
    assert_refused(run_prepare(tmp_path / "unzipped", tmp_path / "again"), "ETL9G-01 (1)", "copy", "remove it")
    assert_refused(run_prepare(dataset, tmp_path / "again"), "a prepared dataset", "--data-dir")
    assert not (tmp_path / "again").exists()


def test_etl8g_and_etl9b_become_datasets_of_their_name(dataset: Path, tmp_path: Path) -> None:
    codes = [0x2443, *list_jis_codes()[69:150:8]]  # small つ, which is no class, を and kanji
    cells = [draw_ink(code) for code in codes]
    (tmp_path / "8").mkdir()
    with (tmp_path / "8" / "ETL8G_02").open("wb") as file:
        for sheet in (1, 11):
            for code, cell in zip(codes, cells, strict=True):
                file.write(RECORD_8G.pack(sheet, code, b"", *[0] * 11, pack_cell(cell)))
    (tmp_path / "8" / "ETL8G_33").write_bytes(bytes(956 * 8199))
    result = run_prepare(tmp_path / "8", tmp_path / "out8", "--allow-partial")
    assert result.returncode == 0, result.stderr
    assert "2 of 33 ETL8G files" in result.stdout
    assert "ETL8G_33: the model characters in it are left out" in result.stdout
    assert "left out    2 records" in result.stdout
    chunk = np.load(tmp_path / "out8" / "etl9g_dataset_chunk_02.npz")
    classes = [list_jis_codes().index(code) for code in codes[1:]]
    assert (chunk["y"].tolist(), chunk["data_set"].tolist()) == (classes * 2, [6] * len(classes) + [7] * len(classes))
    assert chunk["sheet"].tolist() == [1] * len(chunk["y"])  # counted in each data set
    description = json.loads((tmp_path / "out8" / "metadata.json").read_text(encoding="utf-8"))
    assert (description["dataset"], description["synthetic"]) == ("ETL8G", False)
    info = json.loads((tmp_path / "out8" / "chunk_info.json").read_text(encoding="utf-8"))
    assert (info["settings"]["database"], info["chunks"][0]["source_name"]) == ("ETL8G", "ETL8G_02")

    (tmp_path / "9").mkdir()
    with (tmp_path / "9" / "ETL9B_1").open("wb") as file:
        file.write(bytes(576))
        for sheet in (1, 21):
            for code, cell in zip(codes[1:], cells[1:], strict=True):
                file.write(BINARY_RECORD.pack(sheet, code, b"", np.packbits(cell[:126:2, ::2] > 0).tobytes()))
    assert run_prepare(tmp_path / "9", tmp_path / "out9", "--allow-partial").returncode == 0
    chunk9 = np.load(tmp_path / "out9" / "etl9g_dataset_chunk_01.npz")
    assert (chunk9["y"].tolist(), sorted(set(chunk9["data_set"].tolist()))) == (classes * 2, [1, 2])
    assert json.loads((tmp_path / "out9" / "metadata.json").read_text(encoding="utf-8"))["dataset"] == "ETL9B"
    differences = np.abs(chunk9["X"][: len(classes)].astype(int) - chunk["X"][: len(classes)])
    assert differences.mean() < 25  # the same ink, at half the resolution and in black and white

    before = folder_bytes(tmp_path / "out8")
    shutil.copyfile(tmp_path / "9" / "ETL9B_1", tmp_path / "9" / "ETL9B_2")
    (tmp_path / "9" / "ETL9B_1").unlink()
    shutil.copytree(tmp_path / "out9", tmp_path / "mixed")
    assert_refused(
        run_prepare(tmp_path / "8", tmp_path / "mixed", "--allow-partial"), "etl9g_dataset_chunk_01.npz", "another"
    )
    (tmp_path / "8" / "ETL8G_02").rename(tmp_path / "8" / "ETL8G_01")
    result = run_prepare(tmp_path / "8", tmp_path / "mixed", "--allow-partial")
    assert_refused(result, "holds a dataset of ETL9B, and the files are of ETL8G", "choose another --output-dir")
    assert folder_bytes(tmp_path / "out8") == before


def test_disagreeing_sheets_are_named_and_prepared(tmp_path: Path) -> None:
    (tmp_path / "ETL9G").mkdir()
    write_file(tmp_path / "ETL9G" / "ETL9G_01", [1, 200], [0x2422, 0x2422])
    result = run_prepare(tmp_path / "ETL9G", tmp_path / "out", "--allow-partial")
    assert result.returncode == 0
    assert "record 2 with sheet 200" in result.stdout + result.stderr
    chunk = np.load(tmp_path / "out" / "etl9g_dataset_chunk_01.npz")
    assert (chunk["data_set"].tolist(), chunk["sheet"].tolist()) == ([1, 2], [1, 0])


def test_verify_tells_whole_from_damaged(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    command = [sys.executable, str(ROOT / "prepare_etl9g_dataset.py"), "--verify", "--output-dir", str(copy)]
    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whole.returncode == 0
    assert "9,108 images in 2 chunks" in whole.stdout
    mapping = (copy / "character_mapping.json").read_bytes()
    (copy / "character_mapping.json").write_bytes(b"[]")
    assert_refused(subprocess.run(command, capture_output=True, text=True, check=False), "character_mapping.json")
    (copy / "character_mapping.json").write_bytes(mapping)
    chunk = copy / "etl9g_dataset_chunk_07.npz"
    content = bytearray(chunk.read_bytes())
    content[1000] ^= 1
    chunk.write_bytes(content)
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused(damaged, "1 of 2 chunks are wrong", "run prepare_etl9g_dataset.py again")
    assert "whole      etl9g_dataset_chunk_01.npz" in damaged.stdout
    assert "wrong" in damaged.stdout
