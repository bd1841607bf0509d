"""Training through the real script: what it writes, what it refuses, and that it loses nothing."""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import train_etl9g_model
from kanjinet import cli
from kanjinet.data.dataset import read_dataset_info
from kanjinet.errors import KanjinetError
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet, ModelConfig
from kanjinet.storage.locks import lock_folder
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.training.distributed import ALONE
from kanjinet.training.recipe import choose_initialization, make_config, peak_learning_rate, schedule_factor
from kanjinet.training.resume import STATE_FORMAT, StateFile
from kanjinet.training.samples import Samples, TrainingSamples, open_parts, repeat_hiragana
from kanjinet.training.step import compile_network
from kanjinet.training.trainer import Trainer
from kanjinet.training.validation import compute_metrics
from tests.conftest import ROOT, require, run_on_full_disk, run_script

THREE_EPOCHS = ("--epochs", "3", "--patience", "9")
SMALL = ["train_etl9g_model.py", "--sample-limit", "300", "--batch-size", "32"]
SMALL_NETWORK = [*SMALL, "--model-version", "1.0"]
QUICK = [*SMALL_NETWORK, "--initialization", "published"]  # to fit takes longer than such a training


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def train(workplace: Path, output_dir: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the script in this process: to import PyTorch takes longer than such a training."""
    base = SMALL_NETWORK if {"--init-from", "--initialization"} & set(options) else QUICK
    command = [*base, "--data-dir", str(workplace / "dataset"), "--output-dir", str(output_dir), *options]
    return run_here(command, workplace, check=check)


def run_here(command: list[str], folder: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    main = importlib.import_module(Path(command[0]).stem).main
    stdout, stderr, status, before = io.StringIO(), io.StringIO(), 0, (sys.argv, Path.cwd())
    try:
        sys.argv = [str(word) for word in command]
        os.chdir(folder)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            cli.run_script(main)
    except SystemExit as error:
        assert isinstance(error.code, int)
        status = error.code
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
    result = subprocess.CompletedProcess(command, status, stdout.getvalue(), stderr.getvalue())
    assert not check or status == 0, f"{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def first_run(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of one epoch, and what it printed."""
    folder = tmp_path_factory.mktemp("first run")
    return folder, train(workplace, folder, "--epochs", "1").stdout


@pytest.fixture
def second_folder(first_run: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, in which another run can follow."""
    return shutil.copytree(first_run[0], tmp_path / "second run")


@pytest.fixture(scope="module")
def whole_run(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole run")
    train(workplace, folder, *THREE_EPOCHS)
    return folder


def same_weights(first: Path, second: Path) -> bool:
    a, b = load(first)["state_dict"], load(second)["state_dict"]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_outputs_describe_the_run(workplace: Path) -> None:
    progress = json.loads((workplace / "training_progress.json").read_text(encoding="utf-8"))
    info = json.loads((workplace / "best_model_info.json").read_text(encoding="utf-8"))
    content = load(workplace / "best_kanji_model.pth")
    assert [epoch["epoch"] for epoch in progress["epochs"]] == [1]
    assert progress["epochs"][0].keys() >= {"train_loss", "train_accuracy", "validation_accuracy", "learning_rate"}
    assert info["model_version"] == "3.0"
    assert info["parameters"] == sum(
        tensor.numel()
        for name, tensor in content["state_dict"].items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    assert info["test"]["samples"] == 90
    assert 0 <= info["test"]["top1"] <= info["test"]["top3"] <= info["test"]["top5"] <= 1
    assert content["synthetic"] is True
    assert content["training"]["test"] == info["test"]
    assert content["training"]["temperature"] == info["temperature"]
    assert info["temperature"]["samples"] == 90
    assert content["class_table"][2080] == "田"


def test_accuracy_of_a_sample_is_called_synthetic_and_zero_is_kept(first_run: tuple[Path, str]) -> None:
    folder, output = first_run
    assert (folder / "best_kanji_model.pth").is_file()
    test_line = next(line for line in output.splitlines() if line.startswith("test"))
    assert "synthetic sample" in test_line
    checkpoint = folder / "best_kanji_model.pth"  # its folder has a space in its name
    assert output.endswith(f"next       python convert_to_onnx.py --model-path '{checkpoint}'\n")


def test_same_seed_same_weights_other_seed_other_weights(
    first_run: tuple[Path, str], workplace: Path, tmp_path: Path
) -> None:
    for name, seed in (("again", "0"), ("other", "6")):
        train(workplace, tmp_path / name, "--epochs", "1", "--seed", seed)
    folders = (first_run[0], tmp_path / "again", tmp_path / "other")
    first, second, third = (folder / "best_kanji_model.pth" for folder in folders)
    assert same_weights(first, second)
    assert not same_weights(first, third)


def start_slowly(workplace: Path, output_dir: Path, *options: str) -> subprocess.Popen[str]:
    """A run that saves its state after every step and rests a little there, so that it can be hit within an epoch."""
    code = (
        "import sys, time, kanjinet.training.resume as state, train_etl9g_model as script\n"
        "from kanjinet.cli import run_script\n"
        "state.SAVE_EVERY_S = 0\n"
        "save = state.StateFile.save\n"
        "state.StateFile.save = lambda self: (save(self), time.sleep(0.05))\n"
        "run_script(script.main)"
    )
    command = [*QUICK[1:], "--data-dir", str(workplace / "dataset"), "--output-dir", str(output_dir), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=workplace,
    )


def wait_for_step(folder: Path, epoch: int, step: int) -> None:
    """Return once a run's state is of this step, or a later one of the epoch."""
    deadline = time.monotonic() + 300  # generation takes its time on a busy machine
    while time.monotonic() < deadline:
        if (folder / "training_state.pth").is_file():
            with contextlib.suppress(FileNotFoundError):  # it is about to be replaced
                position = load(folder / "training_state.pth")["trainer"]["position"]
                if position and (position["epoch"], position["step"]) >= (epoch, step):
                    return
        time.sleep(0.01)
    raise AssertionError("no such state")


def read_history(folder: Path) -> list[dict[str, float]]:
    history = json.loads((folder / "training_progress.json").read_text())["epochs"]
    return [{name: value for name, value in epoch.items() if name != "elapsed_s"} for epoch in history]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize("ending", ["SIGKILL", "SIGINT", "damaged", "with generated samples"])
def test_a_run_ended_within_an_epoch_resumes_to_the_same_weights(
    workplace: Path, tmp_path: Path, whole_run: Path, ending: str
) -> None:
    options = THREE_EPOCHS
    if ending == "with generated samples":
        options = ("--epochs", "2", "--fresh-sets", "1", "--batch-size", "96")
        whole_run = tmp_path / "whole"
        train(workplace, whole_run, *options)

    ended = tmp_path / "ended"
    process = start_slowly(workplace, ended, *options)
    wait_for_step(ended, epoch=1, step=3)
    process.send_signal(signal.SIGINT if ending == "SIGINT" else signal.SIGKILL)
    stdout, stderr = process.communicate()
    if ending == "SIGINT":
        assert process.returncode == 130
        assert "the same command with --resume goes on here" in stdout
        assert stderr == "interrupted\n"
    elif ending == "damaged":
        (ended / "training_state.pth").write_bytes(b"cut off")

    result = train(workplace, ended, *options, "--resume")
    assert re.search(r"^resumed    after epoch 1 and \d+ steps", result.stdout, re.MULTILINE)
    assert ("training_state_previous_1.pth, because training_state.pth is missing or damaged" in result.stdout) == (
        ending == "damaged"
    )
    assert same_weights(whole_run / "best_kanji_model.pth", ended / "best_kanji_model.pth")
    whole_end, resumed_end = (load(folder / "training_state.pth")["trainer"]["model"] for folder in (whole_run, ended))
    assert all(torch.equal(whole_end[name], resumed_end[name]) for name in whole_end)  # best: epoch 1
    assert read_history(whole_run) == read_history(ended)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
NO_LAUNCHER = pytest.mark.skipif(sys.platform == "win32", reason="PyTorch for Windows has no launcher's rendezvous")
# Batch normalization with fixed statistics, and nothing left to chance, so that sums alone differ in their order.
TRAIN_EXACTLY = """
import sys, torch
from dataclasses import fields
from kanjinet.training.augmentation import Augmentation
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.training.distributed import join_process_group
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.samples import TrainingSamples
from kanjinet.training.trainer import Trainer
from kanjinet.training.validation import compute_metrics
torch.manual_seed(0)
still = Augmentation(**{field.name: 0 for field in fields(Augmentation) if field.name != "elastic_points"})
model = LightweightKanjiNet(ModelConfig.preset("3.0", 32)).eval()
model.train = lambda mode=True: model
samples = TrainingSamples(torch.randint(0, 256, (40, 32, 32), dtype=torch.uint8), torch.randint(0, 3036, (40,)))
with join_process_group(torch.device("cpu")) as group:
    options = TrainingOptions(epochs=2, batch_size=8, learning_rate=0.0007, seed=3)  # at most 0.001
    trainer = Trainer(model, samples, options, still, group)
    results = [trainer.train_epoch(epoch) for epoch in range(2)]
    found = compute_metrics(model, samples, group, batch_size=6)
    if group.is_first:
        torch.save({"weights": model.state_dict(), "loss": results[1].loss, "judged": found.loss}, sys.argv[1])
"""


# A run that is stopped within an epoch, and again while the samples of that epoch are generated again.
STOP_TWICE = """
import copy, sys, torch
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.distributed import join_process_group
from kanjinet.training.samples import Samples, TrainingSamples
from kanjinet.training.trainer import Trainer
from kanjinet.training.validation import compute_metrics
from tests.training.test_samples import make_generator


def make_trainer(group):
    torch.manual_seed(0)
    generator, _ = make_generator(2, group.rank, group.size)
    gray = torch.randint(0, 256, (3000, 1, 1), dtype=torch.uint8)  # so that no two batches have the same statistics
    images = torch.cat([gray, gray.new_zeros(len(generator.labels), 1, 1)]).repeat(1, 32, 32)
    labels = torch.cat([torch.arange(3000), torch.from_numpy(generator.labels)])
    samples = TrainingSamples(images, labels, generator, group=group)
    options = TrainingOptions(epochs=1, batch_size=256, learning_rate=0.0007, seed=3)
    return Trainer(LightweightKanjiNet(ModelConfig.preset("1.0", 32)), samples, options, group=group)


def stop(trainer, group, calls):
    def count():
        calls.pop() if calls else 1 / 0

    try:
        trainer.train_epoch(0, between_steps=count)
    except ZeroDivisionError:
        return group.broadcast(copy.deepcopy(trainer.state()))


with join_process_group(torch.device("cpu")) as group:
    whole = make_trainer(group)
    expected = whole.train_epoch(0)
    held_out = Samples(whole.samples.images[:100], whole.samples.labels[:100])
    judged = compute_metrics(whole.model, held_out, group, batch_size=30)
    trainer, found = make_trainer(group), None
    for calls in ([0, 0], [0]):  # in the steps, after both sets; then after the first set
        state = stop(trainer, group, calls)
        trainer = make_trainer(group)
        trainer.load_state(state)
    assert state["position"]["step"] == 20, state["position"]
    found = trainer.train_epoch(0)
    if group.is_first:
        content = {"weights": whole.model.state_dict(), "judged": judged.loss, **vars(held_out)}
        torch.save({**content, "expected": vars(expected), "found": vars(found)}, sys.argv[1])
"""


def run_in_two_processes(workplace: Path, output_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, str(ROOT / QUICK[0]), *QUICK[1:], "--data-dir", str(workplace / "dataset")]
    command += ["--output-dir", str(output_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=workplace, timeout=300)


@pytest.mark.slow
@NO_LAUNCHER
def test_two_processes_make_the_steps_of_one(tmp_path: Path) -> None:
    script = tmp_path / "exact.py"
    script.write_text(TRAIN_EXACTLY, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = []
    for name, launcher in (("one", [sys.executable]), ("two", TORCHRUN)):
        result = tmp_path / f"{name}.pth"
        subprocess.run([*launcher, str(script), str(result)], env=environment, check=True, timeout=300)
        found.append(load(result))
    one, two = found
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert two["judged"] == pytest.approx(one["judged"], rel=1e-4)
    for name, weights in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weights, atol=2e-4, rtol=1e-3)


@pytest.mark.slow
@NO_LAUNCHER
def test_two_processes_that_are_stopped_twice_report_the_same_and_validate_the_network_that_is_saved(
    tmp_path: Path,
) -> None:
    (tmp_path / "stop.py").write_text(STOP_TWICE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, str(tmp_path / "stop.py"), str(tmp_path / "result.pth")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    result = load(tmp_path / "result.pth")
    assert result["found"] == pytest.approx(result["expected"], rel=1e-6)
    model = LightweightKanjiNet(ModelConfig.preset("1.0", 32))
    model.load_state_dict(result["weights"])
    held_out = Samples(result["images"], result["labels"])
    assert compute_metrics(model, held_out).loss == pytest.approx(result["judged"], rel=3e-7)


@NO_LAUNCHER
def test_of_two_processes_only_one_speaks_and_writes(workplace: Path, tmp_path: Path) -> None:
    options = ("--epochs", "1", "--fresh-sets", "2", "--batch-size", "96")  # one set is generated by each
    train(workplace, tmp_path / "one", *options)
    result = run_in_two_processes(workplace, tmp_path / "two", *options)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^epoch +1/1", result.stdout, re.MULTILINE)) == 1
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
    for one, two in zip(read_history(tmp_path / "one"), read_history(tmp_path / "two"), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.05)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=0.05)
        assert two["learning_rate"] == one["learning_rate"]


def test_two_processes_refuse_a_batch_that_they_cannot_share(workplace: Path, tmp_path: Path) -> None:
    result = run_in_two_processes(workplace, tmp_path, "--epochs", "1", "--batch-size", "31")
    assert result.returncode != 0
    assert "--batch-size 31: cannot be divided among 2 processes: use a multiple of 2" in result.stderr


def test_curves_are_drawn_and_written_for_tensorboard(workplace: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(workplace, tmp_path, "--epochs", "2", "--tensorboard", str(tmp_path / "board"))
    with Image.open(tmp_path / "training_curves.png") as image:
        assert image.width > 1000
        assert len(image.convert("RGB").getcolors(1 << 20)) > 3  # more than axes
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    history = read_history(tmp_path)
    for name in ("train_loss", "validation_accuracy", "learning_rate"):
        values = [(event.step, event.value) for event in board.Scalars(name)]
        assert values == [(epoch["epoch"], pytest.approx(epoch[name])) for epoch in history]


def test_states_of_an_earlier_run_are_not_taken_for_this_one(workplace: Path, tmp_path: Path) -> None:
    train(workplace, tmp_path, "--epochs", "2", "--patience", "9")
    assert len(list(tmp_path.glob("training_state*.pth"))) == 2
    train(workplace, tmp_path, "--epochs", "1", "--seed", "4")
    assert [path.name for path in tmp_path.glob("training_state*.pth")] == ["training_state.pth"]


def test_resume_with_other_options_is_refused(
    workplace: Path, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # which takes its time
    result = train(workplace, second_folder, "--epochs", "2", "--resume", check=False)
    assert result.returncode == 1
    assert "the run was started with --epochs 1, now 2: give the same options" in result.stderr
    result = train(workplace, second_folder, "--epochs", "1", "--initialization", "fitted", "--resume", check=False)
    assert "the run was started with --initialization published, now fitted: give" in result.stderr
    options = ("--epochs", "2", "--batch-size", "30", "--sample-limit", "200", "--fresh-sets", "2", "--compile")
    start = ("--init-from", str(second_folder / "best_kanji_model.pth"))
    found = train(workplace, second_folder, *options, *start, "--resume", check=False).stderr
    assert found.count("\n") == 1
    assert (
        "started with --epochs 1, now 2; --batch-size 32, now 30; --sample-limit 300, now 200; no --fresh-sets, now 2; "
        "no --compile, now with it; no --init-from, now with it: give the same options"
    ) in found

    state = load(second_folder / "training_state.pth")
    state["options"] |= {
        "device": "cuda",
        "processes": 2,
        "dataset_sha256": "ab",
        "image_size": 96,
        "sample_limit": None,
    }
    torch.save(state, second_folder / "training_state.pth")
    found = train(workplace, second_folder, "--epochs", "1", "--resume", check=False).stderr
    assert (
        "started with no --sample-limit, now 300; another dataset than that of --data-dir; device cuda, now cpu; "
        "processes: 2, now 1: give"
    ) in found


def test_a_run_that_was_stopped_in_its_first_epoch_has_no_best_one_yet(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kanjinet.training.resume.SAVE_EVERY_S", 0)
    save = StateFile.save

    def save_and_stop(state: StateFile) -> None:
        save(state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StateFile, "save", save_and_stop)
        assert train(workplace, tmp_path, "--epochs", "1", check=False).returncode == 130
    output = train(workplace, tmp_path, "--epochs", "1", "--resume").stdout
    assert "resumed    after epoch 0 and 1 steps, no epoch finished yet\n" in output


def test_an_earlier_model_is_kept(workplace: Path, second_folder: Path) -> None:
    before = (second_folder / "best_kanji_model.pth").read_bytes()
    result = train(workplace, second_folder, "--epochs", "1", "--seed", "2")
    assert "kept       the earlier best_kanji_model.pth as best_kanji_model_previous.pth" in result.stdout
    assert (second_folder / "best_kanji_model_previous.pth").read_bytes() == before


def test_training_starts_from_a_trained_network(workplace: Path, tmp_path: Path, second_folder: Path) -> None:
    checkpoint = second_folder / "best_kanji_model.pth"
    run_script(["convert_to_safetensors.py", "--model-path", checkpoint], tmp_path)
    tensors = next(second_folder.glob("*.safetensors"))
    for name, start in (("pth", checkpoint), ("tensors", tensors)):
        still = ("--epochs", "1", "--learning-rate", "1e-12", "--init-from", str(start))
        result = train(workplace, tmp_path / name, *still)
        assert "initialized with" in result.stdout
    before, after = load(checkpoint), load(tmp_path / "pth" / "best_kanji_model.pth")
    last = f"{list(before['state_dict'])[-1].rpartition('.')[0]}."
    for key, weights in before["state_dict"].items():
        if key.endswith("weight"):
            temperature = after["training"]["temperature"]["value"] if key.startswith(last) else 1
            assert torch.allclose(weights, temperature * after["state_dict"][key], atol=1e-6), key
    assert same_weights(tmp_path / "pth" / "best_kanji_model.pth", tmp_path / "tensors" / "best_kanji_model.pth")
    assert len(after["training"]["init_from_sha256"]) == 64
    assert before["training"]["init_from_sha256"] is None
    assert (before["training"]["initialization"], after["training"]["initialization"]) == ("published", "init-from")


def test_a_run_that_replaced_its_own_start_resumes(workplace: Path, second_folder: Path) -> None:
    start = ("--init-from", str(second_folder / "best_kanji_model.pth"), "--seed", "3", "--epochs", "2")
    result = train(workplace, second_folder, *start)
    assert "may be among those that" in result.stdout  # same dataset, other seed: the test images are no longer new
    first = load(second_folder / "best_kanji_model.pth")
    assert "resumed    after epoch 2" in train(workplace, second_folder, *start, "--resume").stdout
    again = load(second_folder / "best_kanji_model.pth")
    assert again["training"] == first["training"]
    assert all(torch.equal(again["state_dict"][name], first["state_dict"][name]) for name in first["state_dict"])
    sha256 = load(second_folder / "training_state.pth")["options"]["init_from_sha256"]
    assert sha256 == first["training"]["init_from_sha256"] is not None


def test_a_start_that_does_not_fit_is_refused(workplace: Path, tmp_path: Path) -> None:
    start = workplace / "best_kanji_model.pth"  # version 3.0
    result = train(workplace, tmp_path / "a", "--epochs", "1", "--init-from", str(start), check=False)
    assert result.returncode == 1
    assert "--init-from: a network with version 3.0, this training is of one with 1.0" in result.stderr
    result = train(workplace, tmp_path / "a", "--epochs", "1", "--init-from", "none.pth", check=False)
    assert result.returncode == 1
    assert "none.pth: not found" in result.stderr
    assert not (tmp_path / "a").exists()

    run_script(["prepare_etl9g_dataset.py", "--preprocess", "plain", "--output-dir", tmp_path / "plain"], workplace)
    command = ["train_etl9g_model.py", "--sample-limit", "300", "--epochs", "1", "--init-from", str(start)]
    result = run_here([*command, "--data-dir", str(tmp_path / "plain")], tmp_path, check=False)
    assert result.returncode == 1
    assert "trained on images preprocessed by even-lines-2" in result.stderr


def test_writers_split_is_taken_and_noted(workplace: Path, tmp_path: Path) -> None:
    result = train(workplace, tmp_path, "--epochs", "1", "--split", "writers")
    counts = re.search(r"(\d+) train, (\d+) validation, (\d+) test images, split writers", result.stdout)
    assert counts is not None
    assert sum(map(int, counts.groups())) == 300
    assert load(tmp_path / "best_kanji_model.pth")["training"]["split"] == "writers"


def test_patience_stops_a_run_that_does_not_get_better(workplace: Path, tmp_path: Path) -> None:
    result = train(workplace, tmp_path, "--epochs", "8", "--patience", "1", "--learning-rate", "1e-9")
    assert "stopped    no better validation accuracy for 1 epochs" in result.stdout
    assert len(json.loads((tmp_path / "training_progress.json").read_text())["epochs"]) < 8


def test_a_loss_that_is_not_finite_stops_and_keeps_the_earlier_run(workplace: Path, second_folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in second_folder.iterdir()}
    result = train(workplace, second_folder, "--epochs", "3", "--learning-rate", "1e30", check=False)
    assert result.returncode == 1
    assert {path.name: path.read_bytes() for path in second_folder.iterdir()} == before
    assert re.search("the loss is (nan|inf)", result.stderr)
    assert "use a smaller --learning-rate" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--epochs", "0"), 2, "--epochs: '0': expected a whole number of at least 1"),
        (("--epochs", "-3"), 2, "--epochs"),
        (("--batch-size", "1"), 2, "--batch-size: 1: expected at least 2"),
        (("--learning-rate", "-0.1"), 2, "--learning-rate"),
        (("--learning-rate", "nan"), 2, "--learning-rate"),
        (("--sample-limit", "0"), 2, "--sample-limit"),
        (("--seed", "18446744073709551615"), 2, "--seed"),
        (("--fresh-sets", "0"), 2, "--fresh-sets: '0': expected a whole number of at least 1"),
        (
            ("--fresh-difficulty", "0.5"),
            2,
            "--fresh-difficulty: 0.5: give --fresh-sets, --fresh-kana or --fresh-others too",
        ),
        (("--fresh-sets", "1", "--fresh-difficulty", "2"), 2, "--fresh-difficulty"),
        (("--sample-limit", "99999999"), 1, "the dataset has 9,108 samples"),
        (("--batch-size", "5000"), 1, "only 210 training images"),
        (("--image-size", "96"), 1, "prepare_etl9g_dataset.py --size 96"),
        (("--model-version", "9"), 2, "--model-version"),
        (("--data-dir", "nowhere"), 1, "nowhere: no such folder: run prepare_etl9g_dataset.py"),
    ],
)
def test_silly_options_are_refused(
    workplace: Path, tmp_path: Path, options: tuple[str, ...], status: int, message: str
) -> None:
    result = train(workplace, tmp_path / "out", *options, check=False)
    assert result.returncode == status, result.stdout
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "best_kanji_model.pth").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "no metadata", "swapped"])
def test_damaged_datasets_are_refused_by_name(workplace: Path, tmp_path: Path, damage: str) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for path in (workplace / "dataset").iterdir():
        (dataset / path.name).write_bytes(path.read_bytes())
    chunk = dataset / "etl9g_dataset_chunk_01.npz"
    content = bytearray(chunk.read_bytes())
    if damage == "missing":
        chunk.unlink()
    elif damage == "cut":
        chunk.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        chunk.write_bytes(content)
    elif damage == "no metadata":
        (dataset / "metadata.json").unlink()
    else:
        np.savez(chunk, X=np.zeros((3, 64, 64), np.uint8), y=np.zeros(3, np.int64))
    result = run_here([*QUICK, "--data-dir", str(dataset), "--output-dir", str(tmp_path)], tmp_path, check=False)
    assert result.returncode == 1
    assert ("metadata.json" if damage == "no metadata" else "etl9g_dataset_chunk_01.npz") in result.stderr
    assert "prepare_etl9g_dataset.py" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "best_kanji_model.pth").exists()


