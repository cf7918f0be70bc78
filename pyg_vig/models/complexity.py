"""Count the parameters and multiply-adds of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pyg_vig.models.eval_mode import eval_mode
from pyg_vig.models.vision_gnn import VisionGNN
from pyg_vig.nn.conv.neighbor_conv import NeighborConv


def count_parameters(model: nn.Module, trainable_only: bool = True) -> int:
    """Count the parameters of a network, by default only the trainable ones.

    Example:
        >>> import pyg_vig
        >>> from pyg_vig.models import count_parameters
        >>> count_parameters(pyg_vig.create_model("vig_ti"))
        7184744
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or not trainable_only)


@torch.no_grad()
def count_macs(
    model: nn.Module,
    size: int | tuple[int, int] = 224,
    *,
    in_channels: int | None = None,
    definition: bool = False,
) -> int:
    """Count the multiply-adds of a forward pass on one image in evaluation mode, which papers report as "FLOPs".

    :mod:`torch.utils.flop_counter` counts convolutions and matrix products, including the k-NN distances; gathers,
    maxima, norms and activations are not counted.

    Args:
        model: the network, on any device.
        size: side of the image in pixels, or height and width.
        in_channels: number of image channels; by default that of the network, or 3.
        definition: compute pyg_vig's convs edge by edge, as they are defined and counted in papers, instead of with
            their fused path.

    Raises:
        ValueError: if a side is below one pixel.

    Example:
        >>> import pyg_vig
        >>> from pyg_vig.models import count_macs
        >>> f"{count_macs(pyg_vig.create_model('vig_nano'), 32) / 1e6:.1f} M"
        '6.5 M'
    """
    channels = in_channels or (model.config.in_channels if isinstance(model, VisionGNN) else 3)
    parameter = next(model.parameters())
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    image = torch.zeros(1, channels, height, width, device=parameter.device, dtype=parameter.dtype)
    counter = FlopCounterMode(display=False)
    with eval_mode(model), counter, _disable_fused_path(model if definition else None):
        model(image)
    return counter.get_total_flops() // 2


@contextmanager
def _disable_fused_path(model: nn.Module | None) -> Iterator[None]:
    """Disable the fused path of all convs inside the context."""
    convs = [] if model is None else [module for module in model.modules() if isinstance(module, NeighborConv)]
    fuse_flags = [conv.fuse for conv in convs]
    try:
        for conv in convs:
            conv.fuse = False
        yield
    finally:
        for conv, fuse in zip(convs, fuse_flags, strict=True):
            conv.fuse = fuse
