"""Linear layers on node features: grouped, and combined with the subsequent normalisation."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.batch_norm import can_fuse_batch_norm, fused_batch_norm
from pyg_vig.nn.fused_linear import IDENTITY, fused_linear
from pyg_vig.nn.hooks import has_custom_forward, has_hooks
from pyg_vig.nn.linear_batch_norm import can_fuse_linear_batch_norm, linear_batch_norm
from pyg_vig.nn.norm import (
    fold_batch_norm_,
    folded_scale_and_shift,
    is_foldable,
    norm_resolver,
    remove_parametrizations,
    should_fold,
)
from pyg_vig.nn.rematerialize import add_residual


def check_channels(in_channels: Any, out_channels: Any) -> None:
    """Raise a ValueError unless both widths are positive integers."""
    if not all(isinstance(width, Integral) and int(width) > 0 for width in (in_channels, out_channels)):
        raise ValueError(
            f"in_channels and out_channels must be positive integers, got {in_channels!r} and {out_channels!r}: lazy "
            "initialisation (-1) and pairs are not supported; both sides of a bipartite graph have the same width"
        )


class GroupedLinear(nn.Linear):
    r"""A linear layer with ``groups`` independent channel groups, which is a grouped 1x1 convolution on node rows.

    The "multi-head update" of ViG is this layer with four groups.

    Args:
        in_channels: width of the input rows.
        out_channels: width of the output rows.
        groups: number of groups; must divide both widths.
        bias: whether to learn an additive bias.

    Shapes:
        - **input**: ``(N, in_channels)``
        - **output**: ``(N, out_channels)``
        - **weight**: ``(out_channels, in_channels / groups)``

    Raises:
        ValueError: if a width is not a positive integer, or ``groups`` does not divide both.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import GroupedLinear
        >>> GroupedLinear(8, 16, groups=4)(torch.rand(5, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1, bias: bool = True) -> None:
        check_channels(in_channels, out_channels)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                "heads (groups) must divide in_channels and out_channels, "
                f"got {groups} for {in_channels} -> {out_channels} channels"
            )
        super().__init__(in_channels // groups, out_channels, bias=bias)
        self.in_features = in_channels  # full width, as tools expect; the weight has the width of one group
        self.groups = groups

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return fused_linear(x, self.weight, self.bias, groups=self.groups)


class LinearNorm(nn.Module):
    """A (grouped) linear layer and its normalisation: the 1x1 convolution and batch norm of the published code.

    In evaluation mode, a batch norm is folded into the weights on the fly, which saves a pass over the rows, unless
    :attr:`linear` or :attr:`norm` has hooks. The call also takes the subsequent activation and a shortcut to add after
    it, which saves further passes if no gradients are recorded. :attr:`linear` may be replaced, for instance by an
    adapter, which is then called.

    Args:
        in_channels: width of the input rows.
        out_channels: width of the output rows.
        groups: see :class:`GroupedLinear`.
        norm: ``"batch"``, ``"layer"`` or ``None``.
        bias: whether the linear layer has a bias.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import LinearNorm
        >>> LinearNorm(8, 16, groups=4)(torch.rand(5, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, groups: int = 1, norm: str | None = "batch", bias: bool = True
    ) -> None:
        super().__init__()
        self.linear = GroupedLinear(in_channels, out_channels, groups, bias)
        self.norm = norm_resolver(norm, out_channels)

    def forward(self, x: Tensor, act: nn.Module | None = None, shortcut: Tensor | None = None) -> Tensor:
        """Apply linear layer, norm and activation, and add the shortcut."""
        return self._forward(x, act, shortcut)

    def _forward(
        self, x: Tensor | tuple[Tensor, Tensor], act: nn.Module | None = None, shortcut: Tensor | None = None
    ) -> Tensor:
        """The forward pass for one input matrix, or for two whose channels are interleaved."""
        linear, norm, act = self.linear, self.norm, IDENTITY if act is None else act
        if has_custom_forward(linear, GroupedLinear) or has_hooks(linear) or has_hooks(norm):
            out = act(norm(linear(torch.stack(x, dim=-1).flatten(1) if isinstance(x, tuple) else x)))
            return out if shortcut is None else add_residual(shortcut, out)
        weight, bias, groups = linear.weight, linear.bias, linear.groups
        if is_foldable(norm) and should_fold(x[0] if isinstance(x, tuple) else x, len(weight)):
            scale, shift = folded_scale_and_shift(norm, bias)
            return fused_linear(x, weight, shift, act, groups=groups, scale=scale, shortcut=shortcut)
        if isinstance(norm, nn.Identity):
            return fused_linear(x, weight, bias, act, groups=groups, shortcut=shortcut)
        inputs = x if isinstance(x, tuple) else (x,)
        if not can_fuse_batch_norm(norm, act, inputs[0]):
            out = act(norm(fused_linear(x, weight, bias, groups=groups)))
        elif can_fuse_linear_batch_norm(inputs, weight, groups):
            out = linear_batch_norm(inputs, weight, bias, norm, act, groups)
        else:
            out = fused_batch_norm(fused_linear(x, weight, groups=groups), norm, act, offset=bias)
        return out if shortcut is None else add_residual(shortcut, out)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        self.linear.reset_parameters()
        if isinstance(self.norm, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            self.norm.reset_parameters()

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Fold the batch norm permanently into the linear layer."""
        if is_foldable(self.norm) and not has_custom_forward(self.linear, GroupedLinear):
            fold_batch_norm_(self.linear, self.norm)
            self.norm = nn.Identity()

    @torch.no_grad()
    def fold_scale(self, scale: Tensor) -> bool:
        """Fold a scale of the outputs permanently into the weights; returns ``False`` if this is impossible."""
        self.fold_norm()
        if not isinstance(self.norm, nn.Identity) or has_custom_forward(self.linear, GroupedLinear):
            return False
        remove_parametrizations(self.linear)
        self.linear.weight.mul_(scale.unsqueeze(1))
        if self.linear.bias is not None:
            self.linear.bias.mul_(scale)
        return True


class NodeUpdate(LinearNorm):
    """The learned part of a conv, applied row by row: grouped linear layer, norm, activation.

    Args:
        in_channels: width of the input rows.
        out_channels: width of the output rows.
        groups: see :class:`GroupedLinear`.
        norm: ``"batch"``, ``"layer"`` or ``None``.
        act: activation by name, as in PyTorch, or ``None``.
        bias: whether the linear layer has a bias.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import NodeUpdate
        >>> NodeUpdate(8, 16, norm="batch", act="relu")(torch.rand(5, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        groups: int = 1,
        norm: str | None = None,
        act: str | nn.Module | None = "gelu",
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, groups=groups, norm=norm, bias=bias)
        self.act = activation_resolver(act)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Apply linear layer, norm and activation."""
        return super().forward(x, self.act)


def is_unmodified(update: nn.Module) -> bool:
    """Whether ``update`` is a :class:`NodeUpdate` whose linear layer has not been replaced."""
    return isinstance(update, NodeUpdate) and not has_custom_forward(update.linear, GroupedLinear)


class PairUpdate(NodeUpdate):
    r"""A :class:`NodeUpdate` of two concatenated inputs of equal width, :math:`\sigma(W [x \Vert y])`, as in ViG.

    The weight is that of the published code, whose input channels are interleaved, :math:`x_0, y_0, x_1, y_1, \ldots`,
    so that every group sees its share of both.

    Args:
        channels: width of each of the two inputs.
        out_channels: width of the output rows.
        **options: as in :class:`NodeUpdate`.
    """

    def __init__(self, channels: int, out_channels: int, **options: Any) -> None:
        super().__init__(2 * channels, out_channels, **options)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Interleave the two inputs and apply linear layer, norm and activation."""
        return self._forward((x, y), self.act)
