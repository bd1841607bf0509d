"""recognize_kanji.py as a user runs it, and kanjinet.load, with the model that ships."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import kanjinet
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, Recognizer
from kanjinet.storage.model_card import Rejection
from kanjinet.synth.printed import draw_character
from tests.conftest import ROOT, read_schema, run_script
from tests.data.test_image_files import png_of_nothing, save
from tests.random_checkpoint import CARD, make_checkpoint, save_checkpoint

STROKES = {"田": 5, "東": 8, "あ": 3, "験": 18, "川": 3}
JIS = {character: character.encode("euc_jp").hex() for character in STROKES}


def write_image(path: Path, character: str) -> None:
    """A printed character, dark on white with a wide margin, in the format that the name says."""
    gray = np.full((200, 300), 255, dtype=np.uint8)
    gray[40:168, 90:218] = 255 - draw_character(character)
    image = Image.fromarray(gray)
    if path.suffix == ".tif":
        image = image.convert("RGB").convert("CMYK")
    if path.suffix == ".gif":
        image = Image.fromarray(255 - gray)
    image.save(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("絵 images")
    names = ("1 田.png", "2.gif", "3.tif", "4.webp", "5 [川].jpg")
    for name, character in zip(names, STROKES, strict=True):
        write_image(folder / name, character)
    (folder / "notes.txt").write_text("not read", encoding="utf-8")
    return folder


def test_table_names_character_probability_code_and_strokes(images: Path) -> None:
    done = run_script(["recognize_kanji.py", images, "--top", "3"], images)
    assert done.stderr == f"note: {images}: 1 left out, no images by their names (1 .txt)\n"
    lines = done.stdout.splitlines()
    assert "synthetic sample" in lines[0]
    assert len(lines) == 1 + 5 * (1 + 3)
    for line, (character, strokes) in zip(lines[2::4], STROKES.items(), strict=True):
        words = line.split()
        assert words[:2] == ["1", character]
        assert float(words[2].rstrip("%")) > 30
        code = f"{int(JIS[character], 16) & 0x7F7F:04X}"
        assert words[3:] == ["JIS", code, str(strokes), "strokes"]


def test_json_csv_and_images_that_the_network_saw_agree(images: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in images.iterdir() if path.suffix != ".txt")
    command = ["recognize_kanji.py", *names, "--top", "2"]
    options = ["--format", "json", "--output", tmp_path / "answers.json", "--explain", tmp_path / "seen"]
    assert "answers.json" in run_script([*command, *options], images).stdout
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    read_schema("recognition").validate(answers)
    assert answers["model"] == PRETRAINED_PATH.name
    assert [entry["image"] for entry in answers["images"]] == names
    rows = list(csv.DictReader(io.StringIO(run_script([*command, "--format", "csv"], images).stdout)))
    flat = [
        {"image": entry["image"], "rank": str(rank), **found, "problem": "", "is_none": 0}
        for entry in answers["images"]
        for rank, found in enumerate(entry["candidates"], start=1)
    ]
    shared = [{key: row[key] for key in flat[0]} for row in rows]  # the columns after them say where it stands
    assert shared == [{key: str(value) for key, value in row.items()} for row in flat]
    run_script([*command, "--format", "csv", "--output", tmp_path / "answers.csv"], images)
    content = (tmp_path / "answers.csv").read_bytes()
    assert content.startswith(b"image,rank,")  # a byte-order mark would become part of the first column's name
    assert list(csv.DictReader(io.StringIO(content.decode("utf-8")))) == rows

    session = onnxruntime.InferenceSession(PRETRAINED_PATH.read_bytes())
    characters = session.get_modelmeta().custom_metadata_map["class_table"]
    seen = sorted((tmp_path / "seen").iterdir())
    assert [path.name for path in seen] == [f"{n:04d}_{Path(name).stem}.png" for n, name in enumerate(names, start=1)]
    for path, entry, character in zip(seen, answers["images"], STROKES, strict=True):
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (64, 64)
        logits = session.run(None, {"input": image[None, None].astype(np.float32) / 255})[0][0].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum()
        found = entry["candidates"][0]
        assert found["character"] == character == characters[shares.argmax()]
        assert found["probability"] == pytest.approx(shares.max(), abs=2e-6)
        assert found["stroke_count"] == STROKES[character]


def run_with_input(options: list[str], content: bytes, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "recognize_kanji.py"), *options]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, input=content, capture_output=True, check=False, env=environment)


def test_standard_input_and_a_console_that_knows_no_kanji(images: Path) -> None:
    done = run_with_input(["-", "--format", "csv", "--top", "1"], (images / "1 田.png").read_bytes(), "ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").splitlines()[1].startswith("-,1,田,")
    assert b"\r" not in done.stdout
    done = run_with_input(["-"], b"no image")
    assert done.returncode == 1
    assert b"standard input: not an image" in done.stderr


def test_the_others_are_read_when_some_cannot_be(images: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.png").write_bytes(b"junk")
    (tmp_path / "bomb.png").write_bytes(png_of_nothing(90_000, 90_000))
    (tmp_path / "blank.png").write_bytes(save(Image.new("L", (40, 40), 200), "PNG").getvalue())
    words = ["junk.png", "blank.png", str(images / "1 田.png"), "bomb.png", "missing.png"]
    done = run_script(["recognize_kanji.py", *words, "--format", "csv", "--top", "1"], tmp_path, check=False)
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert len(errors) == 4
    for line, (name, reason) in zip(
        errors, [("junk", "not an image"), ("bomb", "50 million"), ("missing", ""), ("3 of 5", "")], strict=True
    ):
        assert line.startswith(f"error: {name}")
        assert reason in line
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["character"] for row in rows] == ["", "", "田", "", ""]
    assert "no character" in rows[1]["problem"]
    done = run_script(["recognize_kanji.py", "blank.png"], tmp_path)
    assert "no character" in done.stdout
    done = run_script(["recognize_kanji.py", *words, "--format", "json"], tmp_path, check=False)
    answers, schema = json.loads(done.stdout), read_schema("recognition")
    schema.validate(answers)
    assert [each["problem"] is None for each in answers["images"]] == [False, False, True, False, False]
    answers["images"][2]["problem"] = "one beside candidates"
    assert not schema.is_valid(answers)


def test_patterns_empty_folders_and_missing_models(images: Path, tmp_path: Path) -> None:
    done = run_script(["recognize_kanji.py", "*.gif", "5 [[]川].jpg", "5 [川].jpg", "--top", "1"], images)
    assert [line for line in done.stdout.splitlines()[1:] if not line.startswith(" ")] == ["2.gif", *["5 [川].jpg"] * 2]
    (tmp_path / "notes.HEIC").touch()
    done = run_script(["recognize_kanji.py", tmp_path, images / "2.gif"], tmp_path, check=False)
    assert done.returncode == 1
    assert "no image files in this folder: 1 left out, no images by their names (1 .heic); HEIC: save it" in done.stderr
    assert "  1  東" in done.stdout
    done = run_script(["recognize_kanji.py", "x.png", "--model", "x.onnx"], tmp_path, check=False)
    assert done.returncode == 1
    assert "x.onnx: not found" in done.stderr


def test_onnx_files_need_no_torch(images: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['recognize_kanji.py', '2.gif']; "
        f"sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(ROOT / 'recognize_kanji.py')!r})['main'](); "
        "print(sorted({'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    command = [sys.executable, "-X", "utf8", "-c", code]
    done = subprocess.run(command, cwd=images, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "['onnxruntime']"


def test_best_classes_are_those_of_a_stable_sort() -> None:
    logits = np.random.default_rng(0).integers(0, 40, (150, 3036)).astype(np.float32)  # full of ties
    images = np.arange(150, dtype=np.uint8)[:, None, None]  # of one pixel, which says which logits to give

    def run(inputs: np.ndarray) -> np.ndarray:
        return logits[np.rint(inputs[:, 0, 0, 0] * 255).astype(int)]

    best = Recognizer(Path("x.onnx"), run, 7, 1, CARD).find_best(images, 5)
    np.testing.assert_array_equal(best.classes, np.argsort(-logits, axis=1, kind="stable")[:, :5])
    powers = np.exp(logits.astype(np.float64))
    shares = np.take_along_axis(powers / powers.sum(axis=1, keepdims=True), best.classes, axis=1)
    np.testing.assert_allclose(best.probabilities, shares, rtol=1e-9)


# kanjinet.load


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    return kanjinet.load()


def test_every_kind_of_source_has_the_same_candidates(images: Path, reader: Recognizer) -> None:
    path = images / "1 田.png"
    image = Image.open(path)
    gray = np.asarray(image)
    sources = [
        *(path, str(path), path.read_bytes(), path.open("rb"), image, gray, 255 - gray, gray[::-1][::-1]),
        np.dstack([gray] * 3),
        np.dstack([np.zeros((*gray.shape, 3), np.uint8), 255 - gray]),  # black of an opacity
    ]
    first = reader.read(path)
    assert [type(each) for each in first] == [kanjinet.Candidate] * 5
    assert (first[0].character, first[0].jis_code, first[0].stroke_count) == ("田", "4544", 5)
    assert 0.3 < first[0].probability < 1
    assert sorted(first, key=lambda each: -each.probability) == first
    for source in sources:
        assert reader.read(source) == first
    sources[3].seek(0)
    assert reader.read(sources) == [first] * len(sources)
    assert reader.read((path,), top=1) == [first[:1]]
    assert str(first[0]).startswith("Candidate(character='田', probability=0.")


def test_all_classes_and_none(reader: Recognizer) -> None:
    blank = np.full((50, 50), 200, dtype=np.uint8)
    inked = blank.copy()
    inked[10:40, 24:27] = 0
    assert reader.read(blank) == []
    assert [len(each) for each in reader.read([blank, inked, blank], top=3036)] == [0, 3036, 0]
    assert reader.read([]) == []
    every = reader.read(inked, top=3036)
    assert len({each.character for each in every}) == 3036
    assert sum(each.probability for each in every) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("top", [0, -1, 3037, 2.5, True, "5"])
def test_numbers_of_candidates_out_of_range_are_refused(reader: Recognizer, top: object) -> None:
    with pytest.raises(kanjinet.KanjinetError, match=f"top {top!r}: .*3,036"):
        reader.read(np.zeros((9, 9), np.uint8), top=top)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((9, 9), np.float32), r"image: an array \(9, 9\) of float32: give uint8"),
        (np.zeros((2, 9, 9), np.uint8), "several images as a list"),
        (np.zeros((0, 9), np.uint8), r"\(0, 9\)"),
        (np.zeros((1, 60_000), np.uint8), "sides of more than"),
        (b"junk", "image: not an image"),
        ("missing.png", "missing.png: No such file"),
        ([Image.new("L", (9, 9)), b"junk"], r"images\[1\]: not an image"),
        (7, "image: int is no image"),
        (str(ROOT), f"{ROOT.name}: a folder: name the image files in it"),
        (Path("a\0.png"), "not a path .*null"),
        (b"\0\0\0\x18ftypheic", "image: HEIC is not read: save it as JPEG"),
        (io.StringIO("text"), "image: a damaged image, or one of an unknown kind"),
        (io.BufferedWriter(io.BytesIO()), "image: a damaged image, or one of an unknown kind"),
        (None, "image: NoneType is no image"),
    ],
)
def test_what_cannot_be_read_is_named(reader: Recognizer, source: object, message: str) -> None:
    with pytest.raises(kanjinet.KanjinetError, match=message):
        reader.read(source)


def test_every_kind_of_model_on_the_cpu_and_no_missing_device(images: Path, reader: Recognizer) -> None:
    weights = PRETRAINED_PATH.with_name("kanji_model_etl9g_64x64_3036classes.safetensors")
    by_torch = kanjinet.load(weights, device="cpu")
    for name, character in zip(("1 田.png", "2.gif"), STROKES, strict=False):
        first, second = (each.read(images / name, top=1)[0] for each in (reader, by_torch))
        assert first.character == second.character == character
        assert first.probability == pytest.approx(second.probability, abs=0.1)
    assert kanjinet.load(str(PRETRAINED_PATH), device="cpu").read(images / "2.gif") == reader.read(images / "2.gif")
    for path in (weights, PRETRAINED_PATH):
        with pytest.raises(kanjinet.KanjinetError, match=r"device mps.*choose"):
            kanjinet.load(path, device="mps")
        with pytest.raises(kanjinet.KanjinetError, match=r"device 'tpu': .*auto, cpu, cuda, mps"):
            kanjinet.load(path, device="tpu")


@pytest.mark.slow
def test_what_is_none_of_the_characters_is_said_and_candidates_are_given_all_the_same(
    images: Path, tmp_path: Path
) -> None:
    """A network whose threshold no image reaches, and the same with one that all reach."""
    checkpoint = make_checkpoint()
    for threshold in (1.0, 0.0):
        checkpoint.card = replace(CARD, rejection=Rejection(threshold, 0.01, 0.95, 3036))
        save_checkpoint(tmp_path / "random.pth", checkpoint)
        command = ["recognize_kanji.py", images / "2.gif", "--model", tmp_path / "random.pth", "--top", "2"]
        is_none = threshold == 1
        assert ("none of the 3,036" in run_script(command, tmp_path).stdout) == is_none
        answers = json.loads(run_script([*command, "--format", "json"], tmp_path).stdout)
        read_schema("recognition").validate(answers)
        (image,) = answers["images"]
        assert image["is_none"] == is_none and len(image["candidates"]) == 2 and image["problem"] is None
        rows = list(csv.DictReader(io.StringIO(run_script([*command, "--format", "csv"], tmp_path).stdout)))
        assert [row["is_none"] for row in rows] == [str(int(is_none))] * 2
        found = kanjinet.load(tmp_path / "random.pth").read(images / "2.gif")
        assert isinstance(found, list) and len(found) == 5 and found.is_none == is_none
    blank = kanjinet.load().read(np.full((50, 50), 255, dtype=np.uint8))
    assert blank == [] and not blank.is_none
    assert not kanjinet.load().read(images / "2.gif").is_none
