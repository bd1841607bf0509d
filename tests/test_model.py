import numpy as np
import pytest
import torch

from kanjinet.errors import KanjinetError
from kanjinet.model import (
    MODEL_VERSIONS,
    POOLING_TYPES,
    LightweightKanjiNet,
    ModelConfig,
    SqueezeExcite,
    change_pooling,
    count_parameters,
    make_global_pooling,
)

PUBLISHED_PARAMETERS = {"1.0": 1_735_527, "2.0": 3_818_599, "2.1": 3_863_655}


def make_network(version: str, image_size: int = 64, pooling_type: str = "adaptive_avg") -> LightweightKanjiNet:
    """A network whose every weight and statistic matters: nothing is left at its initial 0 or 1."""
    torch.manual_seed(0)
    network = LightweightKanjiNet(ModelConfig.preset(version, image_size, pooling_type))
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "cell_weights")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("running_mean") or (name.endswith("expand.weight")):
            tensor.normal_(0, 0.1)
    return network.eval()


@pytest.mark.parametrize("version", PUBLISHED_PARAMETERS)
def test_published_versions_have_exactly_their_parameters(version: str) -> None:
    assert count_parameters(LightweightKanjiNet(ModelConfig.preset(version))) == PUBLISHED_PARAMETERS[version]


@pytest.mark.parametrize("image_size", [32, 48, 64, 96, 128])
def test_default_version_is_smaller_than_2_1_at_every_size(image_size: int) -> None:
    parameters = count_parameters(LightweightKanjiNet(ModelConfig.preset("3.0", image_size)))
    assert parameters <= PUBLISHED_PARAMETERS["2.1"]
    if image_size == 64:
        assert parameters == 1_076_444


def test_a_file_from_before_the_classifier_had_a_rank_still_gives_its_network() -> None:
    config = ModelConfig.preset("3.0").to_dict() | {"depths": [1, 2, 3, 3, 2]}
    del config["classifier_rank"]
    assert count_parameters(LightweightKanjiNet(ModelConfig(**config))) == 2_241_436


@pytest.mark.parametrize("image_size", [32, 48, 64, 96, 128])
@pytest.mark.parametrize("version", MODEL_VERSIONS)
def test_flattened_images_give_the_same_scores(version: str, image_size: int) -> None:
    network = make_network(version, image_size)
    images = torch.rand(2, 1, image_size, image_size)
    logits = network(images)
    assert logits.shape == (2, 3036)
    torch.testing.assert_close(network(images.flatten(1)), logits)


def test_squeeze_and_excitation_follows_stages_3_4_5_without_bias() -> None:
    for version in ("2.1", "3.0"):
        modules = [
            (index, module.reduce.weight.shape, module.reduce.bias, module.expand.bias)
            for index, stage in enumerate(LightweightKanjiNet(ModelConfig.preset(version)).stages)
            for module in stage
            if isinstance(module, SqueezeExcite)
        ]
        assert modules == [(2, (16, 128), None, None), (3, (16, 256), None, None), (4, (32, 512), None, None)]


@pytest.mark.parametrize("feature_size", [2, 3, 4, 6, 8])
def test_2x2_pooling_is_adaptive_pooling_to_2(feature_size: int) -> None:
    features = torch.rand(3, 5, feature_size, feature_size)
    average, largest = (make_global_pooling(kind, feature_size)(features) for kind in ("avg_2x2", "max_2x2"))
    torch.testing.assert_close(average, torch.nn.functional.adaptive_avg_pool2d(features, 2))
    torch.testing.assert_close(largest, torch.nn.functional.adaptive_max_pool2d(features, 2))


@pytest.mark.parametrize("version", ["2.1", "3.0"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("adaptive_avg", "fixed_avg"),
        ("fixed_avg", "adaptive_avg"),
        ("adaptive_max", "fixed_max"),
        ("adaptive_avg", "avg_2x2"),
        ("fixed_avg", "avg_2x2"),
    ],
)
def test_exact_changes_of_pooling_keep_the_scores(version: str, before: str, after: str) -> None:
    network = make_network(version, pooling_type=before)
    images = torch.rand(4, 1, 64, 64)
    torch.testing.assert_close(change_pooling(network, after)(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("before", "after"), [("adaptive_avg", "adaptive_max"), ("adaptive_avg", "max_2x2")])
def test_other_changes_of_pooling_change_the_scores(before: str, after: str) -> None:
    network = make_network("3.0", pooling_type=before)
    images = torch.rand(4, 1, 64, 64)
    assert (change_pooling(network, after)(images) - network(images)).abs().max() > 1e-3


def test_a_changed_network_of_every_pooling_goes_back() -> None:
    network = make_network("3.0", pooling_type="adaptive_avg")
    for pooling_type in POOLING_TYPES:
        back = change_pooling(change_pooling(network, pooling_type), "adaptive_avg")
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(back.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("version", "image_size", "pooling_type", "message"),
    [
        ("4.0", 64, "adaptive_avg", "model version '4.0': choose one of 1.0"),
        ("3.0", 50, "adaptive_avg", "image size 50"),
        ("3.0", 64, "median", "pooling type 'median'"),
    ],
)
def test_impossible_configurations_are_refused(version: str, image_size: int, pooling_type: str, message: str) -> None:
    with pytest.raises(KanjinetError, match=message):
        ModelConfig(version, image_size, pooling_type, (32,) * 5, (1,) * 5, (0,) * 5, 0)


def test_configuration_survives_json() -> None:
    config = ModelConfig.preset("3.0", 96, "max_2x2")
    assert ModelConfig(**config.to_dict()) == config


def test_default_version_learns_a_few_images_by_heart() -> None:
    torch.manual_seed(0)
    network = LightweightKanjiNet(ModelConfig.preset("3.0", 32))
    images, classes = torch.rand(16, 1, 32, 32), torch.from_numpy(np.arange(16) * 150)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), classes).backward()
        optimizer.step()
    assert (network(images).argmax(1) == classes).all()
