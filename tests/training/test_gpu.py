"""What only a machine with an NVIDIA GPU can show: steps that are recorded and replayed."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.cuda_graph import RecordedStep
from kanjinet.training.recipe import make_config
from kanjinet.training.samples import TrainingSamples
from kanjinet.training.trainer import Trainer, TrainingMetrics
from kanjinet.training.validation import compute_metrics

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU")

EPOCHS, STEPS = 2, 12  # so that most steps are replayed


@pytest.fixture(autouse=True)
def same_kernels() -> Iterator[None]:
    """Only kernels that give the same sums in every run."""
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = False


def make_trainer(version: str = "3.0", *, is_recorded: bool = True, compiles: bool = False) -> Trainer:
    torch.manual_seed(0)
    count = 16 * STEPS
    samples = TrainingSamples(
        torch.randint(0, 256, (count, 64, 64), dtype=torch.uint8, device="cuda"), torch.arange(count, device="cuda")
    )
    options = TrainingOptions(
        epochs=EPOCHS, batch_size=16, learning_rate=0.0005, model_version=version, compile=compiles
    )
    trainer = Trainer(LightweightKanjiNet(make_config(options)).cuda(), samples, options)
    assert isinstance(trainer.step._run, RecordedStep)
    if not is_recorded:
        trainer.step.is_recorded = False
        trainer.step.start_recording()
    return trainer


def train(trainer: Trainer, first: int = 0) -> list[TrainingMetrics]:
    return [trainer.train_epoch(epoch) for epoch in range(first, EPOCHS)]


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    for (name, value), found in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, value, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("version", MODEL_VERSIONS)
def test_replayed_steps_end_with_the_weights_of_steps_made_one_by_one(version: str) -> None:
    recorded, plain = make_trainer(version), make_trainer(version, is_recorded=False)
    before = {name: value.clone() for name, value in plain.model.named_parameters()}
    for one, other in zip(train(plain), train(recorded), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.accuracy == one.accuracy
    assert_same_weights(plain, recorded)
    assert any(not torch.equal(before[name], value) for name, value in recorded.model.named_parameters())


def test_a_saved_state_continues_to_the_same_weights() -> None:
    whole, stopped = make_trainer(), make_trainer()
    train(whole)
    counter = itertools.count()

    def stop() -> None:
        if next(counter) == STEPS + STEPS // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for epoch in range(EPOCHS):
            stopped.train_epoch(epoch, between_steps=stop)
    resumed = make_trainer()
    resumed.load_state(stopped.state())
    assert resumed.position and resumed.position["epoch"] == 1
    train(resumed, 1)
    assert_same_weights(whole, resumed)


def test_no_step_waits_for_the_device() -> None:
    trainer = make_trainer(is_recorded=False)
    picked = torch.arange(16, device="cuda")
    trainer.model.train()
    trainer.step.make(picked)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step.make(picked)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_steps_are_recorded_and_learn() -> None:
    trainer = make_trainer(compiles=True)
    first, last = train(trainer)
    assert last.loss < first.loss
    assert trainer.step._run._graph is not None  # type: ignore[attr-defined]
    assert compute_metrics(trainer.model, trainer.samples).samples == 16 * STEPS