def test_only_long_trainings_of_a_network_with_a_hidden_layer_begin_at_random() -> None:
    def choose(version: str, epochs: int, limit: int | None = None, num_samples: int = 607_200) -> str:
        return choose_initialization(TrainingOptions(epochs, model_version=version, sample_limit=limit), num_samples)

    assert [choose(version, epochs=3) for version in MODEL_VERSIONS] == ["published"] * 3 + ["fitted"]
    assert choose("2.1", epochs=2) == "fitted"
    assert choose("2.1", epochs=30, limit=15_000) == "fitted"
    assert choose("2.1", epochs=30, limit=607_200, num_samples=24_288) == "fitted"


def test_schedule_warms_up_and_falls_to_nearly_nothing() -> None:
    factors = [schedule_factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 15)
    assert max(factors) == factors[14] == 1
    assert all(later <= earlier for earlier, later in zip(factors[15:], factors[16:], strict=False))
    assert factors[-1] < 0.005


def test_peak_rate_grows_with_the_root_of_the_batch() -> None:
    assert peak_learning_rate(0.001, 64) == pytest.approx(0.004)
    assert peak_learning_rate(0.001, 256) == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("version", "initialization", "factor", "peak_factor"),
    [("3.0", "fitted", 0.3, 1), ("2.1", "fitted", 0.05, 3), ("1.0", "init-from", 0.3, 1)]
    + [(version, "published", 1, 1) for version in MODEL_VERSIONS],
)
def test_the_rates_hang_on_how_a_network_began(
    version: str, initialization: str, factor: float, peak_factor: float
) -> None:
    trainer = make_trainer(version, initialization)
    trainer.train_epoch(0)
    options = trainer.options
    assert trainer.peak_rate == peak_factor * peak_learning_rate(options.learning_rate, options.batch_size)
    network, groups = trainer.model, trainer.optimizer.param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    of_classifier = {rates[id(parameter)] for parameter in network.classifier.parameters()}
    of_stages = {rates[id(parameter)] for parameter in network.stages.parameters()}
    assert len(rates) == len(list(network.parameters()))
    assert of_classifier == {factor * rate for rate in of_stages}


