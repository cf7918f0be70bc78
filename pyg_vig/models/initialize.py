"""Weight initialisation of the published code."""

from __future__ import annotations

from torch import nn

from pyg_vig.nn import Grapher
from pyg_vig.nn.conv import ExternalConv


def initialize(module: nn.Module) -> None:
    """Initialise linear layers and convolutions with Kaiming-normal weights (fan-in) and zero biases.

    Convs of other libraries and graph builders keep their own initialisation.
    """
    if isinstance(module, ExternalConv):
        return
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        if not (isinstance(module, Grapher) and child is module.graph):
            initialize(child)
