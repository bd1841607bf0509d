"""ETL1 and ETL6, against records made of `struct`: codes, cells, faults, a dataset beside ETL9G."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kanjinet.classes import JAPANESE_SET
from kanjinet.data.dataset import decode_labels, read_dataset_info, read_labels
from kanjinet.data.etl_files import EtlFile
from kanjinet.data.etl_records import ETL1, ETL6, is_synthetic, list_parts, read_records, unpack_cells
from kanjinet.data.m_type import CHARACTER_OF_CODE, M_RECORD_DTYPE
from kanjinet.errors import KanjinetError
from tests.sample_files import (
    M_RECORD,
    draw_small_ink,
    list_jis_codes,
    pack_cell,
    pack_m_record,
    write_file,
    write_m_file,
)

ROOT = Path(__file__).parents[2]
SHEETS = range(1001, 1041)
KNOWN = JAPANESE_SET.class_of_character
KA, KI, KU = 0xB6, 0xB7, 0xB8


def read_file(path: Path, database: str = "ETL1") -> tuple[EtlFile, np.ndarray]:
    [file] = list_parts(EtlFile(path, 7, database))
    return file, read_records(file)


def test_records_are_read_field_by_field(tmp_path: Path) -> None:
    cell = draw_small_ink(3)
    fields = (4233, b"KA", 1003, KA, 0x86, 1, 2, 2, 31, 70_123, 9144, 11, 7309, 7311, 5, 6, 12, 240)
    (tmp_path / "ETL1C_07").write_bytes(M_RECORD.pack(*fields, pack_cell(cell)))
    assert M_RECORD.size == M_RECORD_DTYPE.itemsize == 2052
    file, records = read_file(tmp_path / "ETL1C_07")
    assert tuple(records[0].tolist()[:18]) == fields
    cells = unpack_cells(ETL1, records["pixels"], 17)
    np.testing.assert_array_equal(cells[0], np.kron(cell * 17, np.ones((2, 2), np.uint8)))
    assert not is_synthetic(file, records)


def test_codes_are_characters_of_full_width() -> None:
    assert "".join(CHARACTER_OF_CODE[code] for code in b"09AZ*\\") == "09AZ*\\"
    assert "".join(CHARACTER_OF_CODE[0xB1:0xDE]) == (
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
    )
    assert [CHARACTER_OF_CODE[code] for code in (0xA6, 0xA8, 0xAA, 0xB0)] == ["ヲ", "ヰ", "ヱ", "ー"]
    assert not any(CHARACTER_OF_CODE[code] for code in (0x00, 0x1F, 0x20, 0x7F, 0x80, 0xA0, 0xE0, 0xFF))


def test_sheets_are_dealt_to_data_sets_of_the_database_s_own(tmp_path: Path) -> None:
    for database, first, count in ((ETL1, 201, 25), (ETL6, 226, 30)):
        path = write_m_file(tmp_path / f"{database.name}C_07", [KA, KI], range(1001, 2961, 7))
        labels, kept, note = decode_labels(*read_file(path, database.name))
        assert kept.all() and not note
        assert labels.classes.tolist() == [KNOWN["カ"]] * 280 + [KNOWN["キ"]] * 280
        assert set(labels.data_sets.tolist()) == set(range(first, first + count))
        writers = list(zip(labels.data_sets.tolist(), labels.sheets.tolist(), strict=True))
        assert writers[:280] == writers[280:] and len(set(writers)) == 280


def replace_record(content: bytes, number: int, record: bytes) -> bytes:
    return content[: 2052 * number] + record + content[2052 * (number + 1) :]


def cell_of(code: int, sheet: int) -> np.ndarray:
    return draw_small_ink(code << 16 | sheet)


@pytest.mark.parametrize(
    ("changed", "left_out", "words"),
    [
        ({3: pack_m_record(KA, 1004, np.zeros((63, 64), np.uint8), b"KA")}, [3], "1 without ink"),
        ({3: pack_m_record(0, 1004, cell_of(1, 1))}, [3], "1 without a character's code"),
        ({3: pack_m_record(KU, 1004, cell_of(1, 1), b"KU")}, [3], "1 of a character that is out of place in this file"),
        ({3: pack_m_record(KA, 1004, cell_of(1, 1), b"KI")}, [3], "1 with another name"),
        ({3: pack_m_record(KA, 1004, cell_of(1, 1), b"KA", (9, 9))}, [3], "1 in another place of the sheet"),
        ({3: pack_m_record(KA, 1004, cell_of(KA, 1001), b"KA")}, [3], "1 with an image that occurs twice"),
        ({43: pack_m_record(KI, 1004, cell_of(KA, 1004), b"KI", (1, 2))}, [3, 43], "2 with an image that occurs twice"),
        ({3: pack_m_record(KA, 1003, cell_of(1, 1), b"KA")}, [3], "1 of a character that its sheet has already"),
    ],
)
def test_what_is_wrong_is_named_and_left_out(
    tmp_path: Path, changed: dict[int, bytes], left_out: list[int], words: str
) -> None:
    """Forty sheets of カ and キ, of which some records are replaced."""
    content = b"".join(
        pack_m_record(code, sheet, cell_of(code, sheet), name, (1, column))
        for code, name, column in ((KA, b"KA", 1), (KI, b"KI", 2))
        for sheet in SHEETS
    )
    for number, record in changed.items():
        content = replace_record(content, number, record)
    (tmp_path / "ETL1C_07").write_bytes(content)
    _, kept, note = decode_labels(*read_file(tmp_path / "ETL1C_07"))
    assert np.flatnonzero(~kept).tolist() == left_out
    assert words in note and note.startswith(f"{tmp_path / 'ETL1C_07'}: left out ")
    has_fewer = "without a character's code" in words or "out of place in this file" in words
    assert note.endswith("; fewer records than the 40 of others: カ (39)") == has_fewer


def test_what_many_records_differ_in_is_no_fault(tmp_path: Path) -> None:
    """Two kinds of sheets, with other places of their characters, and numbered from 1001 each."""
    path = tmp_path / "ETL6C_07"
    path.write_bytes(
        b"".join(pack_m_record(KA, sheet, cell_of(row, sheet), b"KA", (row, 1)) for row in (1, 2) for sheet in SHEETS)
    )
    _, kept, note = decode_labels(*read_file(path, "ETL6"))
    assert kept.all() and not note


def test_a_truncated_file_is_refused_and_a_missing_record_named(tmp_path: Path) -> None:
    path = write_m_file(tmp_path / "ETL1C_07", [KA, KI, KU], SHEETS)
    content = path.read_bytes()
    path.write_bytes(content[:-2052])
    _, kept, note = decode_labels(*read_file(path))
    assert kept.all() and note.endswith("ETL1C_07; fewer records than the 40 of others: ク (39)")
    path.write_bytes(content[: -2052 * 10])
    with pytest.raises(KanjinetError, match=r"30 records of the character ク, and 40 of another.*--allow-partial"):
        decode_labels(*read_file(path))
    assert decode_labels(*read_file(path), allow_partial=True)[1].sum() == 110
    path.write_bytes(content[:-1])
    with pytest.raises(KanjinetError, match="119 records of 2,052 bytes and 2,051 bytes over"):
        read_file(path)
    path.write_bytes(bytes(2052 * 40))
    with pytest.raises(KanjinetError, match="40 of 40 records have no code of JIS X 0201"):
        decode_labels(*read_file(path))
    path.write_bytes(bytes(2052 * 11_561))
    with pytest.raises(KanjinetError, match="11,561 records, more than the 11,560 of an ETL1 file"):
        read_file(path)


def run(script: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_etl1_and_etl6_beside_etl9g_become_one_dataset(tmp_path: Path) -> None:
    codes = list_jis_codes()
    (tmp_path / "ETL9G").mkdir()
    write_file(tmp_path / "ETL9G" / "ETL9G_01", [1] * len(codes), codes)
    write_m_file(tmp_path / "ETL1" / "ETL1C_05", list(b"Z*-"), SHEETS)
    write_m_file(tmp_path / "ETL1" / "ETL1C_06", list(b"/=()"), SHEETS)  # nothing but signs
    write_m_file(tmp_path / "ETL6" / "ETL6C_01", [0xB1, 0xDD], range(1, 31))
    folders = [tmp_path / name for name in ("ETL6", "ETL9G", "ETL1")]
    out = tmp_path / "out"
    done = run("prepare_etl9g_dataset.py", "--etl-dir", *folders, "--output-dir", out)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "1 of 50 ETL9G files" in said and "2 of 13 ETL1 files" in said and "1 of 12 ETL6 files" in said
    assert "ETL1C_05: left out of characters that are none of the 6,594 characters of Japanese: * (40) - (40)" in said
    assert "source      4 ETL9G+ETL1+ETL6 files" in said and "left out    240 records" in said
    metadata = json.loads((out / "metadata.json").read_text(encoding="utf-8"))
    assert (metadata["dataset"], metadata["num_classes"], metadata["total_samples"]) == ("ETL9G+ETL1+ETL6", 6594, 3136)
    assert sorted(path.name for path in out.glob("*.npz")) == [
        *(f"etl1_dataset_chunk_0{number}.npz" for number in (5, 6)),
        *(f"{name}_dataset_chunk_01.npz" for name in ("etl6", "etl9g")),
    ]
    chunk = np.load(out / "etl6_dataset_chunk_01.npz")
    assert chunk["y"].tolist() == [KNOWN["ア"]] * 30 + [KNOWN["ン"]] * 30
    assert chunk["X"].shape == (60, 64, 64) and chunk["X"].any(axis=(1, 2)).all()
    info = read_dataset_info(out)
    assert info.sources == ("ETL9G", "ETL1", "ETL6")
    assert len(read_labels(info)) == 3136
    assert "3,136 images in 4 chunks" in run("prepare_etl9g_dataset.py", "--verify", "--output-dir", out).stdout
    again = run("prepare_etl9g_dataset.py", "--etl-dir", *folders, "--output-dir", out)
    assert "0 written, 4 already there" in again.stdout
    setup = run("test_etl9g_setup.py", "--data-dir", out)
    assert "of ETL9G+ETL1+ETL6's 255" in setup.stdout

    other = run("prepare_etl9g_dataset.py", "--etl-dir", folders[1], "--output-dir", out)
    assert other.returncode == 1 and "etl1_dataset_chunk_05.npz, which is made from none" in other.stderr
    small = run("prepare_etl9g_dataset.py", "--etl-dir", folders[2], "--characters", "etl9g", "--output-dir", out)
    assert small.returncode == 1 and "--characters etl9g: ETL1 has none of the 3,036" in small.stderr
