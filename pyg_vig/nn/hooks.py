"""Whether a module has hooks or is another than it was: then it must be called, and nothing computed in its place."""

from __future__ import annotations

from torch import nn
from torch_geometric.nn import MessagePassing


def is_watched(module: nn.Module) -> bool:
    """Whether hooks of its own see, or change, what enters or leaves ``module``.

    Hooks on all modules of the process do not count: PyTorch's counters of operations set them to know where they are.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn.hooks import is_watched
        >>> layer = nn.Linear(4, 4)
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: None)
        >>> is_watched(layer)
        True
    """
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def is_replaced(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether ``module`` does something else than the ``kind`` of layer that stood in its place, as an adapter does.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn.hooks import is_replaced
        >>> is_replaced(nn.Linear(4, 4), nn.Linear), is_replaced(nn.Sequential(nn.Linear(4, 4)), nn.Linear)
        (False, True)
    """
    return type(module).forward is not kind.forward


def propagation_is_watched(conv: MessagePassing) -> bool:
    """Whether a hook of PyG's is called where ``propagate`` is, or the fused path inside of it."""
    return bool(
        conv._propagate_forward_pre_hooks
        or conv._propagate_forward_hooks
        or conv._message_and_aggregate_forward_pre_hooks
        or conv._message_and_aggregate_forward_hooks
    )


def messages_are_watched(conv: MessagePassing) -> bool:
    """Whether an explainer or a hook of PyG's needs the conv's rows per edge, which a fused path does not make."""
    return bool(
        conv.explain
        or conv._message_forward_pre_hooks
        or conv._message_forward_hooks
        or conv._aggregate_forward_pre_hooks
        or conv._aggregate_forward_hooks
        or conv._edge_update_forward_pre_hooks
        or conv._edge_update_forward_hooks
    )
