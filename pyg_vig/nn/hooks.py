"""Whether a module has hooks or has been replaced: then it must be called, and no fused path may take its place."""

from __future__ import annotations

from torch import nn
from torch_geometric.nn import MessagePassing


def has_hooks(module: nn.Module) -> bool:
    """Whether ``module`` has forward or backward hooks of its own.

    Global module hooks do not count: PyTorch's FLOP counter, for one, uses them to track which module is running.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn.hooks import has_hooks
        >>> layer = nn.Linear(4, 4)
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: None)
        >>> has_hooks(layer)
        True
    """
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def has_custom_forward(module: nn.Module, original: type[nn.Module]) -> bool:
    """Whether ``module`` lacks the ``forward`` method of its original class, for instance because of an adapter.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn.hooks import has_custom_forward
        >>> layer = nn.Linear(4, 4)
        >>> has_custom_forward(layer, nn.Linear), has_custom_forward(nn.Sequential(layer), nn.Linear)
        (False, True)
    """
    return type(module).forward is not original.forward


def has_propagate_hooks(conv: MessagePassing) -> bool:
    """Whether the conv has PyG hooks on ``propagate`` or on ``message_and_aggregate``."""
    return bool(
        conv._propagate_forward_pre_hooks
        or conv._propagate_forward_hooks
        or conv._message_and_aggregate_forward_pre_hooks
        or conv._message_and_aggregate_forward_hooks
    )


def needs_messages(conv: MessagePassing) -> bool:
    """Whether an explainer or a PyG hook needs the conv's messages per edge, which a fused path does not compute."""
    return bool(
        conv.explain
        or conv._message_forward_pre_hooks
        or conv._message_forward_hooks
        or conv._aggregate_forward_pre_hooks
        or conv._aggregate_forward_hooks
        or conv._edge_update_forward_pre_hooks
        or conv._edge_update_forward_hooks
    )
