"""The report: a page on its own that shows what evaluation.json says; and the charts in it."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from kanjinet.data.dataset import read_dataset_info, read_labels
from kanjinet.data.splits import choose_samples, split_samples
from kanjinet.evaluation.charts import Chart, draw_groups
from kanjinet.evaluation.metrics import Predictions
from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from kanjinet.evaluation.report import ModelEvaluation, write_report
from kanjinet.storage.checkpoint import save_checkpoint
from kanjinet.storage.model_card import Rejection
from kanjinet.synth.printed import draw_character
from kanjinet.training.accuracy import Accuracy
from tests.conftest import read_schema, run_script
from tests.evaluation.test_metrics import make_metrics
from tests.random_checkpoint import CARD, make_checkpoint

# folder -> characters that its images really show, as the model that ships reads all of them rightly in print
SHOWN = {
    "田": "田田由",  # one image lies in the wrong folder
    "U+6771": "東東",
    "3042": "ああ",
    "験": "験",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawings &lt; 絵")
    for name, characters in SHOWN.items():
        (folder / name).mkdir()
        for number, character in enumerate(characters):
            gray = np.pad(255 - draw_character(character), 20, constant_values=255)
            image = Image.fromarray(255 - gray if number else gray)
            image.save(folder / name / f"{number} &lt;.{'gif' if number else 'png'}")
    Image.new("L", (50, 50), 128).save(folder / "験" / "blank.png")
    (folder / "田" / "junk.png").write_bytes(b"junk")
    (folder / "notes").mkdir()
    return folder


def read_page(path: Path) -> ElementTree.Element:
    """The page, which must be well-formed and hold all that it shows."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    page = ElementTree.fromstring(text.partition("\n")[2])
    assert "http" not in text
    assert not re.search(r"@import|url\(|<link|<script|<iframe", text)
    ids = [element.attrib["id"] for element in page.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    for element in page.iter():
        assert element.get("href", "#").startswith("#")
        assert element.tag != "use" or element.attrib["href"][1:] in ids
        for name in ("src", "srcset", "data"):
            assert element.get(name, "data:").startswith("data:")
    for image in page.iter("img"):
        assert image.get("alt")
        content = base64.b64decode(image.attrib["src"].removeprefix("data:image/png;base64,"))
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2
    for chart in page.iter("svg"):
        assert chart.get("role") == "img"
        assert chart.get("aria-label")
        assert chart.find(".//text") is not None  # not outlines
        colors = re.findall(r"#[0-9a-f]{3,6}\b", ElementTree.tostring(chart, "unicode"))
        assert [color for color in colors if not color.startswith("#m")] == []  # all are the page's, light or dark
    assert "prefers-color-scheme: dark" in page.findtext("head/style", "")
    return page


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def test_folder_of_images_is_judged_by_its_names(images: Path, tmp_path: Path) -> None:
    command = ["evaluate_model.py", "--images", images, "--device", "cpu", "--output-dir", tmp_path]
    done = run_script(command, images, check=False)
    assert done.returncode == 1  # because of junk.png
    assert re.search(r"^error: .*junk.png: not an image", done.stderr, re.MULTILINE)
    assert "notes: left out" in done.stdout
    result = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    read_schema("evaluation").validate(result)
    assert result["model"] == PRETRAINED_PATH.name  # by default
    assert 0 < result["images_per_s_with_reading"] < result["images_per_s"]
    # 9 images: one in the wrong folder, one without a character
    assert (result["samples"], result["without_character"], len(result["not_read"])) == (9, 1, 1)
    assert result["top1"] == 7 / 9
    assert (result["kanji"]["top1"], result["hiragana"]["top1"]) == (5 / 7, 1)
    assert {entry["stroke_count"]: (entry["top1"], entry["samples"]) for entry in result["stroke_counts"]} == {
        3: (1, 2),
        5: (2 / 3, 3),
        8: (1, 2),
        18: (0.5, 2),
    }
    assert result["writers"] == []
    mistakes = [(entry["character"], entry["read_as"], entry["count"]) for entry in result["confusions"]]
    assert sorted(mistakes) == [("田", "由", 1), ("験", "", 1)]
    assert {entry["character"]: (entry["jis_code"], entry["read_as"]) for entry in result["hardest"]} == {
        "田": ("4544", ["由"]),
        "験": ("3833", [""]),
    }

    page = read_page(tmp_path / "report.html")
    words = text_of(page)
    for wanted in ("77.78", "71.43", "Most confused pairs", "Hardest characters", "All 2 errors"):
        assert wanted in words
    assert "Training" not in words
    assert f"in the folder {images}" in words  # whatever is in a name is shown as it is
    wall = [figure for figure in page.iter("figure") if figure.find("figcaption/span") is not None]
    assert {figure.get("title") for figure in wall} == {str(Path("田", "2 &lt;.gif")), str(Path("験", "blank.png"))}
    assert {figure.find("img").attrib["alt"] for figure in wall} == {"田 read as 由", "験 read as nothing"}
    assert cv2.imread(str(tmp_path / "predictions.png")) is not None


def test_several_models_are_compared_in_one_report(workplace: Path, tmp_path: Path) -> None:
    info = read_dataset_info(workplace / "dataset")
    labels = read_labels(info)
    other = make_checkpoint()
    options = replace(other.card.options, sample_limit=3000, seed=9, dataset_sha256=info.sha256)
    other.card = replace(other.card, options=options)
    save_checkpoint(tmp_path / "other.pth", other)
    models = ["best_kanji_model.pth", tmp_path / "other.pth"]
    done = run_script(["evaluate_model.py", "--model", *models, "--output-dir", tmp_path], workplace)

    test = split_samples(labels, choose_samples(labels.classes, 600, 0), "random", 0)["test"]
    known = set(split_samples(labels, choose_samples(labels.classes, 3000, 9), "random", 9)["train"]) & set(test)
    assert known
    assert f"other.pth was trained on {len(known):,} of these 90 images" in done.stdout
    result = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    schema = read_schema("evaluation")
    schema.validate(result)
    (second,) = result["others"]
    assert (result["model"], second["model"]) == ("best_kanji_model.pth", "other.pth")
    assert result["samples"] == second["samples"] == 90
    difference = round((second["top1"] - result["top1"]) * 90)
    assert second["only_this_right"] - second["only_first_right"] == difference
    for changed in (
        {"split": None},
        {"top1": 2},
        {"synthetic": None},
        {"others": [{**second, "more": 1}]},
        {"more": 1},
    ):
        assert not schema.is_valid({**result, **changed}), changed
    by_writer = {entry["data_set"]: entry["samples"] for entry in result["writers"]}
    assert by_writer == {number: int((labels.data_sets[test] == number).sum()) for number in (1, 2, 3)}

    page = read_page(tmp_path / "report.html")
    words = text_of(page)
    assert "Errors of best_kanji_model.pth" in words
    assert "Errors of other.pth" in words
    assert "synthetic sample" in words
    charts = [chart.attrib["aria-label"] for chart in page.iter("svg")]
    assert charts == [  # the history of the model beside which it stands
        "accuracy by epoch",
        "loss by epoch",
        *["reliability diagram: accuracy by confidence"] * 2,
        "accuracy by number of strokes",
        "accuracy by data set",
    ]
    history = json.loads((workplace / "training_progress.json").read_text(encoding="utf-8"))["epochs"]
    assert f"{history[0]['validation_loss']:.3f}" in words
    assert " ".join(text_of(page.find(".//p[@class='legend']")).split()) == "● best_kanji_model.pth, ■ other.pth"


def test_history_of_another_training_is_not_shown(workplace: Path, tmp_path: Path) -> None:
    model = tmp_path / "best_kanji_model.pth"
    model.write_bytes((workplace / "best_kanji_model.pth").read_bytes())
    history = json.loads((workplace / "training_progress.json").read_text(encoding="utf-8"))
    history["options"]["seed"] += 1
    del history["content_sha256"]  # as in a file of an older version
    (tmp_path / "training_progress.json").write_text(json.dumps(history), encoding="utf-8")
    command = ["evaluate_model.py", "--model", model, "--data-dir", workplace / "dataset"]
    run_script(command, tmp_path)
    assert "epoch" not in text_of(read_page(tmp_path / "evaluation" / "report.html").find("body"))
    (tmp_path / "training_progress.json").write_text('{"options": {}, "epochs": [{}]}', encoding="utf-8")
    done = run_script(command, tmp_path, check=False)
    assert done.returncode == 1
    assert "training_progress.json: not the history of a training" in done.stderr


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    name = '<b>"&\x00\udc80\ufffe.png'  # file names may hold anything
    predictions = Predictions(np.array([0, 71]), np.array([[1] * 5, [71] * 5]), np.array([0.6, 0.9]))
    comparison = predictions.compare_with(predictions)
    metrics = replace(make_metrics(predictions, {3: Accuracy(1, 2)}), model=name, comparison=comparison)
    images = np.zeros((2, 64, 64), dtype=np.uint8)
    write_report(tmp_path / "report.html", [ModelEvaluation(metrics, predictions, images, [], lambda index: name)] * 2)
    page = read_page(tmp_path / "report.html")
    shown = '<b>"&\ufffd\ufffd\ufffd.png'
    assert {figure.get("title") for figure in page.iter("figure")} == {None, shown}
    assert shown in text_of(page.find("body/main/h2[2]") or page)


def test_options_that_exclude_each_other_are_refused(images: Path) -> None:
    command = ["evaluate_model.py", "--model", PRETRAINED_PATH, "--images", images, "--split", "all"]
    done = run_script(command, images, check=False)
    assert done.returncode == 2
    assert "--images takes the place of" in done.stderr


def find_marks(chart: Chart) -> list[tuple[float, float]]:
    svg = ElementTree.fromstring(f"<svg>{chart.content}</svg>")
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in svg.findall("g/g/g/g/use")]


