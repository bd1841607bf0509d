"""A checkpoint with random weights, for tests of exports: no layer is neutral, and images get different answers."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kanjinet.classes import JAPANESE_SET
from kanjinet.export.sample_inputs import load_sample_inputs
from kanjinet.model import LightweightKanjiNet, ModelConfig, SqueezeExcite
from kanjinet.storage.checkpoint import Checkpoint, save_checkpoint
from kanjinet.storage.model_card import SYNTHETIC, Environment, Metrics, ModelCard, TrainingOptions
from kanjinet.training.initialization import change_characters
from kanjinet.training.samples import Samples
from tests.conftest import run_script

CARD = ModelCard(
    preprocessing="even-lines-2",
    sources=(SYNTHETIC,),
    options=TrainingOptions(split="random", seed=0, dataset_sha256="ab" * 32, epochs=2),
    metrics={"validation": Metrics(2.5, 0.5, 0.625, 0.75, 8), "test": Metrics(2.5, 0.5, 0.625, 0.75, 8)},
    environment=Environment(kanjinet="1.0.0", python="3.11.7", torch="2.14.1", git_revision="unknown"),
)


@lru_cache
def draw_images(image_size: int) -> torch.Tensor:
    """(43, 1, image_size, image_size) float32, 0-1: characters, each another one."""
    return torch.from_numpy(load_sample_inputs(Path("no dataset"), image_size, "even-lines-2").inputs[::12].copy())


@lru_cache  # as many tests share it, none may change it
@torch.no_grad()
def make_network(
    version: str = "3.0", image_size: int = 64, pooling_type: str = "adaptive_avg", seed: int = 0
) -> LightweightKanjiNet:
    torch.manual_seed(seed)
    model = LightweightKanjiNet(ModelConfig.preset(version, image_size, pooling_type))
    norms = [each for each in model.modules() if isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for name, parameter in model.named_parameters():
        if name.startswith("stages") and parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    if model.config.learned_pooling:
        nn.init.normal_(model.cell_weights, 1, 0.5)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
        norm.momentum = None  # statistics of all that it sees
    images = draw_images(image_size)
    model.train()(images)
    for norm in norms:  # off the true statistics, so that none of them is without effect
        norm.momentum = 0.1
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean += torch.randn(norm.num_features) * norm.running_var.sqrt() * 0.1
        norm.running_var *= torch.empty(norm.num_features).uniform_(0.8, 1.25)
    model.eval()
    for module in model.modules():
        if isinstance(module, SqueezeExcite):
            nn.init.normal_(module.expand.weight)
            _rescale(module.expand, model, images, spread=2.0)  # gates from 0.1 to 0.9
    last = model.classifier[-1]
    assert isinstance(last, nn.Linear)
    _rescale(last, model, images, spread=5.0)
    last.bias.sub_(model(images).mean(dim=0))  # else one class wins everywhere
    return model


def _rescale(linear: nn.Linear, model: nn.Module, images: torch.Tensor, spread: float) -> None:
    """Scale a layer so that its outputs have this standard deviation."""
    outputs: list[torch.Tensor] = []
    handle = linear.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    model(images)
    handle.remove()
    linear.weight *= spread / outputs[0].std()


def make_checkpoint(
    version: str = "3.0", image_size: int = 64, pooling_type: str = "adaptive_avg", seed: int = 0
) -> Checkpoint:
    return Checkpoint(copy.deepcopy(make_network(version, image_size, pooling_type, seed)), CARD)


def write_checkpoint(path: Path, *args: Any, **options: Any) -> Path:
    save_checkpoint(path, make_checkpoint(*args, **options))
    return path


@torch.no_grad()
def compute_logits(model: LightweightKanjiNet, inputs: torch.Tensor) -> np.ndarray:
    return model(inputs).numpy()


def make_japanese() -> Checkpoint:
    """A network with random weights, of ETL9G, made one of Japanese."""
    checkpoint = make_checkpoint()
    known, rng = JAPANESE_SET.class_of_character, np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (64, 64, 64)).astype(np.uint8))
    labels = torch.from_numpy(rng.choice([known[each] for each in "アイウエオ田"], 64))
    model = change_characters(checkpoint, JAPANESE_SET, Samples(images, labels))
    return Checkpoint(model, checkpoint.card, JAPANESE_SET)


def export_japanese(folder: Path) -> Path:
    """Exports such a network to ONNX, in a folder."""
    save_checkpoint(folder / "j.pth", make_japanese())
    run_script(["convert_to_onnx.py", "--model-path", "j.pth", "--target-backend", "ort-tract"], folder)
    return folder / "kanji_model_japanese_64x64_6594classes_ort-tract.onnx"
