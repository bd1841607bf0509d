"""Random augmentation of training images, new for each batch, on the device that trains."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, cast

import torch
from torch.nn import functional as F

from kanjinet.training.device import choose_algebra_device

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_HAIRLINE = 1.2  # pixels
_MAX_PIXELS_TAKEN = 2  # from each side of a stroke
_MIN_COARSE_SIDE, _MAX_COARSE_SIDE = 0.2, 0.6  # of an image's side: the smaller image that is enlarged to it
_ONE_BIT_FRACTION = 0.3  # of the coarse images
_NOISE_STEP = 61  # pixels; no divisor of an image's side, so that no two images have the same rows
_SPECK_CHANCES = (1.0, 0.5, 0.25)  # that an image which gets specks gets a first, a second, a third
_MIN_SPECK, _MAX_SPECK = 0.008, 0.024  # radius, of an image's side: less than half as long as the dots of ば
_EDGE = 0.4  # of an image's darkest ink: where the edge of a stroke is taken to be


@dataclass(frozen=True)
class Augmentation:
    """Augments images at random, up to these limits; lengths are fractions of the image's side."""

    rotation_deg: float = 8.0  # either way
    shear: float = 0.15  # along each axis
    scale: float = 0.12  # change of each axis
    shift: float = 0.04  # along each axis
    elastic: float = 0.016  # standard deviation of the displacement at the points of a coarse grid
    elastic_points: int = 6  # of that grid along a side
    widen: float = 0.8  # pixels, at most 1, by which strokes become wider on each side
    narrow: float = 1.0  # fraction of the way from an image's own strokes to hairlines
    contrast: float = 2.0  # logarithm of the factor by which the edges of strokes become harder
    coarse: float = 0.25  # fraction of the images that are made as coarse as images of few pixels
    halo: float = 0.15  # fraction of a blurred copy that is added round the strokes
    noise: float = 0.05  # standard deviation of additive noise, of full ink
    gain: float = 0.2  # change of the ink's strength
    specks: float = 0.15  # fraction of the images that get a few specks

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Augments (B, 1, S, S) images with values 0-1 by the global random generator of their device."""
        batch, device = len(images), images.device

        def uniform(limit: float, *shape: int) -> torch.Tensor:
            return (torch.rand(batch, *shape, device=device) * 2 - 1) * limit

        angle = uniform(math.radians(self.rotation_deg))
        scale_x, scale_y = 1 + uniform(self.scale), 1 + uniform(self.scale)
        shear_x, shear_y = uniform(self.shear), uniform(self.shear)
        cos, sin = torch.cos(angle), torch.sin(angle)
        matrix = torch.stack(
            [
                torch.stack([cos * scale_x, (shear_x - sin) * scale_x, uniform(2 * self.shift)], dim=1),
                torch.stack([(shear_y + sin) * scale_y, cos * scale_y, uniform(2 * self.shift)], dim=1),
            ],
            dim=1,
        )  # (B, 2, 3): output coordinates in -1..1 -> input coordinates
        points = self.elastic_points
        bends = torch.randn(batch, 2, points, points, device=device) * (2 * self.elastic)
        augmented = F.grid_sample(images, make_grid(matrix, bends, images.shape[-1]), align_corners=False)
        if self.widen or self.narrow:
            change = uniform(1, 1, 1, 1)
            augmented = change_width(augmented, self.widen * change.clamp(min=0), -self.narrow * change.clamp(max=0))
        if self.contrast:
            hardness = torch.exp(torch.rand(batch, 1, 1, 1, device=device) * self.contrast)
            peaks = augmented.amax((2, 3), keepdim=True)  # less than 1 where images are not normalized
            augmented = torch.minimum(((augmented - _EDGE * peaks) * hardness + _EDGE * peaks).clamp_(min=0), peaks)
        if first := round(batch * self.coarse):  # a batch comes in random order
            augmented = torch.cat([make_coarse(augmented[:first]), augmented[first:]])
        if self.halo:
            strength = torch.rand(batch, 1, 1, 1, device=device) ** 2 * self.halo
            augmented = augmented + strength * blur(augmented)
        augmented = augmented * (1 + uniform(self.gain, 1, 1, 1))
        if first := round(batch * self.specks):
            specked = torch.maximum(augmented[-first:], make_specks(augmented[-first:]))
            augmented = torch.cat([augmented[:-first], specked])
        if self.noise:
            augmented = augmented + make_noise(augmented) * torch.rand(batch, 1, 1, 1, device=device) * self.noise
        return augmented.clamp_(0, 1)


def compile_augmentation(augment: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the same augmentation by other random numbers, to be compiled when it is first used."""
    for make_constant in (make_resampling, make_coarse_resampling):
        torch.compiler.assume_constant_result(make_constant)
    return torch.compile(augment)


