"""A few of each kind of fault at each stage; `python -m tests.faults` does the same many times over."""

import json
import re
import sys
from pathlib import Path

import pytest

from kanjinet.errors import KanjinetError
from tests.faults.__main__ import main
from tests.faults.campaign import KINDS, count_operations, run_trials
from tests.faults.injector import Fault
from tests.faults.readers import READERS, Bench, run_mutations
from tests.faults.stages import EARLIER_MODEL, STAGES, FaultError, Workshop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and kills processes, as POSIX does")
SEED = 3
COUNTS = {
    "SIGKILL at a file operation": {"sample": 1, "prepare": 2, "onnx": 1, "safetensors": 2, "mapping": 2},
    "SIGKILL at a moment": {"prepare": 1, "safetensors": 1},
    "SIGKILL of a worker": {"sample": 1, "prepare": 1},
    "ENOSPC or EIO at a file operation": {"prepare": 2, "safetensors": 2, "mapping": 3},
    "read-only from a file operation on": {"prepare": 1, "mapping": 1},
    "output folder removed meanwhile": {"prepare": 1, "mapping": 2},
    "a file in place of the output folder": {"mapping": 1},
    "EIO at a read": {"prepare": 1, "safetensors": 1},
    "input cut in half while it is read": {"prepare": 2, "safetensors": 1, "evaluate": 1},
    "damaged input": {"safetensors": 2},
    "damaged result, stage run again": {"prepare": 2},
    "damaged state, training resumed": {"train": 1},
    "two runs in one folder": {"prepare": 1, "safetensors": 1},
    "clock jumps, files of 1970 and 2100": {"prepare": 1},
}


@pytest.mark.parametrize(
    ("name", "stage", "count"),
    [(name, stage, count) for name, stages in COUNTS.items() for stage, count in stages.items()],
)
def test_nothing_is_lost(workshop: Workshop, name: str, stage: str, count: int) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    assert run_trials(kind, workshop, stage, SEED, count).wrong == []


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_or_read_right(workshop: Workshop, name: str) -> None:
    row, ways = run_mutations(Bench.make(workshop), name, SEED, 10)
    assert row.wrong == []
    assert ways["refused"] >= 6


def test_a_model_of_an_earlier_training_survives_a_kill_after_the_first_best_weights(workshop: Workshop) -> None:
    workshop.undisturbed("train")
    log = workshop.log_of("train").read_text(encoding="utf-8").splitlines()
    written = next(at for at, line in enumerate(log, start=1) if line.endswith("rename best_kanji_model.pth.part"))
    with workshop.trial("train") as trial:
        assert trial.run(fault=Fault(str(trial.out), "kill", written + 1)).status == -9
        trial.finish()
        assert (trial.out / "best_kanji_model_previous.pth").read_bytes() == EARLIER_MODEL


def test_a_killed_sample_leaves_nothing_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    settings = {**STAGES["sample"].settings, "tempfile.tempdir": str(tmp_path)}
    with workshop.trial("sample") as trial:
        job = trial.job(
            fault=Fault(str(trial.out), "kill", count_operations(workshop, "sample") - 1), settings=settings
        )
        assert workshop.server.run(job).status == -9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "field"), [("chunk_info.json", "source_bytes"), ("metadata.json", "total_samples")])
def test_a_changed_number_in_a_description_is_put_right(workshop: Workshop, name: str, field: str) -> None:
    with workshop.trial("prepare") as trial:
        trial.run()
        path = trial.out / name
        changed, count = re.subn(rf'("{field}": \d*)\d', r"\g<1>7", path.read_text(encoding="utf-8"))
        assert count
        path.write_text(changed, encoding="utf-8")
        trial.finish()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("total_samples", 305, "total_samples is wrong"),
        ("image_size", float("inf"), "not the description of a dataset"),
    ],
)
def test_a_changed_number_in_the_metadata_is_found(workshop: Workshop, field: str, value: float, message: str) -> None:
    bench = Bench.make(workshop)
    path = bench.inputs / "dataset" / "metadata.json"
    whole = path.read_bytes()
    try:
        path.write_text(json.dumps({**json.loads(whole), field: value}), encoding="utf-8")
        outcome, _ = bench.read(READERS["metadata.json"])
    finally:
        path.write_bytes(whole)
    assert f"metadata.json: {message}" in outcome.stderr


def test_the_campaign_prints_a_line_for_each_fault_and_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tests.faults", "--parts", "disk", "--stages", "mapping", "--disk", "4", "--seed", "1"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    output = capsys.readouterr().out
    for name in ("ENOSPC or EIO at a file operation", "output folder removed meanwhile"):
        assert re.search(rf"^{name} +mapping +1 +1 of 1 +\d+\.\d$", output, re.MULTILINE), output
    assert output.endswith("all ended right\n")
    monkeypatch.setattr("tests.faults.stages.compare_folders", lambda *_: (_ for _ in ()).throw(FaultError("as if")))
    monkeypatch.setattr(sys, "argv", ["tests.faults", "--parts", "pairs", "--stages", "mapping", "--pairs", "1"])
    with pytest.raises(KanjinetError, match="1 of 1 trials did not end right"):
        main()
