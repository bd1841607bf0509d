"""The same network for inference only: fewer operators, equal scores."""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kanjinet.model import DOWNSAMPLING, LightweightKanjiNet, SqueezeExcite


class ConvSqueezeExcite(nn.Module):
    """SqueezeExcite whose linear layers are 1x1 convolutions, so that no tensor changes its rank."""

    def __init__(self, module: SqueezeExcite, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.reduce = _make_pointwise(module.reduce)
        self.expand = _make_pointwise(module.expand)
        self.gain = module.gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = torch.sigmoid(self.expand(F.relu(self.reduce(self.pool(x)))))  # (B, C, H, W) -> (B, C, 1, 1)
        return x * (gates if self.gain == 1 else self.gain * gates)


def make_inference_form(model: LightweightKanjiNet, *, fixed_pooling: bool) -> LightweightKanjiNet:
    """A copy of a network with batch norm folded into its neighbours and attention as convolutions.

    Args:
        model: in evaluation mode; its own global pooling stays as it is.
        fixed_pooling: whether attention pools with kernels of fixed size.

    Returns:
        A network of the same configuration whose layers are no longer those of a checkpoint. The arithmetic is that
        of `model` in another order: scores differ by float32 rounding (about 1e-6 of their size).
    """
    form = copy.deepcopy(model).eval().double()  # folded in double precision, so that folding itself rounds nothing
    side = form.config.image_size
    for stage in form.stages:
        side = max(side // 2, form.config.image_size // DOWNSAMPLING)
        assert isinstance(stage, nn.Sequential)
        attention = stage[-1]
        if isinstance(attention, SqueezeExcite):
            stage[-1] = ConvSqueezeExcite(attention, nn.AvgPool2d(side) if fixed_pooling else attention.pool)
    for layers in [module for module in form.modules() if isinstance(module, nn.Sequential)]:
        _fold_batch_norm(layers)
    return form.float()


def _make_pointwise(linear: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False)
    convolution.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
    return convolution


def _fold_batch_norm(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        layer, after = layers[index], layers[index + 1]
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            layers[index] = fuse_conv_bn_eval(layer, after)
            layers[index + 1] = nn.Identity()
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(after, nn.Linear):
            layers[index] = nn.Identity()
            layers[index + 1] = _fuse_bn_linear(layer, after)


def _fuse_bn_linear(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    """W (s x + t) + b = (W s) x + (b + W t)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    fused = nn.Linear(linear.in_features, linear.out_features)
    fused.weight = nn.Parameter((linear.weight * scale).detach())
    fused.bias = nn.Parameter((linear.bias + linear.weight @ shift).detach())
    return fused