def read_labels_of_axis(chart: Chart) -> list[str]:
    svg = ElementTree.fromstring(f"<svg>{chart.content}</svg>")
    return [text.text or "" for text in svg.iter("text")]


@pytest.mark.parametrize(
    ("hits", "ticks"),
    [
        (0.0, ["0 %", "20 %", "100 %"]),
        (0.92, ["90 %", "92 %", "100 %"]),
        (0.9991, ["97 %", "99.5 %", "100 %"]),
        (1.0, ["97 %", "99.5 %", "100 %"]),
    ],
)
def test_axes_of_accuracies_show_the_difference(hits: float, ticks: list[str]) -> None:
    chart = draw_groups([{3: Accuracy(round(hits * 10_000), 10_000), 4: Accuracy(10_000, 10_000)}], "number of strokes")
    labels = read_labels_of_axis(chart)
    assert set(ticks) <= set(labels), labels
    assert len(labels) == len(set(labels))
    assert "number of strokes" in labels


def test_marks_stand_where_the_axes_say() -> None:
    accuracies = {1: Accuracy(0, 10), 5: Accuracy(5, 10), 9: Accuracy(10, 10)}
    left, middle, right = find_marks(draw_groups([accuracies], "number of strokes"))
    assert (middle[0] - left[0], left[1] - middle[1]) == (
        pytest.approx(right[0] - middle[0]),
        pytest.approx(middle[1] - right[1]),
    )
    assert left[0] < right[0]
    assert right[1] < left[1]


def test_images_that_are_said_to_show_none_of_the_characters_are_counted(images: Path, tmp_path: Path) -> None:
    """All that have ink, by a network whose threshold none reaches; another network has no threshold."""
    checkpoint = make_checkpoint()
    save_checkpoint(tmp_path / "other.pth", checkpoint)
    checkpoint.card = replace(CARD, rejection=Rejection(1.0, 0.01, 0.95, 3036))
    save_checkpoint(tmp_path / "random.pth", checkpoint)
    models = ["--model", tmp_path / "random.pth", tmp_path / "other.pth"]
    done = run_script(
        ["evaluate_model.py", "--images", images, "--output-dir", tmp_path, *models], tmp_path, check=False
    )
    assert done.stdout.count("8 images are said to show none of the 3,036 characters") == 1
    result = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    read_schema("evaluation").validate(result)
    assert (result["said_none"], result["others"][0]["said_none"]) == (8, None)
    words = " ".join(text_of(read_page(tmp_path / "report.html")).split())
    assert words.count("8 images (88.89 %) are said by random.pth to show none of the 3,036 characters") == 1
