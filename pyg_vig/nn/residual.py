"""The end of a residual branch: layer, layer scale, stochastic depth, and the sum with the shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.hooks import is_watched
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.remake import add


def add_branch(
    shortcut: Tensor, x: Tensor, layer: nn.Module, layer_scale: nn.Module, drop_path: DropPath, layout: Layout
) -> Tensor:
    """The shortcut plus the branch's last layer of ``x``; in one pass where nothing stands between the two."""
    watched = is_watched(layer) or is_watched(layer_scale) or is_watched(drop_path)
    if isinstance(layer, LinearNorm) and isinstance(layer_scale, nn.Identity) and not drop_path.drops and not watched:
        return layer(x, shortcut=shortcut)
    return add(shortcut, drop_path(layer_scale(layer(x)), layout))


def fold_layer_scale(layer: nn.Module, layer_scale: nn.Module) -> nn.Module:
    """Fold the layer scale into the layer before it, for good, where that can be; returns what is left of it."""
    if not (isinstance(layer, LinearNorm) and isinstance(layer_scale, LayerScale)):
        return layer_scale
    return nn.Identity() if layer.fold_scale(layer_scale.weight) else layer_scale
