"""The toolkit's stages as the faults meet them: inputs, an undisturbed result of each, and what a result must be."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from kanjinet.storage.checkpoint import CHECKPOINT_NAME, load_checkpoint
from kanjinet.storage.files import PARTIAL_SUFFIX
from kanjinet.storage.locks import LOCK_NAME
from kanjinet.training.resume import STATE_NAME, read_state
from tests.faults.injector import Fault
from tests.faults.server import Job, Outcome, Server
from tests.sample_files import draw_ink, list_jis_codes, pack_cell, write_file

OUT = "out"  # every stage's output folder, within a trial's
SCRIPTS = (
    *("make_sample_etl9g.py", "prepare_etl9g_dataset.py", "train_etl9g_model.py", "convert_to_onnx.py"),
    *("convert_to_safetensors.py", "generate_enhanced_mapping.py", "evaluate_model.py"),
)
IMPORTED_LATER = ("torch._dynamo", "torch.onnx", "onnxscript", "onnxruntime", "matplotlib.pyplot")  # by the scripts
RECORDS = 152  # of each source file: one sheet
EARLIER_MODEL = b"a model of an earlier training"
VOLATILE = (
    "elapsed_s",
    "images_per_s",
    "images_per_s_with_reading",
    "content_sha256",
    "dataset",
)  # times, their checksum, and a trial's folder
TEMPORARY = re.compile(f".*{re.escape(PARTIAL_SUFFIX)}|{re.escape(LOCK_NAME)}")
REMEDY = re.compile(
    r"\b(run|use|choose|free|check|delete|remove|train|give|write|convert|get|copy or download|wait for|name)\b"
)


class FaultError(AssertionError):
    """A run did not end as it must: says which, and how."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        command: with {inputs} for the folder of the inputs.
        reads: what it reads, below the inputs.
        rerun_options: what the rerun of an interrupted run needs besides.
        settings: as in `Job`.
        before: files that stand in the output folder when it begins.
    """

    command: tuple[str, ...]
    reads: tuple[str, ...] = ()
    rerun_options: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    before: dict[str, bytes] = field(default_factory=dict)


STAGES = {
    "sample": Stage(
        ("make_sample_etl9g.py", "--sets", "1", "--workers", "1", "--output-dir", OUT),
        settings={"kanjinet.data.etl_records.ETL9G": {"sheets_per_set": 2}},  # of 20
    ),
    "prepare": Stage(
        (
            *("prepare_etl9g_dataset.py", "--etl-dir", "{inputs}/ETL9G", "--output-dir", OUT, "--size", "32"),
            *("--workers", "1", "--allow-partial"),
        ),
        reads=("ETL9G/ETL9G_01", "ETL9G/ETL9G_02"),
    ),
    "train": Stage(
        (
            *("train_etl9g_model.py", "--data-dir", "{inputs}/dataset", "--output-dir", OUT),
            *("--epochs", "2", "--batch-size", "64"),
        ),
        reads=(
            *("dataset/etl9g_dataset_chunk_01.npz", "dataset/metadata.json", "dataset/chunk_info.json"),
            "dataset/etl9g_dataset_chunk_02.npz",
        ),
        rerun_options=("--resume",),
        settings={"kanjinet.training.resume.SAVE_EVERY_S": 0},  # after every step, as it does every two minutes
        before={CHECKPOINT_NAME: EARLIER_MODEL},
    ),
    "onnx": Stage(
        (
            *("convert_to_onnx.py", "--model-path", "{inputs}/model.pth", "--data-dir", "{inputs}/dataset"),
            *("--target-backend", "strict", "--onnx-path", f"{OUT}/model.onnx"),
        ),
        reads=("model.pth",),
    ),
    "safetensors": Stage(
        (
            *("convert_to_safetensors.py", "--model-path", "{inputs}/model.pth"),
            *("--output-path", f"{OUT}/model.safetensors", "--verify"),
        ),
        reads=("model.pth",),
    ),
    "mapping": Stage(("generate_enhanced_mapping.py", "--output-path", f"{OUT}/mapping.json")),
    "evaluate": Stage(
        (
            *(
                "evaluate_model.py",
                "--model",
                "{inputs}/model.pth",
                "{inputs}/model.onnx",
                "{inputs}/model.safetensors",
            ),
            *("--data-dir", "{inputs}/dataset", "--output-dir", OUT),
        ),
        reads=("model.pth", "model.onnx", "model.safetensors", "dataset/chunk_info.json"),
    ),
}


@dataclass
class Workshop:
    """Inputs for all stages, made once, and room for trials.

    Attributes:
        server: runs the scripts.
        folder: holds inputs/, and results/STAGE/out of undisturbed runs.
        trials: how many there were.
        seconds: that undisturbed runs took, by stage.
    """

    server: Server
    folder: Path
    trials: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def inputs(self) -> Path:
        """ETL9G/, dataset/, model.pth, model.onnx, model.safetensors."""
        return self.folder / "inputs"

    def make_inputs(self) -> None:
        """Write the source files, and what the stages make of them."""
        source = self.inputs / "ETL9G"
        source.mkdir(parents=True)
        codes = list_jis_codes()[:RECORDS]
        cells = [pack_cell(draw_ink(index)) for index in range(RECORDS)]
        for number in (1, 2):
            write_file(source / f"ETL9G_{number:02d}", [1] * RECORDS, codes, cells)
        for stage, result, target in (
            ("prepare", "", "dataset"),
            ("train", CHECKPOINT_NAME, "model.pth"),
            ("onnx", "model.onnx", "model.onnx"),
            ("safetensors", "model.safetensors", "model.safetensors"),
        ):
            copy = shutil.copytree if result == "" else shutil.copy
            copy(self.undisturbed(stage) / result, self.inputs / target)

    def undisturbed(self, stage: str) -> Path:
        """The result of a run without faults; made when first asked for."""
        folder = self.folder / "results" / stage
        if not folder.exists():
            with self.trial(stage, folder) as trial:
                outcome = trial.run(fault=Fault(str(trial.out), log=str(self.log_of(stage))))
                trial.expect_success(outcome)
                self.seconds[stage] = outcome.elapsed_s
        return folder / OUT

    def log_of(self, stage: str) -> Path:
        """Where an undisturbed run's operations on its output folder are listed."""
        return self.folder / f"operations of {stage}"

    @contextlib.contextmanager
    def trial(self, stage: str, folder: Path | None = None) -> Iterator["Trial"]:
        """A new folder in which a stage can be run; removed afterwards, unless it has a name."""
        self.trials += 1
        cwd = folder or self.folder / f"trial {self.trials}"
        (cwd / OUT).mkdir(parents=True)
        trial = Trial(self, stage, cwd)
        trial.restore()
        try:
            yield trial
        finally:
            if folder is None:
                shutil.rmtree(cwd, ignore_errors=True)  # a killed run's worker may be about to end


