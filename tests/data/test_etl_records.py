"""The record format against AIST's published first fields and against a reader and a writer made of `struct`."""

from pathlib import Path

import numpy as np
import pytest

from kanjinet.classes import JIS_CODES
from kanjinet.data import etl_records
from kanjinet.data.etl_files import EtlFile
from kanjinet.errors import KanjinetError
from tests.sample_files import BINARY_RECORD, RECORD, RECORD_8G, list_jis_codes, pack_cell, write_file

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
    assert RECORD.size == etl_records.RECORD_BYTES == 8199
    assert etl_records.FILE_BYTES == 99_568_656


def test_published_records_are_read_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "ETL9G_01"
    path.write_bytes(b"".join(RECORD.pack(*fields, bytes(8128)) for fields in AIST_RECORDS))
    records = etl_records.open_records(EtlFile(path, 1), allow_partial=True)
    assert [tuple(record[name] for name in FIELDS) for record in records] == list(AIST_RECORDS)


def test_written_records_are_what_struct_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 16, (3, 127, 128), dtype=np.uint8)
    records = np.zeros(3, dtype=etl_records.RECORD_DTYPE)
    for record, fields in zip(records, AIST_RECORDS, strict=True):
        for name, value in zip(FIELDS, fields, strict=True):
            record[name] = value
    records["pixels"] = etl_records.pack_pixels(images)
    path = tmp_path / "ETL9G_01"
    etl_records.write_records(path, [records[:1], records[1:]])

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
    image = etl_records.unpack_pixels(packed)[0]
    assert image.shape == (127, 128)
    assert (image[0, 0], image[0, 1], image[1, 126], image[1, 127]) == (10, 3, 0, 15)
    assert image.sum() == 10 + 3 + 15


@pytest.mark.parametrize("images", [np.zeros((1, 128, 127), np.uint8), np.full((1, 127, 128), 16, np.uint8)])
def test_pack_refuses_what_does_not_fit(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        etl_records.pack_pixels(images)


def decode(path: Path, number: int, database: str = "ETL9G") -> etl_records.Origins:
    file = EtlFile(path, number, database)
    return etl_records.decode_origins(file, etl_records.open_records(file, allow_partial=True))


def test_data_sets_follow_file_number_and_sheet(tmp_path: Path) -> None:
    codes = [0x3021, 0x3022, 0x3021, 0x3022, 0x3021, 0x3021, 0x3022]
    path = write_file(tmp_path / "ETL9G_50", [1, 20, 21, 40, 60, 61, 80], codes)
    assert decode(path, 1).data_sets.tolist() == [1, 1, 2, 2, 3, 4, 4]
    assert decode(path, 50).data_sets.tolist() == [197, 197, 198, 198, 199, 200, 200]


def test_sheets_may_be_counted_on_from_file_to_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ETL9G_02", [81, 100, 101, 160], [0x3021, 0x3022, 0x3021, 0x3023])
    origins = decode(path, 2)
    assert (origins.data_sets.tolist(), origins.sheets.tolist()) == ([5, 5, 6, 8], [1, 20, 21, 80])


@pytest.mark.parametrize(
    ("sheets", "data_sets", "sheets_read", "words"),
    [
        ([1, 21, 41], [1, 2, 3], [1, 21, 41], []),
        ([1, 81, 41], [1, 2, 3], [1, 0, 41], ["1 of 3 records", "record 2 with sheet 81", "order is taken"]),
        ([0, 21, 41], [1, 2, 3], [0, 21, 41], ["record 1 with sheet 0", "order is taken"]),
        ([1, 1, 21], [1, 2, 3], [1, 1, 21], ["2 of 3 records", "record 2 with sheet 1", "order is taken"]),
        ([41, 21, 1], [3, 2, 1], [41, 21, 1], ["2 of 3 records", "sheet numbers are taken"]),  # in another order
        ([21, 41, 61], [2, 3, 4], [21, 41, 61], ["3 of 3 records", "sheet numbers are taken"]),  # without the first
    ],
)
def test_sheets_and_order_that_disagree_are_named_and_none_is_refused(
    tmp_path: Path, sheets: list[int], data_sets: list[int], sheets_read: list[int], words: list[str]
) -> None:
    origins = decode(write_file(tmp_path / "ETL9G_01", sheets, [0x3021] * 3), 1)
    assert (origins.data_sets.tolist(), origins.sheets.tolist()) == (data_sets, sheets_read)
    assert bool(origins.disagreement) == bool(words)
    assert all(word in origins.disagreement for word in words)


def test_unknown_jis_codes_are_named(tmp_path: Path) -> None:
    file = EtlFile(write_file(tmp_path / "ETL9G_01", [1, 1, 1], [0x3021, 0x5021, 0x2421]), 1)
    records = etl_records.open_records(file, allow_partial=True)
    with pytest.raises(KanjinetError, match=r"ETL9G_01: record 2 has JIS code 5021, .*\(2 such records\)"):
        etl_records.decode_classes(file, records)


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
        etl_records.check_file_size(EtlFile(tmp_path / "ETL9G_01", 1), size_bytes)


@pytest.mark.parametrize("data_sets", [1, 2, 3, 4])
def test_whole_data_sets_are_accepted(tmp_path: Path, data_sets: int) -> None:
    assert etl_records.check_file_size(EtlFile(tmp_path, 1), 8199 * 3036 * data_sets) == 3036 * data_sets


def test_synthetic_files_say_so_in_info_or_in_the_records(tmp_path: Path) -> None:
    file = EtlFile(write_file(tmp_path / "ETL9G_01", [1], [int(JIS_CODES[0])]), 1)
    records = np.array(etl_records.open_records(file, allow_partial=True))
    assert not etl_records.is_synthetic(file, records)
    records["undefined"] = etl_records.SYNTHETIC_MARK
    assert etl_records.is_synthetic(file, records)
    (tmp_path / "ETL9INFO").write_bytes(b"x " + etl_records.SYNTHETIC_MARK)
    assert etl_records.is_synthetic(file)


def test_etl8g_has_its_pixels_at_byte_61_and_small_kana_that_are_no_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 16, (2, 127, 128), dtype=np.uint8)
    packed = [pack_cell(image) for image in images]
    fields = (b"A.HIRA  ", 1, 0, 0, 1, 24, 3552, 0, 8001, 8004, 0, 0)
    file = EtlFile(tmp_path / "ETL8G_02", 2, "ETL8G")
    codes = zip((1, 11), (0x2443, 0x3021), packed, strict=True)
    file.path.write_bytes(b"".join(RECORD_8G.pack(sheet, code, *fields, cell) for sheet, code, cell in codes))
    records = etl_records.open_records(file, allow_partial=True)
    np.testing.assert_array_equal(etl_records.unpack_cells(etl_records.ETL8G, records["pixels"], 1), images)
    assert (records[0]["writer_sex"], records[0]["writer_age"], records[0]["gathered_yymm"]) == (1, 24, 8001)
    assert etl_records.decode_classes(file, records).tolist() == [-1, 71]
    assert decode(file.path, 2, "ETL8G").data_sets.tolist() == [6, 7]  # ten sheets a set, five sets a file
    file.path.write_bytes(RECORD_8G.pack(1, 0x5021, *fields, packed[0]))
    with pytest.raises(KanjinetError, match="JIS code 5021, none of ETL8G's 956"):
        etl_records.decode_classes(file, etl_records.open_records(file, allow_partial=True))


