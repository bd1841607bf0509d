"""The choice of a device, what is said of it, and stand-ins for those that tests do not have."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.device import choose_device, choose_memory_format, describe_device, explain_device_errors
from kanjinet.training.distributed import choose_training_device
from kanjinet.training.recipe import make_config
from kanjinet.training.samples import TrainingSamples
from kanjinet.training.trainer import Trainer
from tests.random_checkpoint import write_checkpoint
from tests.training.test_training import QUICK, SMALL, load, run_here


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes PyTorch believe in GPUs."""

    def set_up(*, cuda: int = 0, mps: bool = False, hip: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "hip", hip)

    return set_up


def test_the_fastest_device_is_chosen_and_any_that_is_there_can_be_forced(pretend: Callable[..., None]) -> None:
    for there, expected in (({"cuda": 1, "mps": True}, "cuda"), ({"mps": True}, "mps"), ({}, "cpu")):
        pretend(**there)
        assert choose_device("auto").type == expected
        assert choose_device("cpu").type == "cpu"
        assert choose_training_device("auto").type == expected
    pretend(mps=True)
    assert choose_device("mps").type == "mps"
    with pytest.raises(KanjinetError, match=r"^device cuda: PyTorch .* cannot use it here: choose auto or mps or cpu"):
        choose_device("cuda")


def test_devices_are_called_by_their_names(pretend: Callable[..., None]) -> None:
    pretend(cuda=1, hip="6.4")
    assert describe_device(torch.device("cuda")) == "ROCm (a GPU)"
    pretend(cuda=1)
    assert describe_device(torch.device("cuda")) == "cuda (a GPU)"
    assert describe_device(torch.device("mps")) == "mps (Apple's GPU)"
    assert re.fullmatch(r"cpu \(\d+ threads\)", describe_device(torch.device("cpu")))


def test_processes_of_torchrun_take_a_gpu_each(pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    pretend(cuda=2)
    assert choose_training_device("auto") == torch.device("cuda", 1)
    pretend(cuda=1)
    with pytest.raises(KanjinetError, match="2 processes or more .* start 1 with --nproc-per-node"):
        choose_training_device("auto")
    pretend(mps=True)
    assert choose_training_device("auto").type == "cpu"
    with pytest.raises(KanjinetError, match="--device mps: torchrun's processes cannot share"):
        choose_training_device("mps")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error_of_one_line(
    workplace: Path, tmp_path: Path, pretend: Callable[..., None], device: str
) -> None:
    pretend()
    command = [*QUICK, "--data-dir", str(workplace / "dataset"), "--output-dir", str(tmp_path / "out")]
    result = run_here([*command, "--device", device], tmp_path, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    said = f"device {device}: PyTorch {torch.__version__} cannot use it here: choose auto or cpu with --device"
    assert result.stderr == f"error: {said}\n"
    assert not (tmp_path / "out").exists()
    with pytest.raises(KanjinetError, match=re.escape(said)):
        load_recognizer(write_checkpoint(tmp_path / "m.pth", "1.0", 32), device)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotImplementedError("The operator 'aten::x' is not there.\nMore."), "device mps: The operator 'aten::x' is"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "--batch-size 9: the GPU has too little"),
        (RuntimeError("Invalid buffer size: 9.50 GiB"), "--batch-size 9: the GPU has too little memory: a remedy"),
        (torch.OutOfMemoryError("HIP out of memory."), "--batch-size 9: the GPU has too little memory: a remedy"),
    ],
    ids=["operation", "memory", "buffer", "ROCm"],
)
def test_what_a_gpu_lacks_is_said_in_one_line(error: Exception, expected: str) -> None:
    with (
        pytest.raises(KanjinetError, match=expected) as found,
        explain_device_errors(torch.device("mps"), "--batch-size 9", "a remedy"),
    ):
        raise error
    assert "\n" not in str(found.value)
    with pytest.raises(RuntimeError, match="a bug"), explain_device_errors(torch.device("mps"), "", ""):
        raise RuntimeError("a bug")


class RefuseFloat64(TorchDispatchMode):
    """Apple's GPU has none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            assert not isinstance(each, torch.Tensor) or each.dtype != torch.float64, f"{func} makes float64"
        return result


def test_a_training_as_on_apple_s_gpu_makes_no_float64(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_memory_format(torch.device("mps")) == torch.contiguous_format
    for module in ("trainer", "step", "validation", "initialization", "run"):
        monkeypatch.setattr(f"kanjinet.training.{module}.choose_memory_format", lambda _device: torch.contiguous_format)
    command = [*SMALL, "--epochs", "1", "--data-dir", str(workplace / "dataset"), "--device", "cpu"]
    with RefuseFloat64():
        run_here(command, tmp_path)
    trained = load(tmp_path / "best_kanji_model.pth")
    assert trained["training"]["test"]["samples"] == 45
    assert trained["state_dict"]["stages.1.0.layers.2.weight"].is_contiguous()


@pytest.mark.parametrize("version", MODEL_VERSIONS)
def test_a_step_stays_on_its_device(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that computes shapes only, and refuses tensors of another one."""
    options = TrainingOptions(epochs=1, batch_size=8, model_version=version)
    device = torch.device("meta")
    images = torch.zeros(16, 64, 64, dtype=torch.uint8, device=device)
    samples = TrainingSamples(images, torch.zeros(16, dtype=torch.int64, device=device))
    monkeypatch.setattr(Trainer, "_compute_mean", lambda *_: None)  # these two need values
    monkeypatch.setattr("kanjinet.training.trainer.repeat_hiragana", lambda *_: torch.arange(16, device=device))
    trainer = Trainer(LightweightKanjiNet(make_config(options)).to(device), samples, options)
    with RefuseFloat64():
        trainer.train_epoch(0)
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in trainer.model.parameters())
