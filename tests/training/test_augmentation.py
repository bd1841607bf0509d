"""Variation of training images: what it does to strokes, and its arithmetic against PyTorch's own layers."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kanjinet.training.augmentation import (
    Augmentation,
    blur,
    change_width,
    dilate,
    make_coarse,
    make_grid,
    make_noise,
    make_resampling,
    measure_widths,
)


@pytest.mark.parametrize("size", [32, 33, 64])
def test_neighborhoods_are_those_of_the_pooling_layers(size: int) -> None:
    images = torch.randn(5, 1, size, size, generator=torch.Generator().manual_seed(size))
    assert torch.equal(dilate(images), F.max_pool2d(images, 3, 1, 1))
    torch.testing.assert_close(blur(images), F.avg_pool2d(images, 5, 1, 2))


def test_grid_is_an_affine_one_bent_by_a_bicubic_field() -> None:
    random = torch.Generator().manual_seed(0)
    matrix, bends = torch.randn(3, 2, 3, generator=random), torch.randn(3, 2, 6, 6, generator=random)
    field = F.interpolate(bends, (48, 48), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    expected = F.affine_grid(matrix, [3, 1, 48, 48], align_corners=False) + field
    torch.testing.assert_close(make_grid(matrix, bends, 48), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "mode"), [(13, "area"), (30, "area"), (100, "nearest"), (90, "bilinear")])
def test_resampling_by_matrices_is_that_of_pytorch(size: int, mode: str) -> None:
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(size))
    matrix = make_resampling(64, size, images.device, mode=mode)
    torch.testing.assert_close(matrix @ images @ matrix.T, F.interpolate(images, size, mode=mode))


def test_noise_is_normal_and_different_in_each_image() -> None:
    torch.manual_seed(0)
    noise = make_noise(torch.zeros(64, 1, 32, 32)).flatten(1)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std(dim=1).tolist() == pytest.approx([1.0] * 64, abs=0.1)
    assert (torch.corrcoef(noise) - torch.eye(64)).abs().max() < 0.2


def test_a_share_of_the_images_is_coarse() -> None:
    images = torch.rand(40, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    calm = Augmentation(rotation_deg=0, shear=0, scale=0, shift=0, elastic=0, widen=0, narrow=0, contrast=0)
    varied = replace(calm, coarse=0.25, halo=0, noise=0, gain=0, specks=0)(images)
    changed = (varied - images).abs().amax((1, 2, 3)) > 0.01
    assert changed.sum() == 10


def test_some_images_get_one_to_three_specks_smaller_than_the_dots_of_characters() -> None:
    torch.manual_seed(0)
    still = {field.name: 0 for field in fields(Augmentation) if field.name != "elastic_points"}
    images = torch.zeros(400, 1, 64, 64)
    images[:, :, 0, 0] = 0.6  # the ink, which specks are no darker than
    specked = (Augmentation(**{**still, "specks": 0.25})(images) - images)[:, 0].numpy()
    assert (specked.max(axis=(1, 2)) > 0).sum() == 100
    areas = [
        cv2.connectedComponentsWithStats((image > 0).astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
        for image in specked[specked.max(axis=(1, 2)) > 0]
    ]
    assert {len(each) for each in areas} == {1, 2, 3}
    assert np.median([area for each in areas for area in each]) < 10
    assert specked.max() <= 0.6


def test_variation_moves_ink_but_keeps_its_range_and_most_of_it() -> None:
    images = torch.zeros(64, 1, 64, 64)
    images[:, :, 20:44, 20:44] = 1
    torch.manual_seed(0)
    varied = Augmentation()(images)
    assert varied.shape == images.shape
    assert 0 <= varied.min()
    assert varied.max() <= 1
    assert (varied[0] - varied[1]).abs().max() > 0.5  # each image in its own way

    def find_least_overlap(varied: torch.Tensor) -> float:
        return ((varied * images).sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))).min().item()

    assert find_least_overlap(varied) > 0.4  # narrowing alone may take 2 of these 24 pixels at each side: 31 %
    torch.manual_seed(0)
    assert find_least_overlap(Augmentation(narrow=0)(images)) > 0.5


def draw_line(width: int) -> torch.Tensor:
    image = torch.zeros(1, 1, 64, 64)
    image[:, :, 8:56, 30 : 30 + width] = 0.8
    return image


def count_width(image: torch.Tensor) -> int:
    return int((image[0, 32] > 0.4).sum())


def test_strokes_become_wider_and_narrower_and_keep_their_darkness() -> None:
    images = torch.cat([draw_line(4), draw_line(4), draw_line(4), draw_line(9)])
    widening = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(4, 1, 1, 1)
    narrowing = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(4, 1, 1, 1)
    changed = change_width(images, widening, narrowing)
    assert [count_width(image) for image in changed] == [6, 4, 2, 5]  # 2 pixels a side at most
    assert changed.amax((1, 2, 3)).tolist() == pytest.approx([0.8] * 4)


def test_a_hairline_is_not_narrowed_away() -> None:
    line = draw_line(1)
    assert torch.equal(change_width(line, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)), line)


@pytest.mark.parametrize("width", [2, 5, 9])
def test_stroke_width_is_measured(width: int) -> None:
    assert measure_widths(draw_line(width)).item() == pytest.approx(width, rel=0.2)


def test_coarse_images_have_fewer_distinct_columns_and_the_same_darkness() -> None:
    image = torch.rand(1, 1, 64, 64) * 0.5
    torch.manual_seed(1)
    drawn = [make_coarse(image) for _ in range(8)]
    distinct = [len(torch.unique(coarse[0, 0], dim=1).T) for coarse in drawn]
    assert min(distinct) < 40  # in squares
    assert all(coarse.amax().item() == pytest.approx(image.amax().item()) for coarse in drawn)
    roughness = [coarse.diff(dim=3).abs().mean() for coarse in drawn]
    assert max(roughness) < image.diff(dim=3).abs().mean() / 2


def test_faint_images_stay_as_faint_as_they_were() -> None:
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, 8:24, 12:20] = 0.3  # as with --preprocess plain
    torch.manual_seed(0)
    varied = Augmentation(noise=0, halo=0, gain=0)(images)
    assert varied.amax((1, 2, 3)).min() > 0.25
    assert varied.amax() < 0.31


def test_each_coarse_image_has_its_own_number_of_pixels() -> None:
    torch.manual_seed(0)
    coarse = make_coarse(torch.rand(64, 1, 64, 64))
    distinct = {len(torch.unique(image[0], dim=1).T) for image in coarse}
    assert len(distinct & set(range(13, 39))) > 10  # those in squares


def test_nothing_of_the_variation_depends_on_a_value_that_python_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_tensor: torch.Tensor) -> None:
        raise AssertionError("a recorded step would repeat this value for ever")

    images = torch.rand(8, 1, 64, 64)
    for reader in ("item", "tolist", "__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(torch.Tensor, reader, refuse)
    varied = Augmentation()(images)
    monkeypatch.undo()
    assert varied.shape == images.shape and not torch.equal(varied, images)


def test_variation_follows_the_seed() -> None:
    images = torch.rand(8, 1, 64, 64)
    torch.manual_seed(3)
    first = Augmentation()(images)
    torch.manual_seed(3)
    assert torch.equal(first, Augmentation()(images))
    assert not torch.equal(first, Augmentation()(images))
