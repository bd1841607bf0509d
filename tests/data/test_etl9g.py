"""The record format against AIST's published first fields and against a reader and a writer made of `struct`."""

from pathlib import Path

import numpy as np
import pytest

from kanjinet.classes import JIS_CODES
from kanjinet.data import etl9g
from kanjinet.errors import KanjinetError
from tests.sample_files import RECORD, write_file

AIST_RECORDS = (
    (1, 0x3021, b"A.TSUGU ", 1, 0, 0, 0, 0, 0, 0, 8212, 8310, 0, 0),  # ETL9G_01, record 1
    (1, 0x3124, b"IN.HIBI ", 101, 0, 0, 0, 0, 0, 0, 8212, 8311, 4, 6),  # ETL9G_11, record 101
    (2, 0x3227, b"OU.OKI  ", 49, 0, 0, 0, 0, 0, 0, 8212, 8406, 0, 3),  # ETL9G_21, record 201
)
FIELDS = (
    *("sheet", "jis_code", "reading", "serial", "character_evaluation", "group_evaluation", "writer_sex"),
    *("writer_age", "industry_code", "occupation_code", "gathered_yymm", "scanned_yymm", "position_x", "position_y"),
)


def test_record_is_8199_bytes_and_a_file_99_568_656() -> None:
    assert RECORD.size == etl9g.RECORD_BYTES == 8199
    assert etl9g.FILE_BYTES == 99_568_656


def test_published_records_are_read_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "ETL9G_01"
    path.write_bytes(b"".join(RECORD.pack(*fields, bytes(8128)) for fields in AIST_RECORDS))
    records = etl9g.open_records(path, allow_partial=True)
    assert [tuple(record[name] for name in FIELDS) for record in records] == list(AIST_RECORDS)


def test_written_records_are_what_struct_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 16, (3, 127, 128), dtype=np.uint8)
    records = np.zeros(3, dtype=etl9g.RECORD_DTYPE)
    for record, fields in zip(records, AIST_RECORDS, strict=True):
        for name, value in zip(FIELDS, fields, strict=True):
            record[name] = value
    records["pixels"] = etl9g.pack_pixels(images)
    path = tmp_path / "ETL9G_01"
    etl9g.write_records(path, [records[:1], records[1:]])

    content = path.read_bytes()
    assert len(content) == 3 * 8199
    for index, expected in enumerate(AIST_RECORDS):
        *fields, packed = RECORD.unpack_from(content, index * 8199)
        assert tuple(fields) == expected
        nibbles = [nibble for byte in packed for nibble in (byte >> 4, byte & 15)]
        assert nibbles == images[index].ravel().tolist()


def test_pixels_are_unpacked_high_nibble_first_row_by_row() -> None:
    packed = np.zeros((1, 127, 64), dtype=np.uint8)
    packed[0, 0, 0], packed[0, 1, 63] = 0xA3, 0x0F
    image = etl9g.unpack_pixels(packed)[0]
    assert image.shape == (127, 128)
    assert (image[0, 0], image[0, 1], image[1, 126], image[1, 127]) == (10, 3, 0, 15)
    assert image.sum() == 10 + 3 + 15


@pytest.mark.parametrize("images", [np.zeros((1, 128, 127), np.uint8), np.full((1, 127, 128), 16, np.uint8)])
def test_pack_refuses_what_does_not_fit(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        etl9g.pack_pixels(images)


def test_data_sets_follow_file_number_and_sheet(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ETL9G_50", [1, 20, 21, 40, 60, 61, 80], [0x3021] * 7)
    records = etl9g.open_records(path, allow_partial=True)
    assert etl9g.decode_data_sets(etl9g.Etl9gFile(path, 1), records).tolist() == [1, 1, 2, 2, 3, 4, 4]
    assert etl9g.decode_data_sets(etl9g.Etl9gFile(path, 50), records).tolist() == [197, 197, 198, 198, 199, 200, 200]


@pytest.mark.parametrize("sheet", [0, 81])
def test_impossible_sheet_numbers_are_named(tmp_path: Path, sheet: int) -> None:
    path = write_file(tmp_path / "ETL9G_01", [1, sheet], [0x3021] * 2)
    records = etl9g.open_records(path, allow_partial=True)
    with pytest.raises(KanjinetError, match=f"ETL9G_01: record 2 has sheet number {sheet}"):
        etl9g.decode_data_sets(etl9g.Etl9gFile(path, 1), records)


def test_unknown_jis_codes_are_named(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ETL9G_01", [1, 1, 1], [0x3021, 0x5021, 0x2421])
    records = etl9g.open_records(path, allow_partial=True)
    with pytest.raises(KanjinetError, match=r"ETL9G_01: record 2 has JIS code 5021, .*\(2 such records\)"):
        etl9g.decode_classes(path, records)


@pytest.mark.parametrize(
    ("size_bytes", "message"),
    [
        (0, "empty file"),
        (99_568_655, "12,143 records of 8,199 bytes and 8,198 bytes over"),
        (8199 * 12_145, "12,145 records, more than the 12,144"),
        (8199 * 3035, "3,035 records are no whole number of data sets"),
    ],
)
def test_wrong_lengths_are_refused_with_the_figures(tmp_path: Path, size_bytes: int, message: str) -> None:
    with pytest.raises(KanjinetError, match=message):
        etl9g.check_file_size(tmp_path / "ETL9G_01", size_bytes)


@pytest.mark.parametrize("data_sets", [1, 2, 3, 4])
def test_whole_data_sets_are_accepted(tmp_path: Path, data_sets: int) -> None:
    assert etl9g.check_file_size(tmp_path, 8199 * 3036 * data_sets) == 3036 * data_sets


def test_folder_lists_only_data_files_in_order(tmp_path: Path) -> None:
    for name in ("ETL9G_10", "ETL9G_02", "ETL9G_51", "ETL9G_00", "ETL9G_1", "ETL9INFO", "ETL9G_03.txt"):
        (tmp_path / name).touch()
    (tmp_path / "ETL9G_04").mkdir()
    assert [(file.path.name, file.number) for file in etl9g.find_etl9g_files(tmp_path)] == [
        ("ETL9G_02", 2),
        ("ETL9G_10", 10),
    ]


def test_missing_and_empty_folders_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(KanjinetError, match=r"nowhere: no such folder: .*make_sample_etl9g\.py"):
        etl9g.find_etl9g_files(tmp_path / "nowhere")
    with pytest.raises(KanjinetError, match="no ETL9G files in it"):
        etl9g.find_etl9g_files(tmp_path)


def test_synthetic_files_say_so_in_info_or_in_the_records(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ETL9G_01", [1], [int(JIS_CODES[0])])
    records = np.array(etl9g.open_records(path, allow_partial=True))
    assert not etl9g.is_synthetic(tmp_path, records)
    records["undefined_header"] = etl9g.SYNTHETIC_MARK
    assert etl9g.is_synthetic(tmp_path, records)
    (tmp_path / "ETL9INFO").write_bytes(b"x " + etl9g.SYNTHETIC_MARK)
    assert etl9g.is_synthetic(tmp_path)
