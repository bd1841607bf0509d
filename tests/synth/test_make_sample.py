"""make_sample_etl9g.py through its command line, its files read by a second reader written here with `struct`."""

import collections
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = struct.Struct(">2H8sI4B4H2B34s8128s7s")  # AIST's form_e9g
RECORD_8G = struct.Struct(">2H8sI4B4H2B30s8128s11s")  # form_e8g
RECORD_9B = struct.Struct(">2H4s504s64s")  # form_e9b
RECORD_M = struct.Struct(">H2sH6BI4H4B4s2016s4s")  # form_m
MARK = b"SYNTHETIC SAMPLE FROM KANJIVG"


def run(folder, *options, check=True):
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(ROOT / "make_sample_etl9g.py"), *map(str, options)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def read(path):
    return [
        RECORD.unpack(block) for block in struct.iter_unpack(f"{RECORD.size}s", path.read_bytes()) for block in block
    ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    done = run(folder, "--sets", 2, "--workers", 2, "--contact-sheet", "hands.png")
    return folder, done


def test_size_and_report(sample):
    folder, done = sample
    assert RECORD.size == 8199
    assert (folder / "ETL9G" / "ETL9G_01").stat().st_size == 2 * 3036 * 8199
    assert sorted(path.name for path in (folder / "ETL9G").iterdir()) == ["ETL9G_01", "ETL9INFO"]
    assert "6,072 characters" in done.stdout and "characters/s" in done.stdout
    assert "prepare_etl9g_dataset.py" in done.stdout
    assert done.stderr == ""  # no bar where nobody watches
    assert (folder / "hands.png").read_bytes().startswith(b"\x89PNG")


def test_info_says_what_the_files_are(sample):
    text = (sample[0] / "ETL9G" / "ETL9INFO").read_bytes()
    for words in (MARK, b"synthetic", b"KanjiVG", b"Ulrich Apel", b"Attribution-Share Alike 3.0", b"Seed:       0"):
        assert words in text


def test_official_layout(sample):
    records = read(sample[0] / "ETL9G" / "ETL9G_01")
    sizes = collections.Counter(record[0] for record in records)
    assert sizes == {sheet: 148 if sheet in (20, 40) else 152 for sheet in range(1, 41)}
    kana = collections.Counter(record[0] for record in records if record[1] < 0x3000)
    assert set(kana.values()) == {3, 4}
    for half in (records[:3036], records[3036:]):
        kanji = [record[1] for record in half if record[1] >= 0x3000]
        assert kanji == sorted(set(kanji)) and len(kanji) == 2965
        assert len({record[1] for record in half}) == 3036
        hiragana = [record[1] for record in half if record[1] < 0x3000]
        assert hiragana != sorted(hiragana)
    for before, record in zip([None, *records], records, strict=False):
        sheet, jis, reading, serial, *zeros, gathered, scanned, x, y, undefined, _, tail = record
        assert serial == (1 if before is None or before[0] != sheet else before[3] + 1)
        assert (x, y) == ((serial - 1) % 16, (serial - 1) // 16)
        character = bytes([jis >> 8 | 0x80, jis & 0xFF | 0x80]).decode("euc_jp")
        assert reading == f"U+{ord(character):04X}  ".encode()
        assert zeros == [0] * 6 and (gathered, scanned) == (8212, 8310)
        assert undefined == MARK.ljust(34, b"\0") and tail == bytes(7)


def test_first_fields_that_aist_published(sample):
    from kanjinet.classes import JIS_CODES
    from kanjinet.synth.sheets import GATHERED_YYMM, list_sheet_classes, scanned_yymm

    first = read(sample[0] / "ETL9G" / "ETL9G_01")[0]
    assert (*first[:2], *first[3:14]) == (1, 0x3021, 1, 0, 0, 0, 0, 0, 0, 8212, 8310, 0, 0)
    known = {(11, 101): (1, 0x3124, 101, 8311, 4, 6), (21, 201): (2, 0x3227, 49, 8406, 0, 3)}
    sheets = list_sheet_classes()
    for (file, record), fields in known.items():
        sheet = (record - 1) // 152 + 1
        place = (record - 1) % 152
        jis = int(JIS_CODES[sheets[sheet - 1][place]])
        assert (sheet, jis, place + 1, scanned_yymm(file), place % 16, place // 16) == fields
    dates = [scanned_yymm(file) for file in range(1, 51)]
    assert dates == sorted(dates) and all(1 <= date % 100 <= 12 for date in dates) and dates[0] > GATHERED_YYMM


def test_same_bytes_from_other_workers_and_runs_also_over_an_earlier_sample(sample, tmp_path):
    earlier = tmp_path / "again"
    earlier.mkdir()
    (earlier / "ETL9INFO").write_bytes(MARK)
    record = RECORD.pack(1, 0x3021, b"", 1, *[0] * 6, 8212, 8310, 0, 0, MARK.ljust(34, b"\0"), bytes(8128), bytes(7))
    (earlier / "ETL9G_09").write_bytes(record)
    run(tmp_path, "--sets", 1, "--workers", 1, "--output-dir", "again")
    first_set = (sample[0] / "ETL9G" / "ETL9G_01").read_bytes()[: 3036 * 8199]
    assert (earlier / "ETL9G_01").read_bytes() == first_set
    assert sorted(path.name for path in earlier.iterdir()) == ["ETL9G_01", "ETL9INFO"]


def test_finished_files_are_kept_and_those_of_other_options_are_not(sample, tmp_path):
    first = sample[0] / "ETL9G" / "ETL9G_01"
    before = first.stat().st_mtime_ns, first.stat().st_ino
    again = run(sample[0], "--sets", 2)
    assert "(1 of the files were there already)" in again.stdout
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == before

    (tmp_path / "ETL9G").mkdir()
    for path in (first, first.with_name("ETL9INFO")):
        (tmp_path / "ETL9G" / path.name).write_bytes(path.read_bytes())
    run(tmp_path, "--sets", 1, "--seed", 1)
    assert (tmp_path / "ETL9G" / "ETL9G_01").read_bytes() != first.read_bytes()[: 3036 * 8199]
    assert b"Seed:       1" in (tmp_path / "ETL9G" / "ETL9INFO").read_bytes()


def test_sheets_are_by_different_writers(sample):
    records = read(sample[0] / "ETL9G" / "ETL9G_01")
    images = collections.defaultdict(set)
    for record in records:
        images[record[1]].add(record[-2])
    assert all(len(found) == 2 for found in images.values())


def test_seed_and_difficulty_change_the_bytes():
    from kanjinet.synth.sheets import Sample, make_sheet_records

    jobs = [(0, 0.5, (1, 1)), (1, 0.5, (1, 1)), (0, 0.6, (1, 1)), (0, 0.5, (2, 1)), (0, 0.5, (1, 2)), (0, 0.5, (1, 1))]
    records = [make_sheet_records(Sample(4, *options), *place) for *options, place in jobs]
    digests = [hashlib.sha256(sheet.tobytes()).digest() for sheet in records]
    assert len(set(digests)) == 5 and digests[0] == digests[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--files", "0"], "at least 1"),
        (["--files", "51"], "at most 50"),
        (["--sets", "201"], "at most 200"),
        (["--sets", "-1"], "at least 1"),
        (["--workers", "0"], "at least 1"),
        (["--seed", "-1"], "from 0 to 4294967295"),
        (["--difficulty", "1.5"], "from 0 to 1"),
        (["--difficulty", "nan"], "from 0 to 1"),
        (["--files", "1", "--sets", "1"], "not allowed"),
    ],
)
def test_silly_values(tmp_path, options, words):
    done = run(tmp_path, *options, check=False)
    assert done.returncode != 0 and words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_real_data_is_never_overwritten(tmp_path):
    folder = tmp_path / "ETL9G"
    folder.mkdir()
    real = RECORD.pack(1, 0x3021, b"A.TSUGU ", 1, *[0] * 6, 8212, 8310, 0, 0, bytes(34), bytes(8128), bytes(7))
    (folder / "ETL9G_07").write_bytes(real)
    done = run(tmp_path, "--sets", 1, check=False)
    assert done.returncode == 1 and "never overwritten" in done.stderr and "Traceback" not in done.stderr
    (folder / "ETL9G_07").unlink()
    (folder / "ETL9INFO").write_text("ETL9G, Electrotechnical Laboratory", encoding="ascii")
    done = run(tmp_path, "--sets", 1, check=False)
    assert done.returncode == 1 and "ETL9INFO" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["ETL9INFO"]


def test_the_output_folder_is_a_file(tmp_path):
    (tmp_path / "ETL9G").write_text("x", encoding="ascii")
    done = run(tmp_path, "--sets", 1, check=False)
    assert done.returncode == 1 and "is a file" in done.stderr


def test_etl8g_is_written_as_aist_lays_it_out(tmp_path):
    done = run(tmp_path, "--format", "ETL8G", "--sets", 1, "--workers", 2)
    content = (tmp_path / "ETL8G" / "ETL8G_01").read_bytes()
    assert b"format of ETL8G" in (tmp_path / "ETL8G" / "ETL8INFO").read_bytes()
    assert "956 characters" in done.stdout and len(content) == 956 * 8199
    records = list(RECORD_8G.iter_unpack(content))
    codes = [record[1] for record in records]
    assert codes == sorted(set(codes)) and sum(code < 0x3000 for code in codes) == 75
    assert {0x2443, 0x2463, 0x2465, 0x2467} < set(codes)
    assert collections.Counter(record[0] for record in records) == {
        sheet: 96 if sheet < 7 else 95 for sheet in range(1, 11)
    }
    assert all(record[14] == MARK.ljust(30, b"\0") and record[16] == bytes(11) for record in records)
    inked = [sum(byte > 0 for byte in record[15]) for record in records]
    assert min(inked) > 0
    done = run(tmp_path, "--sets", 1, "--output-dir", "ETL8G", check=False)
    assert done.returncode == 1 and "a file of ETL8G among those of ETL9G" in done.stderr
    done = run(tmp_path, "--format", "ETL9B", "--files", 6, check=False)
    assert done.returncode == 2 and "at most 5, as many as ETL9B has" in done.stderr


def test_etl9b_is_the_same_handwriting_in_black_and_white(tmp_path):
    import numpy as np

    from kanjinet.data.etl_records import ETL9B, write_records
    from kanjinet.synth.sheets import Sample, make_sheet_records
    from make_sample_etl9g import sort_data_sets

    sample = Sample(200, 0, 0.5, ETL9B)
    plan = sample.plan_files()
    assert {number: len(sets) for number, sets in plan.items()} == {1: 40, 2: 40, 3: 40, 4: 40, 5: 41}
    assert plan[5][-1] == 201  # the model characters
    sheets = [make_sheet_records(sample, 41, sheet) for sheet in (1, 2)]
    write_records(tmp_path / "ETL9B_2", sort_data_sets(iter(sheets)), ETL9B)
    content = (tmp_path / "ETL9B_2").read_bytes()
    assert content[:576] == bytes(576)  # the dummy record
    records = list(RECORD_9B.iter_unpack(content[576:]))
    assert [record[1] for record in records] == sorted(record[1] for record in records)
    assert {record[0] for record in records} == {801, 802}  # AIST's own record 100 of ETL9B_2 is of sheet 801
    assert all(record[4] == MARK.ljust(64, b"\0") for record in records)
    gray = {record["jis_code"]: record["pixels"] for record in make_sheet_records(Sample(200, 0, 0.5), 41, 1)}
    for _, code, reading, packed, _ in records:
        if code in gray:
            dark = np.stack([gray[code] >> 4, gray[code] & 15], axis=2).reshape(127, 128)
            bits = np.array([byte >> 7 - bit & 1 for byte in packed for bit in range(8)]).reshape(63, 64)
            halved = dark[:126].reshape(63, 2, 64, 2).mean(axis=(1, 3))
            assert halved[bits == 1].min() > halved[bits == 0].max()
            assert 30 < bits.sum() < 2500
        assert reading == f"{ord(bytes([code >> 8 | 0x80, code & 0xFF | 0x80]).decode('euc_jp')):04X}".encode()
    models = make_sheet_records(sample, 201, 1)
    assert models["sheet"].tolist() == [4001] * 152


@pytest.mark.parametrize(
    ("database", "files", "characters"),
    [("ETL1", [1, 2, 3, 4, 5, *range(7, 14)], 87), ("ETL6", list(range(1, 10)), 82)],
)
def test_etl1_and_etl6_are_written_character_by_character(tmp_path, database, files, characters):
    done = run(tmp_path, "--format", database, "--sets", 2, "--workers", 2)
    folder = tmp_path / database
    assert f"2 data sets, {2 * characters} characters" in done.stdout
    names = [f"{database}C_{number:02d}" for number in files]
    assert sorted(path.name for path in folder.iterdir()) == [*names, f"{database}INFO"]
    records = [record for name in names for record in RECORD_M.iter_unpack((folder / name).read_bytes())]
    assert [record[2] for record in records] == [1001, 1002] * characters
    assert [record[0] for record in records] == [number for number in range(1, characters + 1) for _ in range(2)]
    codes = [record[3] for record in records[::2]]
    assert all(b"SYNT" == record[18] and any(record[19]) for record in records)
    assert {record[1] for record in records if record[3] == 0xB6} == {b"KA"}
    repeated = [code for code, count in collections.Counter(codes).items() if count == 2]
    assert repeated == ([0xB2, 0xB3, 0xB4] if database == "ETL1" else [])  # イ ウ エ stand in two rows of the sheet
    places = {code: record[14:16] for code, record in zip(codes, records[::2], strict=True)}
    assert len(set(places.values())) == len(places)
    again = run(tmp_path, "--format", database, "--sets", 2)
    assert f"({len(files)} of the files were there already)" in again.stdout
    refused = run(tmp_path, "--format", database, "--files", 2, check=False)
    assert refused.returncode == 2 and "give --sets" in refused.stderr
    (folder / names[0]).write_bytes(bytes(2052))
    refused = run(tmp_path, "--format", database, "--sets", 2, check=False)
    assert refused.returncode == 1 and "never overwritten" in refused.stderr
