"""The committed models are what their cards say."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tract

from kanjinet.classes import CHARACTER_SETS, ETL9G_SET, JAPANESE_SET, SCRIPTS, CharacterSet
from kanjinet.contract import NORMALIZE
from kanjinet.evaluation.recognizer import find_model, load_recognizer
from kanjinet.export.sample_inputs import load_sample_inputs
from tests.conftest import ROOT, run_script

FOLDER = ROOT / "pretrained"
MAX_BYTES = {"etl9g": 1.2e6, "japanese": 2.2e6}  # of the small file
OF_EACH_SET = pytest.mark.parametrize("known", CHARACTER_SETS.values(), ids=CHARACTER_SETS)


def list_files(known: CharacterSet) -> tuple[Path, Path, Path]:
    """The SafeTensors file, the small file and its mapping."""
    stem = f"kanji_model_{known.name}_64x64_{known.num_classes}classes"
    ends = (".safetensors", "_tract_int8.onnx", "_tract_int8_mapping.json")
    return tuple(FOLDER / f"{stem}{end}" for end in ends)


def read_card(known: CharacterSet) -> str:
    return (FOLDER / ("README.md" if known == ETL9G_SET else f"{known.name}.md")).read_text(encoding="utf-8")


@OF_EACH_SET
def test_sizes_are_those_of_the_card(known: CharacterSet) -> None:
    tensors, int8, _ = list_files(known)
    for path in list_files(known):
        found = re.search(rf"`{re.escape(path.name)}` \|.*\| ([\d.]+) MB \|", read_card(known))
        assert found, path.name
        assert float(found[1]) == round(path.stat().st_size / 1e6, 2)
    assert int8.stat().st_size <= MAX_BYTES[known.name]
    assert tensors.stat().st_size <= 10e6


@pytest.mark.slow
@OF_EACH_SET
def test_they_read_what_they_never_saw(known: CharacterSet, tmp_path: Path) -> None:
    tensors, int8, _ = list_files(known)
    for path in (tensors, int8) if known == ETL9G_SET else (int8,):
        command = ["benchmarks/judge_model.py", "--model", path, "--writers", "8"]
        output = run_script(command, tmp_path).stdout
        found = re.search(r"as they are +320 (.*)$", output, re.MULTILINE)
        assert found, output
        top1, _, _, _, calibration_error, *up_to_twins = map(float, re.findall(r"([\d.]+)%", found[1]))
        assert (up_to_twins or [top1])[0] > 98
        assert calibration_error < 3
        further = dict(re.findall(r"^sample writers, more (\w+) (?:.*%){3} +([\d.]+)%$", output, re.MULTILINE))
        assert further.keys() == ({*SCRIPTS} if known == JAPANESE_SET else set())
        assert all(float(accuracy) > 94 for accuracy in further.values()), further


@OF_EACH_SET
def test_the_small_file_reads_the_same_in_tract(known: CharacterSet) -> None:
    _, int8, _ = list_files(known)
    inputs = load_sample_inputs(Path("no dataset"), 64, NORMALIZE, known).inputs[::20]
    session = onnxruntime.InferenceSession(int8.read_bytes(), providers=["CPUExecutionProvider"])
    model = tract.onnx().load(int8)
    model.set_input_fact(0, "1,1,64,64,f32")
    runnable = model.into_model().into_runnable()
    best = [int(runnable.run([image[None]])[0].to_numpy().argmax()) for image in inputs]
    assert best == session.run(None, {"input": inputs})[0].argmax(axis=1).tolist()


@OF_EACH_SET
def test_the_files_know_where_they_come_from(known: CharacterSet) -> None:
    tensors, int8, mapping_path = list_files(known)
    assert find_model(known.name) == int8
    for path in (tensors, int8):
        recognizer = load_recognizer(path)
        assert recognizer.character_set == known
        assert recognizer.card.synthetic
        assert recognizer.card.preprocessing == NORMALIZE
        measured = [recognizer.card.metrics[part] for part in ("validation", "test")]
        losses = [each.loss / (1 - each.top1) for each in measured]  # by error, as their writers differ
        assert np.isclose(*losses, rtol=0.1)  # both with the temperature that the weights have
    mapping = json.loads(mapping_path.read_text(encoding="utf-8"))
    assert mapping["model_info"]["model_file"] == int8.name
    assert all(name in mapping["model_info"]["license"] for name in ("KanjiVG", "Yuji Boku", "YOzS"))
    assert mapping["model_info"].get("twins", []) == list(known.twins)
    assert mapping["model_info"]["rejection_threshold"] == recognizer.card.rejection.threshold
    tested = re.search(r"the training's test: .*\| ([\d.]+) %", read_card(known))
    assert tested
    properties = onnxruntime.InferenceSession(int8.read_bytes()).get_modelmeta().custom_metadata_map
    assert properties["class_table"] == known.characters
    assert np.isclose(json.loads(properties["accuracy"])["test"]["top1"], float(tested[1]) / 100, atol=5e-5)