def test_etl9b_is_read_in_parts_without_dummy_and_model_characters(tmp_path: Path) -> None:
    codes = list_jis_codes()
    cell = np.zeros((63, 64), dtype=np.uint8)
    cell[10, 3] = cell[62, 63] = 1
    eights = cell.reshape(-1, 8).tolist()
    bits = bytes(sum(bit << 7 - place for place, bit in enumerate(eight)) for eight in eights)
    path = tmp_path / "ETL9B_5"
    with path.open("wb") as file:
        file.write(bytes(576))
        for data_set in range(160, 201):  # the last one is of model characters
            sheets = (data_set * 20 + index // 152 + 1 for index in range(3036))
            file.write(b"".join(BINARY_RECORD.pack(*row, b"A.HI", bits) for row in zip(sheets, codes, strict=True)))
    parts = etl_records.list_parts(EtlFile(path, 5, "ETL9B"))
    assert [etl_records.chunk_number(part) for part in parts] == list(range(41, 51))
    assert len(etl_records.open_records(parts[0])) == 121_440
    for part in (parts[0], parts[-1]):
        records = etl_records.read_records(part)
        assert len(records) == 4 * 3036
        origins = etl_records.decode_origins(part, records)
        assert np.unique(origins.data_sets).tolist() == list(range(161 + 4 * part.part, 165 + 4 * part.part))
        assert (origins.sheets.min(), origins.sheets.max(), origins.disagreement) == (1, 20, "")
        assert etl_records.decode_classes(part, records).tolist() == list(range(3036)) * 4
    cells = etl_records.unpack_cells(etl_records.ETL9B, records["pixels"][:1], 17)
    assert cells.shape == (1, 126, 128)
    assert np.argwhere(cells[0]).tolist() == [[y, x] for y in (20, 21) for x in (6, 7)] + [
        [y, x] for y in (124, 125) for x in (126, 127)
    ]
    with pytest.raises(KanjinetError, match="124,476 records, more than the 121,440 of an ETL9B file"):
        etl_records.list_parts(EtlFile(path, 4, "ETL9B"))
