"""Random variation of training pictures, drawn anew for each batch on the device that trains."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

_EDGE = 0.4  # of a picture's darkest ink: where the edge of a stroke is taken to be


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the variation; lengths are shares of the picture's side.

    Attributes:
        rotation_deg: largest rotation either way.
        shear: largest shear along each axis.
        scale: largest change of size of each axis.
        shift: largest shift along each axis.
        elastic: standard deviation of the displacement at the points of a coarse grid.
        elastic_points: points of that grid along a side.
        weight: largest change of the strokes' width, 0-1: how far from the picture towards the one whose strokes are
            a pixel wider, or narrower, on each side.
        contrast: largest logarithm of the factor by which the edges of strokes become harder.
        halo: largest share of a blurred copy that is added round the strokes.
        noise: largest standard deviation of additive noise, of full ink.
        gain: largest change of the ink's strength.
    """

    rotation_deg: float = 8.0
    shear: float = 0.15
    scale: float = 0.12
    shift: float = 0.04
    elastic: float = 0.016
    elastic_points: int = 6
    weight: float = 0.8
    contrast: float = 1.5
    halo: float = 0.15
    noise: float = 0.05
    gain: float = 0.2

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Vary (B, 1, S, S) pictures with values 0-1; the global random generator of their device decides."""
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
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)  # (B, S, S, 2)
        points = self.elastic_points
        bends = torch.randn(batch, 2, points, points, device=device) * (2 * self.elastic)
        bends = F.interpolate(bends, size=images.shape[-2:], mode="bicubic", align_corners=True)  # (B, 2, S, S)
        varied = F.grid_sample(images, grid + bends.permute(0, 2, 3, 1), align_corners=False)
        if self.weight:
            varied = change_weight(varied, uniform(self.weight, 1, 1, 1))
        if self.contrast:
            hardness = torch.exp(torch.rand(batch, 1, 1, 1, device=device) * self.contrast)
            peaks = varied.amax((2, 3), keepdim=True)  # less than 1 where pictures are not normalised
            varied = torch.minimum(((varied - _EDGE * peaks) * hardness + _EDGE * peaks).clamp_(min=0), peaks)
        if self.halo:
            share = torch.rand(batch, 1, 1, 1, device=device) ** 2 * self.halo
            varied = varied + share * F.avg_pool2d(varied, 5, 1, 2)
        varied = varied * (1 + uniform(self.gain, 1, 1, 1))
        varied = varied + torch.randn_like(varied) * torch.rand(batch, 1, 1, 1, device=device) * self.noise
        return varied.clamp_(0, 1)


def change_weight(images: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Widen (amount up to 1) or narrow (down to -1) the strokes of (B, 1, S, S) pictures, 0-1.

    The darkest pixel keeps its ink, so that thin strokes become narrower and not fainter; at -1 they would vanish.

    Args:
        images: ink bright on 0.
        amounts: (B, 1, 1, 1) how far to go towards the picture whose strokes are a pixel wider, or narrower, each side.
    """
    wider = F.max_pool2d(images, 3, 1, 1)
    narrower = -F.max_pool2d(-images, 3, 1, 1)
    changed = images + amounts.clamp(min=0) * (wider - images) + (-amounts).clamp(min=0) * (narrower - images)
    peaks = images.amax((2, 3), keepdim=True)
    return changed * (peaks / changed.amax((2, 3), keepdim=True).clamp(min=1e-3))
