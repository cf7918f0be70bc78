"""Activations by name, with the slopes of the published code, and the properties that the fused convs rely on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.nn.hooks import has_hooks

_ALIASES: dict[str | None, str] = {
    "leakyrelu": "leaky_relu",
    "hswish": "hardswish",
    "swish": "silu",
    None: "none",
    "identity": "none",
}
_ACTIVATIONS: dict[str | None, tuple[type[nn.Module], dict[str, float]]] = {
    "relu": (nn.ReLU, {}),
    "gelu": (nn.GELU, {}),
    "silu": (nn.SiLU, {}),
    "hardswish": (nn.Hardswish, {}),
    "leaky_relu": (nn.LeakyReLU, {"negative_slope": 0.2}),
    "prelu": (nn.PReLU, {"init": 0.2}),
    "elu": (nn.ELU, {}),
    "mish": (nn.Mish, {}),
    "sigmoid": (nn.Sigmoid, {}),
    "tanh": (nn.Tanh, {}),
    "none": (nn.Identity, {}),
}
# A function is quasi-convex if it first falls, then rises (or does only one of the two). Its maximum over a set is then
# at the smallest or the largest element. All activations above are quasi-convex, PReLU for either sign of its slope.
_QUASI_CONVEX = tuple(cls for cls, _ in _ACTIVATIONS.values())
_KERNEL_NAMES = {nn.Identity: "none", nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


def activation_resolver(name: str | nn.Module | None) -> nn.Module:
    """Return an activation by name (PyTorch's names as in ``torch.nn.functional``, in upper or lower case).

    ``leaky_relu`` and ``prelu`` have the published networks' slope of 0.2. A module is returned unchanged.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> from pyg_vig.nn import activation_resolver
        >>> activation_resolver("leaky_relu")
        LeakyReLU(negative_slope=0.2)
    """
    if isinstance(name, nn.Module):
        return name
    key = name.lower() if isinstance(name, str) else name
    key = _ALIASES.get(key, key)
    if key not in _ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: choose one of {', '.join(map(str, _ACTIVATIONS))}")
    cls, options = _ACTIVATIONS[key]
    return cls(**options)


def kernel_name(activation: nn.Module) -> str | None:
    """Return the kernels' name of an activation, one of :data:`pyg_vig.native.ACTIVATIONS`; ``None`` if unsupported.

    Subclasses, the approximate GELU and activations with hooks are unsupported.
    """
    name = _KERNEL_NAMES.get(type(activation))
    is_exact = name != "gelu" or activation.approximate == "none"
    return name if name is not None and is_exact and not has_hooks(activation) else None


def activate(x: Tensor, name: str) -> Tensor:
    """Apply the kernels' activation of that name in plain PyTorch; ``"none"`` returns ``x`` itself.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.activation import activate
        >>> activate(torch.tensor([-1.0, 1.0]), "relu")
        tensor([0., 1.])
    """
    return x if name == "none" else getattr(F, name)(x)


def is_quasi_convex(activation: nn.Module) -> bool:
    """Whether ``activation`` is one function for all channels that is largest at the smallest or largest input."""
    per_channel = isinstance(activation, nn.PReLU) and activation.num_parameters > 1
    return isinstance(activation, _QUASI_CONVEX) and not per_channel
