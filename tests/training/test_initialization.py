"""What a network knows before its first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kanjinet.contract import NORMALIZE
from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.data.preprocessing import INK_SCALE, preprocess
from kanjinet.model import LightweightKanjiNet, ModelConfig, ResidualBlock, init_corner_means_, init_edge_filters_
from kanjinet.storage.model_card import PUBLISHED, TrainingOptions
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.writers import sample_writer
from kanjinet.training.initialization import discriminate, factorize, initialize_network, set_stages
from kanjinet.training.recipe import make_config
from kanjinet.training.samples import Samples, TrainingSamples
from kanjinet.training.validation import compute_metrics


def test_edge_filters_answer_to_edges_of_their_direction_alone() -> None:
    weight = torch.empty(32, 1, 5, 5)
    init_edge_filters_(weight)
    vertical_edge = torch.zeros(5, 5)
    vertical_edge[:, 2:] = 1
    answers = (weight[:8, 0] * vertical_edge).sum((1, 2))
    assert answers.argmax() == 0  # towards the right
    assert answers.argmin() == 4  # towards the left
    assert answers[[2, 6]].abs().max() < 1e-6  # upwards, downwards
    torch.testing.assert_close(weight.sum((2, 3)), torch.zeros(32, 1), atol=1e-6, rtol=0)  # even paper: nothing
    torch.testing.assert_close(weight[8:16], weight[:8])


def test_corner_means_look_at_the_four_quarters_of_a_window() -> None:
    weight = torch.empty(64, 1, 3, 3)
    init_corner_means_(weight)
    torch.testing.assert_close(weight.sum((2, 3)), torch.ones(64, 1))
    corners = {tuple(weight[channel, 0].flatten().nonzero().flatten().tolist()) for channel in range(0, 32, 8)}
    assert corners == {(0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8)}


def test_residual_blocks_start_as_the_identity() -> None:
    block = ResidualBlock(16, 16, stride=1).eval()
    images = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(images), images)


def test_discriminant_parts_classes_as_the_formula_for_two_says() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[2.0, 0.8], [0.8, 0.5]])
    points = np.concatenate([rng.multivariate_normal(mean, spread, 4000) for mean in ([0, 0], [1, 1])])
    classes = np.repeat([0, 2], 4000)  # class 1 has no image
    features = torch.from_numpy(points).float()
    weight, bias = discriminate(features, torch.from_numpy(classes), 3)
    pooled = (np.cov(points[:4000].T, bias=True) + np.cov(points[4000:].T, bias=True)) / 2
    shrunk = 0.9 * pooled + 0.1 * points.var(axis=0).mean() * np.eye(2)
    direction = np.linalg.inv(shrunk) @ (points[4000:].mean(0) - points[:4000].mean(0))
    np.testing.assert_allclose((weight[2] - weight[0]).numpy(), direction, rtol=1e-3)
    middle = torch.from_numpy((points[4000:].mean(0) + points[:4000].mean(0)) / 2).float()
    logits = weight @ middle + bias
    assert logits[0].item() == pytest.approx(logits[2].item(), abs=1e-3)  # halfway: neither
    assert weight[1].abs().max() < 1e-4 and bias[1].abs() < 1e-3


def test_one_image_of_each_class_gives_scores_of_a_usual_size() -> None:
    features = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    weight, bias = discriminate(features, torch.arange(20), 3036)
    logits = features @ weight.T + bias
    assert (logits.argmax(1) == torch.arange(20)).all()
    assert logits.abs().max() < 1000


def test_two_factors_keep_the_scores_as_well_as_any_of_their_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    weight = torch.randn(30, 12, generator=generator)
    logits = features @ weight.T
    for rank in (3, 12):
        first, second = factorize(weight, features, rank)
        assert first.shape == (rank, 12) and second.shape == (30, rank)
        lost = (features @ first.T @ second.T - logits).norm()
        least = torch.linalg.svdvals(logits)[rank:].norm()  # what the best approximation of the logits loses
        assert lost.item() == pytest.approx(least.item(), rel=1e-3, abs=0.05)


@pytest.mark.parametrize(("version", "pooling"), [("1.0", "adaptive_avg"), ("2.1", "max_2x2"), ("3.0", "fixed_avg")])
def test_an_untrained_network_reads_other_writers_after_fitting(version: str, pooling: str) -> None:
    """60 classes, 3 writers to learn from, another one to read: by chance 1.7 %."""
    classes = np.arange(500, 560)
    sheets = []
    for number in range(4):
        rng = np.random.default_rng([5, number])
        cells = write_sheet(classes, sample_writer(rng), rng, with_fragments=False)
        assert cells.shape == (60, CELL_HEIGHT, CELL_WIDTH)
        sheets.append(torch.from_numpy(preprocess(cells * np.uint8(INK_SCALE), 64, NORMALIZE, cells=True)))
    seen = TrainingSamples(torch.cat(sheets[:3]), torch.from_numpy(np.tile(classes, 3)))
    unseen = Samples(sheets[3], torch.from_numpy(classes))
    options = TrainingOptions(model_version=version, pooling_type=pooling)
    published = initialize_network(replace(options, initialization=PUBLISHED), seen)
    assert compute_metrics(published, unseen).top1 < 0.1
    assert compute_metrics(initialize_network(options, seen), unseen).top1 > 0.5


def test_the_published_initialization_is_what_the_layers_make_of_the_seed() -> None:
    options = TrainingOptions(model_version="2.1", initialization=PUBLISHED, seed=7)
    found = initialize_network(options, TrainingSamples(torch.zeros(2, 64, 64, dtype=torch.uint8), torch.arange(2)))
    torch.manual_seed(7)
    expected = LightweightKanjiNet(make_config(options)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("version", ["1.0", "2.0", "2.1"])
def test_blank_images_leave_a_network_finite(version: str) -> None:
    blank = TrainingSamples(torch.zeros(8, 64, 64, dtype=torch.uint8), torch.arange(8))
    model = initialize_network(TrainingOptions(model_version=version), blank)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_what_a_stage_mixes_goes_on_with_both_signs_and_keeps_its_size() -> None:
    torch.manual_seed(0)
    model = LightweightKanjiNet(ModelConfig.preset("2.1"))
    set_stages(model, torch.rand(16, 1, 64, 64))
    for stage in list(model.stages)[1:]:
        weight = stage[0][3].weight.flatten(1)
        first, second = weight.chunk(2)
        assert torch.equal(first, -second)
        size = min(first.shape)
        product = first @ first.T if len(first) == size else first.T @ first
        torch.testing.assert_close(product, torch.eye(size), atol=1e-5, rtol=0)
