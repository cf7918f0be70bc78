"""Parameter groups for AdamW as in the published recipes: weight decay only on matrices."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

_FSDP_PREFIX = "_fsdp_wrapped_module."  # inserted by PyTorch into the names of sharded modules


def parameter_groups(
    model: nn.Module, weight_decay: float, decayed: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Split the trainable parameters into two groups, with and without weight decay.

    Args:
        model: the network.
        weight_decay: weight decay of the first group.
        decayed: names of the parameters in the first group, by default :func:`decayed_names`. Compute them before the
            network is sharded, as shards of matrices are one-dimensional.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.train.optimizer import parameter_groups
        >>> [len(group["params"]) for group in parameter_groups(nn.Linear(2, 3), 0.05)]
        [1, 1]
    """
    decayed = decayed_names(model) if decayed is None else decayed
    decay: list[nn.Parameter] = []
    no_decay: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decay if name.replace(_FSDP_PREFIX, "") in decayed else no_decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def decayed_names(model: nn.Module) -> set[str]:
    """Return the names of the parameters with weight decay: all but biases, norms and other vectors.

    Args:
        model: the network; names returned by its ``no_weight_decay()``, if it has one, are excluded.
    """
    exempt: set[str] = getattr(model, "no_weight_decay", set)()
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and not name.endswith(".bias") and name not in exempt
    }
