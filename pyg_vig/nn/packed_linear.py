"""A linear layer for inference on CPUs, with weights in oneDNN's own order and the activation in the same pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.nn.linear import LinearNorm

_ONEDNN_NAMES = {nn.GELU: "gelu", nn.ReLU: "relu", nn.Identity: "none"}


class PackedLinear(nn.Module):
    """Linear layer and activation in one call; a tenth faster than apart, with the same outputs.

    Made by :meth:`~pyg_vig.models.VisionGNN.fuse`. Away from float32 on a CPU, while gradients are recorded, and inside
    a compiled or exported region (whose compiler does the same) it is the two plain operations.

    Args:
        weight: ``(out_channels, in_channels)``.
        bias: ``(out_channels,)``, or ``None``.
        act: activation that follows: ``nn.GELU``, ``nn.ReLU`` or ``nn.Identity``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, act: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.act = act
        self._packed: tuple[int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        if not self._is_packable(x):
            return self.act(F.linear(x, self.weight, self.bias))
        name = _ONEDNN_NAMES[type(self.act)]
        return torch.ops.mkldnn._linear_pointwise(x, self._pack(x.size(0)), self.bias, name, [], "none")

    def _is_packable(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.size(0) > 0
            and not (torch.is_grad_enabled() and x.requires_grad)
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.is_available()
        )

    def _pack(self, rows: int) -> Tensor:
        version = self.weight._version
        if self._packed is None or self._packed[0] != version:
            self._packed = (version, torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), rows))
        return self._packed[1]

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        self._packed = None  # the weights move
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}  # it cannot be copied or saved


def pack(linear: nn.Module, act: nn.Module | None = None) -> tuple[nn.Module, nn.Module]:
    """Layer and activation for inference: norm folded, and one packed layer where that is possible.

    Args:
        linear: a :class:`~pyg_vig.nn.LinearNorm`, or anything else (handed back).
        act: activation that follows; none by default.

    Returns:
        What to put in the place of the two.
    """
    act = nn.Identity() if act is None else act
    if type(linear) is not LinearNorm:
        return linear, act
    linear.fold_norm()
    plain = isinstance(linear.norm, nn.Identity) and linear.linear.groups == 1
    if not plain or type(act) not in _ONEDNN_NAMES or getattr(act, "approximate", "none") != "none":
        return linear, act
    return PackedLinear(linear.linear.weight.detach(), _detached(linear.linear.bias), act), nn.Identity()


def _detached(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()
