"""The published initialisation."""

from __future__ import annotations

from torch import nn

from pyg_vig.nn.conv import ExternalConv


def initialize(module: nn.Module) -> None:
    """Kaiming-normal weights (fan-in) and zero biases for every linear layer and convolution.

    Convs of other libraries keep their own initialisation.
    """
    if isinstance(module, ExternalConv):
        return
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        initialize(child)
