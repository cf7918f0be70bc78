"""The feed-forward module of a ViG block."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.residual import ResidualBranch


class FFN(ResidualBranch):
    r"""Feed-forward module with a residual connection, applied to every node on its own (ViG, equation 5):

    .. math::
        Y = \sigma(X W_1) W_2 + X

    with batch norm after both products.

    Args:
        channels: width of the nodes.
        hidden_channels: width between the two products; ``4 * channels`` by default.
        act: activation by name, as in PyTorch.
        layer_scale: initial value of a learned per-channel scale of the branch; ``None`` for no scale.
        drop_path: probability of dropping the branch for a graph.

    Shapes:
        - **x**: ``(N, channels)``; **output**: the same

    Example:
        >>> import torch
        >>> from pyg_vig.nn import FFN
        >>> FFN(16)(torch.rand(10, 16)).shape
        torch.Size([10, 16])
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int | None = None,
        *,
        act: str | nn.Module | None = "gelu",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_channels = 4 * channels if hidden_channels is None else hidden_channels
        self.fc1 = LinearNorm(channels, hidden_channels)
        self.act = activation_resolver(act)
        self.fc2 = LinearNorm(hidden_channels, channels)
        self.layer_scale: nn.Module = nn.Identity() if layer_scale is None else LayerScale(channels, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Apply the module; without a layout, all nodes form one graph."""
        layout = layout or Layout.from_equal(1, x.size(0))
        return self._add_branch(x, self.fc1(x, self.act), layout)

    @property
    def _last_layer(self) -> nn.Module:
        return self.fc2