@dataclass
class Trial:
    """One stage in a folder of its own."""

    workshop: Workshop
    stage: str
    cwd: Path

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.cwd / OUT

    def restore(self) -> None:
        """Put the files there that stand in the output folder before the first run."""
        for name, content in STAGES[self.stage].before.items():
            self.out.mkdir(exist_ok=True)
            (self.out / name).write_bytes(content)

    def copy_inputs(self) -> Path:
        """Inputs of this trial's own, to be spoilt."""
        copy = self.cwd / "inputs"
        if STAGES[self.stage].reads:
            shutil.copytree(self.workshop.inputs, copy)
        return copy

    def job(self, *, is_rerun: bool = False, **changes: Any) -> Job:
        """The stage's command; `changes` are attributes of `Job`."""
        stage = STAGES[self.stage]
        options = stage.rerun_options if is_rerun else ()
        inputs = changes.pop("inputs", self.workshop.inputs)
        command = tuple(word.format(inputs=inputs) for word in (*stage.command, *options))
        return Job(command, str(self.cwd), **{"settings": stage.settings, **changes})

    def run(self, **changes: Any) -> Outcome:
        """Run the stage, and check that whatever happened left nothing that is not whole."""
        outcome = self.workshop.server.run(self.job(**changes))
        if self.workshop.folder / "results" not in self.out.parents:
            self.expect_whole_files(outcome)
        return outcome

    def expect_success(self, outcome: Outcome) -> None:
        """The run must have ended with status 0."""
        if outcome.status != 0:
            raise FaultError(f"{self.stage}: status {outcome.status}: {outcome.stderr[-1500:]}")

    def expect_refusal(self, outcome: Outcome, *names: str) -> None:
        """The run must have ended with one line that names one of the files and a remedy."""
        check_refusal(self.stage, outcome, names)

    def expect_whole_files(self, outcome: Outcome) -> None:
        """Every file under its final name must be what was there, what an undisturbed run writes, or readable."""
        expected = self.workshop.undisturbed(self.stage)
        for path in sorted(self.out.rglob("*")) if self.out.is_dir() else []:
            if path.is_dir() or TEMPORARY.fullmatch(path.name):
                continue
            content = path.read_bytes()
            standing = STAGES[self.stage].before.values()
            whole = expected / path.relative_to(self.out)
            if content in standing or (whole.is_file() and content == whole.read_bytes()):
                continue
            try:
                _read_whole(path, content)
            except Exception as error:
                raise FaultError(f"{self.stage}: {path.name} is not whole: {error} (after {outcome})") from error

    def expect_same_result(self) -> None:
        """The folder must hold what an undisturbed run leaves: same names, same bytes, same weights."""
        compare_folders(self.workshop.undisturbed(self.stage), self.out)

    def finish(self) -> None:
        """Run the stage again without a fault; it must end with the undisturbed result."""
        self.expect_success(self.run(is_rerun=True))
        self.expect_same_result()


