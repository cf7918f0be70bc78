"""A learned per-channel scale for residual branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.nn.rematerialize import save_recipe


class LayerScale(nn.Module):
    r"""Scales every channel, :math:`y = \gamma \odot x`
    (`"Going deeper with Image Transformers" <https://arxiv.org/abs/2103.17239>`_).

    Args:
        channels: width of the nodes.
        init: initial value of :math:`\gamma`; small, so that a block starts near the identity.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import LayerScale
        >>> LayerScale(2, init=0.5)(torch.ones(1, 2)).tolist()
        [[0.5, 0.5]]
    """

    def __init__(self, channels: int, init: float = 1e-5) -> None:
        super().__init__()
        self.init = init
        self.weight = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the scale to its initial value."""
        nn.init.constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the rows."""
        return save_recipe(x, x * self.weight, "self")
