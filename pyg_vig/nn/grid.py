"""Modules for nodes on a grid: convolutions between the graph layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout, to_map, to_nodes
from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.batch_norm import can_fuse_batch_norm, fused_batch_norm
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.fused_linear import IDENTITY, fused_conv2d
from pyg_vig.nn.hooks import has_custom_forward, has_hooks
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.norm import fold_batch_norm_, folded_weight_and_bias, is_foldable
from pyg_vig.nn.rematerialize import save_recipe
from pyg_vig.nn.residual import ResidualBranch


class ConvNorm(nn.Module):
    """A 2D convolution followed by batch norm, which is folded into the weights on the fly in evaluation mode.

    The call also takes the subsequent activation, which saves passes over the feature maps. :attr:`conv` may be
    replaced, for instance by an adapter, which is then called.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the kernel, odd; the padding preserves the size at stride 1.
        stride: stride of the kernel.
        groups: number of channel groups.

    Raises:
        ValueError: for an even kernel size.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import ConvNorm
        >>> ConvNorm(3, 8, stride=2)(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        _check_kernel_size(kernel_size)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, act: nn.Module | None = None) -> Tensor:
        """Apply convolution, norm and activation."""
        conv, norm, act = self.conv, self.norm, IDENTITY if act is None else act
        if has_custom_forward(conv, nn.Conv2d) or has_hooks(conv) or has_hooks(norm):
            return act(norm(conv(x)))
        if is_foldable(norm):
            return fused_conv2d(x, conv, *folded_weight_and_bias(conv.weight, conv.bias, norm), act)
        if can_fuse_batch_norm(norm, act, x):
            rows, layout = to_nodes(save_recipe(x, conv._conv_forward(x, conv.weight, None), "input"))
            return to_map(fused_batch_norm(rows, norm, act, offset=conv.bias), layout)
        if isinstance(norm, nn.Identity):
            return fused_conv2d(x, conv, conv.weight, conv.bias, act)
        return act(norm(conv(x)))

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Fold the batch norm permanently into the convolution."""
        if is_foldable(self.norm) and not has_custom_forward(self.conv, nn.Conv2d):
            fold_batch_norm_(self.conv, self.norm)
            self.norm = nn.Identity()
            self.conv.to(memory_format=torch.channels_last)  # otherwise every call copies the weights to that layout


class Downsample(nn.Module):
    """Halves the grid between stages: a 3x3 convolution of stride 2 with batch norm.

    Args:
        in_channels: width of the input nodes.
        out_channels: width of the output nodes.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout
        >>> from pyg_vig.nn import Downsample
        >>> x, layout = Downsample(8, 16)(torch.rand(2 * 36, 8), Layout.from_grid(2, 6, 6))
        >>> x.shape, layout.grid
        (torch.Size([18, 16]), (3, 3))
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(in_channels, out_channels, stride=2)

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Map the nodes of a grid to the nodes of a grid of half the size."""
        return to_nodes(self.conv_norm(to_map(x, layout)))


class ConditionalPosition(nn.Module):
    r"""Conditional position encoding, a depthwise convolution with a residual connection
    (`"Conditional Positional Encodings for Vision Transformers" <https://arxiv.org/abs/2102.10882>`_).

    Args:
        channels: width of the nodes.
        kernel_size: side of the kernel, odd.

    Shapes:
        - **x**: ``(N, channels)`` on a grid; **output**: the same

    Raises:
        ValueError: for an even kernel size, and (on call) for nodes that are not on a grid.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout
        >>> from pyg_vig.nn import ConditionalPosition
        >>> ConditionalPosition(8)(torch.rand(2 * 36, 8), Layout.from_grid(2, 6, 6)).shape
        torch.Size([72, 8])
    """

    def __init__(self, channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        _check_kernel_size(kernel_size)
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Add the output of the convolution to every node."""
        encoding, _ = to_nodes(self.conv(to_map(x, layout)))
        return x + encoding


class InvertedResidual(ResidualBranch):
    r"""Inverted residual block with layer scale (`"MobileNetV2" <https://arxiv.org/abs/1801.04381>`_, as in
    MobileViG): linear, depthwise 3x3, linear, each followed by batch norm.

    Args:
        channels: width of the nodes.
        expansion: width between the linear layers as a multiple of ``channels``.
        act: activation after the first two layers.
        layer_scale: initial value of the learned per-channel scale of the branch.
        drop_path: probability of dropping the branch for an image.

    Shapes:
        - **x**: ``(N, channels)`` on a grid; **output**: the same

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout
        >>> from pyg_vig.nn import InvertedResidual
        >>> InvertedResidual(8)(torch.rand(2 * 36, 8), Layout.from_grid(2, 6, 6)).shape
        torch.Size([72, 8])
    """

    def __init__(
        self,
        channels: int,
        *,
        expansion: int = 4,
        act: str | nn.Module | None = "gelu",
        layer_scale: float = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = expansion * channels
        self.expand = LinearNorm(channels, hidden)
        self.depthwise = ConvNorm(hidden, hidden, groups=hidden)
        self.project = LinearNorm(hidden, channels)
        self.act1 = activation_resolver(act)
        self.act2 = activation_resolver(act)
        self.layer_scale: nn.Module = LayerScale(channels, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Apply the block."""
        hidden = to_map(self.expand(x, self.act1), layout)
        hidden, _ = to_nodes(self.depthwise(hidden, self.act2))
        return self._add_branch(x, hidden, layout)

    @property
    def _last_layer(self) -> nn.Module:
        return self.project


def _check_kernel_size(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, so that padding keeps the size, got {size}: use {max(size + 1, 1)}")