@pytest.mark.skipif(sys.platform == "win32", reason="limits a process's file size, which Windows cannot")
def test_a_full_disk_is_an_error_of_one_line_and_leaves_nothing(workplace: Path, tmp_path: Path) -> None:
    command = [*QUICK, "--epochs", "1", "--data-dir", workplace / "dataset", "--output-dir", tmp_path]
    result = run_on_full_disk(command, limit_bytes=2_000_000)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'best_kanji_model.pth'}: File too large")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("training", None), ("dataset_sha256", None), ("synthetic", "yes"), ("config", {}), ("format", 1)],
)
def test_checkpoints_with_other_contents_are_refused(workplace: Path, tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "best_kanji_model.pth"
    torch.save({**load(workplace / "best_kanji_model.pth"), name: value}, path)
    result = run_script(["convert_to_safetensors.py"], tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: best_kanji_model.pth: ")
    assert result.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["best_kanji_model.pth"]


@pytest.mark.parametrize("size", [-7, 10**12, 50])
def test_an_impossible_image_size_in_the_metadata_is_refused(workplace: Path, tmp_path: Path, size: int) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for path in (workplace / "dataset").iterdir():
        (dataset / path.name).write_bytes(path.read_bytes())
    metadata = json.loads((dataset / "metadata.json").read_text(encoding="utf-8"))
    (dataset / "metadata.json").write_text(json.dumps({**metadata, "image_size": size}), encoding="utf-8")
    result = run_script(["test_etl9g_setup.py"], tmp_path, check=False)
    assert result.returncode == 1
    assert f"image_size {size}, expected one of" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "m.onnx",
            b"\x08\x08\x12\x08kanjinet",
            "an ONNX file, expected a checkpoint (.pth): name the .pth or .safetensors",
        ),
        (
            "m.pth",
            b"\x08\x08\x12\x08kanjinet",
            "an ONNX file, expected a checkpoint (.pth): name the .pth or .safetensors",
        ),
        ("m.safetensors", b"\x08\x08\x12\x08kanjinet", "an ONNX file, expected a SafeTensors file: name the .pth or"),
        ("m.pth", b"\x70\x10\0\0\0\0\0\0{", "a SafeTensors file, expected a checkpoint (.pth): use a best_kanji_model"),
        ("m.safetensors", b"\x89PNG\r\n\x1a\n", "an image, expected a SafeTensors file: use a .safetensors file that"),
        ("m.json", b'{"a": 1}', "a JSON file, expected a checkpoint (.pth): use a best_kanji_model.pth"),
        ("m.npz", b"PK\3\4", "an NPZ file, expected a checkpoint (.pth): use a best_kanji_model.pth"),
        ("m.pth", None, "a folder where a file is needed: use a best_kanji_model.pth"),
        ("folder", None, "a folder where a file is needed: use a best_kanji_model.pth"),
        ("m.pt", "foreign", "not a checkpoint of this toolkit: format None, expected 'kanjinet-checkpoint-1'"),
    ],
)
def test_files_of_another_kind_are_called_what_they_are(
    tmp_path: Path, name: str, content: bytes | str | None, expected: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.mkdir()
    with pytest.raises(KanjinetError) as error:
        load_trained_network(path)
    assert str(error.value).startswith(f"{path}: {expected}")


def test_a_second_run_in_the_same_folder_is_refused(workplace: Path, tmp_path: Path) -> None:
    command = [*QUICK, "--epochs", "1", "--data-dir", workplace / "dataset", "--output-dir", tmp_path]
    with lock_folder(tmp_path, "test"):
        result = run_script(command, workplace, check=False)
    assert result.returncode == 1
    assert "another train_etl9g_model.py is at work in this folder" in result.stderr


def test_an_incomplete_state_is_refused(workplace: Path, tmp_path: Path) -> None:
    torch.save({"format": STATE_FORMAT, "options": None}, tmp_path / "training_state.pth")
    result = train(workplace, tmp_path, "--epochs", "1", "--resume", check=False)
    assert result.returncode == 1
    assert "incomplete state of a training run" in result.stderr


def test_a_gpu_too_small_for_the_batch_is_an_error_of_one_line(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 GiB.")

    monkeypatch.setattr(Trainer, "train_epoch", fill_up)
    folders = ["--data-dir", str(workplace / "dataset"), "--output-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*QUICK, *folders])
    with pytest.raises(KanjinetError, match="--batch-size 32: the GPU .* use a smaller one"):
        train_etl9g_model.main()


def test_hiragana_are_shown_more_often_on_demand(workplace: Path, tmp_path: Path) -> None:
    assert repeat_hiragana(torch.tensor([70, 71, 3000, 0]), 1).tolist() == [0, 1, 2, 3]
    assert repeat_hiragana(torch.tensor([70, 71, 3000, 0]), 3).tolist() == [0, 1, 2, 3, 0, 3, 0, 3]
    assert repeat_hiragana(torch.tensor([70, 71, 0, 0, 0, 0]), 8).tolist() == [*range(6), 0, *range(2, 6), *[0] * 6]
    options = ["--epochs", "1", "--sample-limit", "3036", "--hiragana-repeats", "20"]
    result = train(workplace, tmp_path, *options)
    shown = 2125 + 19 * round(71 * 0.7)
    steps = int(re.search(r"1 epochs of (\d+) steps", result.stdout)[1])
    assert steps == pytest.approx(shown / 32, rel=0.02) and steps > 1.3 * 2125 / 32


def test_held_out_characters_that_are_not_trained_are_noted_with_a_sensible_limit(
    workplace: Path, first_run: tuple[Path, str]
) -> None:
    assert (
        "90 held-out images are of characters that are not trained: use --sample-limit 6072 or more\n" in first_run[1]
    )
    info = read_dataset_info(workplace / "dataset")
    for limit, split, expected in ((3036, "random", 6072), (6072, "writers", 9108), (6072, "random", None)):
        options = TrainingOptions(sample_limit=limit, split=split)
        with open_parts(info, options, torch.device("cpu"), ALONE) as parts:
            assert parts.sensible_limit == expected
            assert bool(parts.num_untrained) == bool(expected)
            classes, held_out = parts.train.labels, torch.cat([parts.validation.labels, parts.test.labels])
            assert expected is None or parts.num_untrained == (~torch.isin(held_out, classes)).sum()


def test_two_networks_are_averaged_and_the_average_is_measured(workplace: Path, tmp_path: Path) -> None:
    start = workplace / "best_kanji_model.pth"
    options = ("--model-version", "3.0", "--epochs", "1", "--init-from", str(start))
    train(workplace, tmp_path, *options)
    end, mean = tmp_path / "best_kanji_model.pth", tmp_path / "mean.pth"
    result = run_script(["average_models.py", start, end, "--output", mean], workplace)
    first, second, between = (load(path)["state_dict"] for path in (start, end, mean))
    training = load(mean)["training"]
    for name, tensor in between.items():
        if tensor.is_floating_point():
            is_last = name in ("classifier.2.weight", "classifier.2.bias")
            temperature = training["temperature"]["value"] if is_last else 1
            torch.testing.assert_close(temperature * tensor, (first[name] + second[name]) / 2)
    assert f"top-1 {training['test']['top1']:.2%} of {training['test']['samples']} images" in result.stdout
    assert len(training["averaged_from_sha256"]) == 2
    run_script(["average_models.py", start, end, "--output", mean, "--weight", "0.75"], workplace)
    weight = "stages.1.0.layers.0.weight"
    torch.testing.assert_close(load(mean)["state_dict"][weight], first[weight] / 4 + second[weight] * 3 / 4)
    refused = run_script(["average_models.py", start, workplace / "none.pth"], workplace, check=False)
    assert refused.returncode == 1
    assert "none.pth: not found" in refused.stderr


def make_trainer(version: str, initialization: str = "fitted") -> Trainer:
    torch.manual_seed(0)
    samples = TrainingSamples(torch.randint(0, 256, (16, 64, 64), dtype=torch.uint8), torch.arange(16))
    options = TrainingOptions(
        epochs=1, batch_size=8, learning_rate=0.0007, model_version=version, initialization=initialization
    )
    return Trainer(LightweightKanjiNet(make_config(options)), samples, options)


@pytest.mark.parametrize("version", MODEL_VERSIONS)
def test_maps_and_their_gradients_are_laid_out_channels_last(version: str) -> None:
    trainer = make_trainer(version)
    laid_out: list[bool] = []

    def note(tensor: torch.Tensor) -> None:
        laid_out.append(tensor.is_contiguous(memory_format=torch.channels_last))

    def note_both(maps: torch.Tensor) -> None:
        if maps.shape[1] > 1:
            note(maps)
            maps.register_hook(note)

    convolutions = [module for module in trainer.model.modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        convolution.register_forward_hook(lambda _module, _inputs, output: note_both(output))
    trainer.model.pool.register_forward_pre_hook(lambda _module, inputs: note_both(inputs[0]))
    trainer.train_epoch(0)
    assert len(laid_out) >= 2 * 2 * len(convolutions)  # two steps; a first map of one channel is not noted
    assert all(laid_out)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_gradients_are_clipped_to_their_limit_and_else_kept(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    for most in (float("inf"), limit):
        monkeypatch.setattr("kanjinet.training.step.MAX_GRADIENT_NORM", most)
        trainer = make_trainer("1.0")
        trainer.train_epoch(0)
        gradients = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
        norms.append(nn.utils.get_total_norm(gradients).item())
    whole, clipped = norms
    assert 1e-3 < whole < 1e3
    assert clipped == (whole if limit > whole else pytest.approx(limit, rel=1e-3))


def test_compiled_network_computes_the_same() -> None:
    require(shutil.which(os.environ.get("CXX", "g++")), "install a C++ compiler")
    torch.manual_seed(0)
    network = LightweightKanjiNet(ModelConfig.preset("1.0", 32)).eval()
    images = torch.rand(4, 1, 32, 32)
    compiled = compile_network(network)
    found = []
    for each in (network, compiled):
        network.zero_grad()
        logits = each(images)
        logits.square().mean().backward()
        found.append([logits.detach(), *(parameter.grad.clone() for parameter in network.parameters())])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain, atol=1e-4, rtol=1e-3)
    assert compiled is not network


def test_compiling_is_asked_for_by_its_option(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # PyTorch's own switch: the network stays as it is
    command = [*QUICK, "--epochs", "1", "--compile", "--data-dir", workplace / "dataset", "--output-dir", tmp_path]
    run_script(command, workplace)
    assert load(tmp_path / "best_kanji_model.pth")["training"]["compile"] is True


def test_without_a_compiler_nothing_is_compiled(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    command = [*QUICK, "--data-dir", workplace / "dataset", "--output-dir", tmp_path, "--compile"]
    result = run_script(command, workplace, check=False)
    assert result.returncode == 1
    assert "--compile: PyTorch cannot compile here" in result.stderr and "leave it out" in result.stderr
    assert not list(tmp_path.glob("*.pth"))
