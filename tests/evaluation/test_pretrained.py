"""The committed model is what its card says."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tract

from kanjinet.classes import CHARACTERS
from kanjinet.contract import NORMALIZE
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.export.sample_inputs import load_sample_inputs
from tests.conftest import ROOT, run_script

FOLDER = ROOT / "pretrained"
TENSORS = FOLDER / "kanji_model_etl9g_64x64_3036classes.safetensors"
INT8 = FOLDER / "kanji_model_etl9g_64x64_3036classes_tract_int8.onnx"


def test_sizes_are_those_of_the_card() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in (TENSORS, INT8, INT8.with_name(f"{INT8.stem}_mapping.json")):
        found = re.search(rf"`{re.escape(path.name)}` \|.*\| ([\d.]+) MB \|", card)
        assert found, path.name
        assert float(found[1]) == round(path.stat().st_size / 1e6, 2)
    assert INT8.stat().st_size <= 2.5e6
    assert TENSORS.stat().st_size <= 10e6


@pytest.mark.slow
def test_both_files_read_what_they_never_saw(tmp_path: Path) -> None:
    for path in (TENSORS, INT8):
        command = ["benchmarks/judge_model.py", "--model", path, "--writers", "8"]
        output = run_script(command, tmp_path).stdout
        found = re.search(r"as they are +320 +([\d.]+)% .* ([\d.]+)%$", output, re.MULTILINE)
        assert found, output
        accuracy, calibration_error = map(float, found.groups())
        assert accuracy > 98
        assert calibration_error < 3


def test_the_small_file_reads_the_same_in_tract() -> None:
    inputs = load_sample_inputs(Path("no dataset"), 64, NORMALIZE).inputs[:24]
    session = onnxruntime.InferenceSession(INT8.read_bytes(), providers=["CPUExecutionProvider"])
    model = tract.onnx().load(INT8)
    model.set_input_fact(0, "1,1,64,64,f32")
    runnable = model.into_model().into_runnable()
    best = [int(runnable.run([image[None]])[0].to_numpy().argmax()) for image in inputs]
    assert best == session.run(None, {"input": inputs})[0].argmax(axis=1).tolist()


def test_the_files_know_where_they_come_from() -> None:
    for path in (TENSORS, INT8):
        recognizer = load_recognizer(path)
        assert recognizer.card.synthetic
        assert recognizer.card.preprocessing == NORMALIZE
        measured = [recognizer.card.metrics[part] for part in ("validation", "test")]
        losses = [each.loss / (1 - each.top1) for each in measured]  # by error, as their writers differ
        assert np.isclose(*losses, rtol=0.1)  # both with the temperature that the weights have
    mapping = json.loads(INT8.with_name(f"{INT8.stem}_mapping.json").read_text(encoding="utf-8"))
    assert mapping["model_info"]["model_file"] == INT8.name
    assert all(name in mapping["model_info"]["license"] for name in ("KanjiVG", "Yuji Boku", "YOzS"))
    assert mapping["model_info"]["rejection_threshold"] == recognizer.card.rejection.threshold
    tested = re.search(r"the training's test: .*\| ([\d.]+) %", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert tested
    properties = onnxruntime.InferenceSession(INT8.read_bytes()).get_modelmeta().custom_metadata_map
    assert properties["class_table"] == CHARACTERS
    assert np.isclose(json.loads(properties["accuracy"])["test"]["top1"], float(tested[1]) / 100, atol=5e-5)
