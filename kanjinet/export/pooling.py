"""Global pooling of exported files: what a backend asks for, and what that changes."""

from dataclasses import dataclass

from kanjinet.export.sample_inputs import SampleInputs
from kanjinet.export.spec import SPECS
from kanjinet.export.verification import ABSOLUTE_BOUND, compare_logits, run_pytorch
from kanjinet.model import DEFAULT_VERSION, LightweightKanjiNet, ModelConfig


@dataclass(frozen=True)
class PoolingChange:
    """Says what pooling in another way than the trained one does, and how to train for it where that matters."""

    sentence: str
    remedy: str = ""


def pooling_of_backend(pooling_type: str, backend: str) -> str:
    """Returns the pooling type in a backend's files: adaptive_* becomes fixed_*, which computes the same, or stays."""
    return pooling_type.replace("adaptive", "fixed") if SPECS[backend].fixed_pooling else pooling_type


def measure_pooling(trained: LightweightKanjiNet, network: LightweightKanjiNet, samples: SampleInputs) -> PoolingChange:
    """Compares a network with the trained one, which pools in another way."""
    before, after = trained.config.pooling_type, network.config.pooling_type
    if before == after:
        return PoolingChange(f"{after}, as trained")
    change = compare_logits(after, "", run_pytorch(trained, samples.inputs), run_pytorch(network, samples.inputs))
    if change.difference <= ABSOLUTE_BOUND:
        return PoolingChange(
            f"{after} for the trained {before} computes the same (largest difference {change.difference:.1e})"
        )
    return PoolingChange(
        f"{after} for the trained {before} is another network: the prediction changes for "
        f"{1 - change.agreement:.1%} of {samples.origin}, logits by up to {change.difference:.3g}",
        f"to train for it: {_name_training_command(network.config)}",
    )


def _name_training_command(config: ModelConfig) -> str:
    """Returns the command that trains a network with this pooling."""
    version = "" if config.version == DEFAULT_VERSION else f" --model-version {config.version}"
    return f"python train_etl9g_model.py --image-size {config.image_size} --pooling-type {config.pooling_type}{version}"
