"""Stochastic depth for batches of graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.nn.rematerialize import register_recipe


class DropPath(nn.Module):
    r"""Drops a residual branch in training, for whole graphs rather than single nodes
    (`"Deep Networks with Stochastic Depth" <https://arxiv.org/abs/1603.09382>`_).

    Args:
        p: probability of dropping the branch for a graph; branches that are kept are scaled by :math:`1 / (1 - p)`.

    Raises:
        ValueError: if ``p`` is not in ``[0, 1)``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout
        >>> from pyg_vig.nn import DropPath
        >>> DropPath(0.5)(torch.ones(6, 1), Layout.from_equal(3, 2)).shape
        torch.Size([6, 1])
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"drop_path must be a probability in [0, 1), got {p}")
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"

    @property
    def drops(self) -> bool:
        """Whether the module currently drops branches."""
        return self.training and self.p > 0

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Multiply the rows of every graph by 0 or ``1 / (1 - p)``."""
        if not self.drops:
            return x
        scale = self.draw(x, layout)
        return register_recipe(x * scale, torch.mul, x, scale)

    def draw(self, x: Tensor, layout: Layout) -> Tensor:
        """Draw the factor of every row of ``x``, ``(N, 1)``: 0 or ``1 / (1 - p)``, alike for all rows of a graph."""
        keep = 1 - self.p
        return layout.expand(x.new_empty(layout.num_graphs, 1).bernoulli_(keep).div_(keep))
