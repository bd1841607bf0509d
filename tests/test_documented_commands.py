"""Every command that README and docs/options.md show for bash is run, shortened by its own options.

PowerShell's lines, the same stages, are run by tests/system/test_powershell.py.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kanjinet.classes import CHARACTERS
from kanjinet.storage.checkpoint import load_checkpoint
from kanjinet.storage.png import write_png
from kanjinet.storage.safetensors_file import serialize_checkpoint
from kanjinet.synth.printed import draw_character
from kanjinet.training.validation import predict_logits
from tests.conftest import run_script
from tests.documented_commands import ROOT, find_python_commands, read_code_blocks

# What makes a documented command short: options that replace its own, or come after them.
SHORTENED = {
    "make_sample_etl9g.py": {"--files": None, "--sets": "3"},
    "train_etl9g_model.py": {"--epochs": "1", "--sample-limit": "300"},
}
# setup: --test is what runs this, --demo is run by .ci/run. serve_web: ends with Ctrl-C; see tests/web. fetch_fonts:
# needs the network; see tests/synth/test_fonts.py.
TESTED_ELSEWHERE = {"setup_etl9g.py", "serve_web.py", "fetch_fonts.py"}
NOT_IN_WORKFLOW = {"average_models.py", "calibrate_model.py", "make_sample_etl9g.py", "recognize_kanji.py"}  # no stages


def shorten(command: list[str]) -> list[str]:
    script, *words = command
    for option, value in SHORTENED.get(script, {}).items():
        if option in words:
            position = words.index(option)
            del words[position : position + 2]
        if value is not None:
            words += [option, value]
    return [script, *words]


def list_blocks() -> dict[str, list[list[str]]]:
    blocks = {
        f"{path} block {number}": find_python_commands(block.code)
        for path in ("README.md", "docs/options.md")
        for number, block in enumerate(read_code_blocks(ROOT / path), start=1)
        if block.language != "powershell"
    }
    wanted = {
        name: [shorten(command) for command in commands if command[0] not in TESTED_ELSEWHERE]
        for name, commands in blocks.items()
    }
    return {name: commands for name, commands in wanted.items() if commands}


@pytest.mark.parametrize("commands", [pytest.param(commands, id=name) for name, commands in list_blocks().items()])
def test_documented_commands_run_in_their_order(commands: list[list[str]], workplace: Path, tmp_path: Path) -> None:
    if commands[0][0] != "make_sample_etl9g.py":
        shutil.copytree(workplace / "ETL9G", tmp_path / "ETL9G")
    if all(command[0] != "prepare_etl9g_dataset.py" for command in commands):
        shutil.copytree(workplace / "dataset", tmp_path / "dataset")
    shutil.copytree(ROOT / "pretrained", tmp_path / "pretrained")
    write_png(tmp_path / "drawing.png", 255 - draw_character("田"))
    for command in commands:
        run_script(command, tmp_path)


def test_every_stage_is_documented_and_in_the_script() -> None:
    stages = {path.name for path in ROOT.glob("*.py")} - TESTED_ELSEWHERE
    workflow = (ROOT / "training_commands.ps1").read_text(encoding="ascii")
    in_script = set(re.findall(r"Invoke-Stage \w+ (\w+\.py)", workflow))
    for path in ("README.md", "docs/options.md"):
        assert set(re.findall(r"^\| `(\w+\.py)` \|", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)) == stages
    assert in_script == stages - NOT_IN_WORKFLOW


def test_python_examples_compute_logits_as_the_toolkit_does(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_script(["convert_to_onnx.py"], workplace)
    trained = load_checkpoint(workplace / "best_kanji_model.pth")
    tensors = workplace / "kanji_model_etl9g_64x64_3036classes.safetensors"
    tensors.write_bytes(serialize_checkpoint(trained))
    images = np.load(workplace / "dataset" / "etl9g_dataset_chunk_01.npz")["X"][:1]
    expected = predict_logits(trained.model, torch.from_numpy(images)).numpy()

    blocks = [block.code for block in read_code_blocks(ROOT / "docs" / "formats.md") if block.language == "python"]
    assert ["onnxruntime" in code for code in blocks] == [True, False]
    assert not any("kanjinet" in code for code in blocks)
    monkeypatch.chdir(workplace)
    for code in blocks:
        printed: list[str] = []
        names = {"print": printed.append}
        exec(compile(code, "formats.md", "exec"), names)
        np.testing.assert_allclose(names["logits"], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert printed == [CHARACTERS[expected.argmax()]]


def test_the_python_example_of_the_readme_names_the_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (block.code for block in read_code_blocks(ROOT / "README.md") if block.language == "python")
    write_png(tmp_path / "drawing.png", 255 - draw_character("田"))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("田 0.9")