def _cache(make: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Caches a function's results; in a function of our own, as a compiler would look into an `lru_cache`."""
    cached = cast(Callable[_Arguments, _Result], functools.lru_cache(make))

    @functools.wraps(make)
    def look_up(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return cached(*args, **kwargs)

    return look_up


def make_grid(matrix: torch.Tensor, bends: torch.Tensor, side: int) -> torch.Tensor:
    """Computes where each output pixel is taken from: an affine map, bent by a smooth field between a grid's points.

    Args:
        matrix: (B, 2, 3) output coordinates in -1..1 -> input coordinates.
        bends: (B, 2, p, p) displacements at the grid's points, the outer ones on the edge; bicubic between them.
        side: S, pixels.

    Returns:
        (B, S, S, 2) for `grid_sample` without aligned corners.
    """
    bicubic = make_resampling(bends.shape[-1], side, bends.device, mode="bicubic", align_corners=True)  # (S, p)
    at = (torch.arange(side, device=bends.device) * 2 + 1) / side - 1  # (S,)
    basis = torch.cat([bicubic, torch.ones_like(at)[:, None], at[:, None]], dim=1)  # (S, p + 2)
    terms = F.pad(bends, (0, 2, 0, 2))  # (B, 2, p + 2, p + 2): those of the affine map beside the displacements
    terms[..., -2, -1], terms[..., -1, -2], terms[..., -2, -2] = matrix.unbind(2)
    grid = basis @ terms @ basis.T  # (B, 2, S, S)
    return grid.permute(0, 2, 3, 1)


@_cache
def make_resampling(
    size: int, new_size: int, device: torch.device, *, mode: str, align_corners: bool | None = None
) -> torch.Tensor:
    """Makes the matrix (new_size, size) that resamples a column of pixels as `F.interpolate` does."""
    unit = torch.eye(size, device=choose_algebra_device(device))[None, None]
    return F.interpolate(unit, (new_size, size), mode=mode, align_corners=align_corners)[0, 0].to(device)


def dilate(images: torch.Tensor) -> torch.Tensor:
    """Takes the maximum of each pixel's 3 x 3 neighborhood (gray dilation): (B, 1, S, S) -> the same shape.

    On a CPU a row and then a column of shifted images, several times as fast there as `max_pool2d`.
    """
    if images.device.type != "cpu":
        return F.max_pool2d(images, 3, stride=1, padding=1)
    for axis in (2, 3):
        size = images.shape[axis]
        largest = images.clone()
        later, earlier = largest.narrow(axis, 0, size - 1), largest.narrow(axis, 1, size - 1)
        torch.maximum(later, images.narrow(axis, 1, size - 1), out=later)
        torch.maximum(earlier, images.narrow(axis, 0, size - 1), out=earlier)
        images = largest
    return images


def blur(images: torch.Tensor) -> torch.Tensor:
    """Takes the mean of each pixel's 5 x 5 neighborhood, with 0 beyond the edge: (B, 1, S, S) -> the same shape."""
    side = images.shape[-1]
    pixels = torch.arange(side, device=images.device)
    band = ((pixels[:, None] - pixels).abs() <= 2).to(images) / 5  # (S, S)
    return band @ images @ band


def change_width(images: torch.Tensor, widening: torch.Tensor, narrowing: torch.Tensor) -> torch.Tensor:
    """Widens or narrows the strokes of (B, 1, S, S) images, 0-1.

    The darkest pixel keeps its ink, so that thin strokes become narrower and not fainter.

    Args:
        images: bright ink on 0.
        widening: (B, 1, 1, 1) pixels on each side, 0-1.
        narrowing: (B, 1, 1, 1) fraction of the way from the image's mean stroke width to a hairline's, 0-1; more than
            2 pixels are not taken from a side.
    """
    changed = images + widening * (dilate(images) - images)
    excess = narrowing * ((measure_widths(images) - _HAIRLINE) / 2).clamp(min=0)
    for pixel in range(_MAX_PIXELS_TAKEN):
        narrower = -dilate(-changed)
        changed = changed + (excess - pixel).clamp(0, 1) * (narrower - changed)
    peaks = images.amax((2, 3), keepdim=True)
    return changed * (peaks / changed.amax((2, 3), keepdim=True).clamp(min=1e-3))


def make_noise(images: torch.Tensor) -> torch.Tensor:
    """Makes normal noise for (B, 1, S, S) images: windows of one strip, as random numbers are slow."""
    batch, pixels = len(images), images[0].numel()
    strip = torch.randn(pixels + (batch - 1) * _NOISE_STEP, device=images.device)
    return strip.unfold(0, pixels, _NOISE_STEP).view_as(images)


def make_specks(images: torch.Tensor) -> torch.Tensor:
    """Makes an image of one to three round specks, no darker than the ink, for each of (B, 1, S, S) images."""
    batch, side, device = len(images), images.shape[-1], images.device
    chances = torch.tensor(_SPECK_CHANCES, device=device)
    ink = (torch.rand(batch, len(chances), 1, 1, device=device) < chances[:, None, None]).to(images)
    ink = ink * (1 - 0.5 * torch.rand_like(ink)) * images.amax((2, 3), keepdim=True)
    radius = (_MIN_SPECK + (_MAX_SPECK - _MIN_SPECK) * torch.rand_like(ink)) * side
    across, down = (torch.arange(side, device=device) + 0.5 - side * torch.rand_like(ink) for _ in range(2))
    distance = torch.hypot(across, down.mT)  # (B, 3, S, S)
    return (ink * (radius + 0.5 - distance).clamp(0, 1)).amax(1, keepdim=True)


def make_coarse(images: torch.Tensor) -> torch.Tensor:
    """Makes (B, 1, S, S) images look like smaller ones that were enlarged: in squares, or blurred.

    The global random generator of their device draws each image's number of pixels, 0.2 to 0.6 of S, the way it is
    enlarged, and whether the smaller image is of one bit.
    """
    batch, device = len(images), images.device
    reductions, enlargements = make_coarse_resampling(images.shape[-1], device)
    size = torch.randint(len(reductions), (batch,), device=device)
    way = torch.randint(len(enlargements), (batch,), device=device)
    down, up = reductions[size][:, None], enlargements[way, size][:, None]
    small = down @ images @ down.mT
    one_bit = (small > _EDGE * small.amax((2, 3), keepdim=True)).to(small)
    small = torch.where(torch.rand(batch, 1, 1, 1, device=device) < _ONE_BIT_FRACTION, one_bit, small)
    coarse = up @ small @ up.mT
    peaks = images.amax((2, 3), keepdim=True)
    return coarse * (peaks / coarse.amax((2, 3), keepdim=True).clamp(min=1e-3))


@_cache
def make_coarse_resampling(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Makes matrices that reduce columns of S pixels to each of n smaller numbers, at most m, and enlarge them again.

    Returns:
        (n, m, S) and (2, n, S, m), in squares and blurred; what a smaller number leaves over is 0.
    """
    smallest, largest = round(side * _MIN_COARSE_SIDE), round(side * _MAX_COARSE_SIDE)
    numbers = range(smallest, largest + 1)
    down = [make_resampling(side, pixels, device, mode="area") for pixels in numbers]
    up = [
        F.pad(make_resampling(pixels, side, device, mode=mode), (0, largest - pixels))
        for mode in ("nearest", "bilinear")
        for pixels in numbers
    ]
    padded = [F.pad(matrix, (0, 0, 0, largest - len(matrix))) for matrix in down]
    return torch.stack(padded), torch.stack(up).unflatten(0, (2, len(numbers)))


def measure_widths(images: torch.Tensor) -> torch.Tensor:
    """Measures the mean stroke width of (B, 1, S, S) images in pixels, (B, 1, 1, 1): ink by half its edge's length."""
    across = images[:, :, 1:, 1:] - images[:, :, 1:, :-1]
    down = images[:, :, 1:, 1:] - images[:, :, :-1, 1:]
    edges = torch.hypot(across, down).sum((2, 3), keepdim=True)
    return images.sum((2, 3), keepdim=True) / (edges / 2).clamp(min=1e-3)
