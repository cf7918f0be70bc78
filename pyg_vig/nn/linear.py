"""Linear layers on node matrices: in groups, and with the normalisation that follows them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.batch_norm import fuses, normalize
from pyg_vig.nn.norm import fold, is_foldable, norm_resolver
from pyg_vig.nn.product import IDENTITY, grouped_product, has_onednn, product
from pyg_vig.nn.remake import remember


class GroupedLinear(nn.Linear):
    r"""A linear layer in ``groups`` independent groups of channels: a 1x1 convolution with groups, on node rows.

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
        ValueError: if ``groups`` does not divide both widths.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import GroupedLinear
        >>> GroupedLinear(8, 16, groups=4)(torch.rand(5, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1, bias: bool = True) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"heads (groups) must divide both widths, got {groups} for {in_channels} -> {out_channels} channels"
            )
        super().__init__(in_channels // groups, out_channels, bias=bias)
        self.groups = groups

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return grouped_linear(x, self.weight, self.bias, self.groups)


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, act: nn.Module | None = None) -> Tensor:
    """Linear layer in groups, and the activation that follows.

    Args:
        x: rows ``(N, in_channels)``, or the groups of their channels apart, ``(groups, N, in_channels / groups)``.
        weight: ``(out_channels, in_channels / groups)``.
        bias: ``(out_channels,)``.
        groups: number of groups.
        act: activation.
    """
    if groups == 1:
        return product(x.squeeze(0) if x.dim() == 3 else x, weight, bias, act)
    rows = x if x.dim() == 3 else apart(x, groups)
    if (recorded := grouped_product(rows, weight, bias)) is not None:
        return recorded if act is None else act(recorded)
    parts, weights = rows.unbind(), weight.view(groups, -1, weight.size(1))
    if has_onednn(parts[0], weight):
        biases = [None] * groups if bias is None else bias.chunk(groups)
        return torch.cat([product(*part, act) for part in zip(parts, weights, biases, strict=True)], dim=1)
    weights = weights.mT  # (G, in / G, out / G)
    out = torch.bmm(rows, weights) if bias is None else torch.baddbmm(bias.view(groups, 1, -1), rows, weights)
    out = out.transpose(0, 1).flatten(1)
    return out if act is None else act(out)


def apart(x: Tensor, groups: int) -> Tensor:
    """The channels of every group on their own, ``(N, C) -> (groups, N, C / groups)``."""
    return x.unflatten(1, (groups, -1)).transpose(0, 1)


class LinearNorm(nn.Module):
    """A (grouped) linear layer and its normalisation: the 1x1 convolution and batch norm of the published code.

    In evaluation a batch norm is folded into the weights on the way, which saves a pass over the rows. (A forward hook
    on :attr:`norm` therefore fires in training only.) An activation that follows can be handed to the call, which
    saves another where no gradients are recorded.

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

    def forward(self, x: Tensor, act: nn.Module | None = None) -> Tensor:
        """Apply both, and the activation."""
        return self._apply_with(x, self.linear.weight, act)

    def _apply_with(self, x: Tensor, weight: Tensor, act: nn.Module | None) -> Tensor:
        bias, groups, norm = self.linear.bias, self.linear.groups, self.norm
        if is_foldable(norm) and _pays_off(x, weight):
            return grouped_linear(x, *fold(weight, bias, norm), groups, act)
        if isinstance(norm, nn.Identity):
            return grouped_linear(x, weight, bias, groups, act)
        act = IDENTITY if act is None else act
        if fuses(norm, act, x):
            return normalize(grouped_linear(x, weight, None, groups), norm, act, offset=bias)
        return act(norm(grouped_linear(x, weight, bias, groups)))

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        self.linear.reset_parameters()
        if isinstance(self.norm, nn.BatchNorm1d | nn.LayerNorm):
            self.norm.reset_parameters()

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Replace the batch norm, for good, by what it does to the weights."""
        if is_foldable(self.norm):
            weight, bias = fold(self.linear.weight, self.linear.bias, self.norm)
            self.linear.weight, self.linear.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.norm = nn.Identity()


def _pays_off(x: Tensor, weight: Tensor) -> bool:
    """Whether there are more rows than weights. A compiled region must not ask, or it would serve some batches only."""
    return torch.compiler.is_compiling() or x.size(-2) > weight.size(1)


class NodeUpdate(LinearNorm):
    """What a conv does to every node at its end: linear in groups, norm, activation.

    Args:
        in_channels: width of the input rows.
        out_channels: width of the output rows.
        groups: see :class:`GroupedLinear`.
        norm: ``"batch"``, ``"layer"`` or ``None``.
        act: activation, by PyTorch's name, or ``None``.
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
        """Apply all three."""
        return super().forward(x, self.act)


class PairUpdate(NodeUpdate):
    r"""A :class:`NodeUpdate` of two node matrices of one width, :math:`\sigma(W [x \Vert y])`, as ViG lays them out.

    The weight is that of the published code, whose input channels alternate: :math:`x_0, y_0, x_1, y_1, \ldots`, so
    that every group sees its share of both. Interleaving the rows is slow, so the columns of the weight are reordered
    instead, and the rows joined in blocks.

    Args:
        channels: width of each of the two.
        out_channels: width of the output rows.
        **options: as in :class:`NodeUpdate`.
    """

    def __init__(self, channels: int, out_channels: int, **options: Any) -> None:
        super().__init__(2 * channels, out_channels, **options)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Join the two and apply linear layer, norm and activation."""
        groups, weight = self.linear.groups, self.linear.weight
        if weight.size(1) % 2:  # a group of odd width shares no pair evenly
            return self._apply_with(torch.stack([x, y], dim=-1).flatten(1), weight, self.act)
        pairs = remember(_side_by_side(groups, x, y), partial(_side_by_side, groups), x, y)
        return self._apply_with(pairs, weight.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1), self.act)


def _side_by_side(groups: int, x: Tensor, y: Tensor) -> Tensor:
    """Every group's share of the two, ``(groups, N, 2 * channels / groups)``."""
    return torch.cat([apart(x, groups), apart(y, groups)], dim=2)