def check_refusal(where: str, outcome: Outcome, names: tuple[str, ...]) -> None:
    """Status 1 and one line, `error: ` with one of the names and a remedy."""
    lines = outcome.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if outcome.status != 1 or "Traceback" in outcome.stderr or len(errors) != 1 or lines[-1:] != errors:
        raise FaultError(f"{where}: no refusal in one line: status {outcome.status}: {outcome.stderr[-3000:]}")
    if names and not any(name in errors[0] for name in names):
        raise FaultError(f"{where}: the refusal names none of {', '.join(names)}: {errors[0]}")
    if not REMEDY.search(errors[0].rpartition(": ")[2]):
        raise FaultError(f"{where}: the refusal names no remedy: {errors[0]}")


def compare_folders(expected: Path, found: Path) -> None:
    """Raise where two results of a stage differ; a training may have kept more of its last states."""

    def names(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir() if not path.name.startswith("training_state_previous")}

    if names(expected) != names(found):
        raise FaultError(f"{found}: not the same files: {sorted(names(expected) ^ names(found))}")
    for name in sorted(names(expected)):
        if not is_same_file(expected / name, found / name):
            raise FaultError(f"{found / name}: not what an undisturbed run writes")


def is_same_file(first: Path, second: Path) -> bool:
    """The same bytes; or, where they hold measured times, the same content."""
    a, b = first.read_bytes(), second.read_bytes()
    if a == b:
        return True
    if first.suffix == ".pth":
        contents = [torch.load(path, weights_only=True) for path in (first, second)]
        return is_equal(*(_drop_times(content) for content in contents))
    if first.suffix == ".json":
        return is_equal(*(_drop_times(json.loads(content)) for content in (a, b)))
    if first.suffix == ".html":  # the speed stands in its text
        return len(a) > 1000 < len(b)
    return False


def is_equal(first: Any, second: Any) -> bool:
    """Whether two structures are equal, tensors bit by bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(is_equal, first, second))
    return bool(first == second)


def _drop_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _drop_times(value) for name, value in content.items() if name not in VOLATILE}
    return [_drop_times(value) for value in content] if isinstance(content, list) else content


def _read_whole(path: Path, content: bytes) -> None:
    if path.suffix == ".json":
        json.loads(content)
    elif path.name == CHECKPOINT_NAME:
        load_checkpoint(path)
    elif path.name.startswith(STATE_NAME.partition(".")[0]):
        read_state(path)
    elif path.suffix == ".png":
        Image.open(io.BytesIO(content)).load()
    elif path.suffix == ".html":
        if not content.rstrip().endswith(b"</html>"):
            raise ValueError("no end")
    else:
        raise ValueError("neither the earlier nor the finished bytes")
