"""The end of a residual branch: layer, layer scale, stochastic depth, and the sum with the shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.hooks import is_watched
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.rematerialize import add_residual


class ResidualBranch(nn.Module):
    """A module whose branch ends in a layer, its scale and stochastic depth, and is added to the input."""

    layer_scale: nn.Module
    drop_path: DropPath

    @property
    def _last_layer(self) -> nn.Module:
        """What stands before the layer scale."""
        raise NotImplementedError

    def fold_layer_scale(self) -> None:
        """Replace the layer scale, for good and where it can be, by what it does to the weights of the last layer."""
        layer, scale = self._last_layer, self.layer_scale
        if isinstance(layer, LinearNorm) and isinstance(scale, LayerScale) and layer.fold_scale(scale.weight):
            self.layer_scale = nn.Identity()

    def _add_branch(self, shortcut: Tensor, x: Tensor, layout: Layout) -> Tensor:
        """The shortcut plus the last layer of ``x``; in one pass where nothing stands between the two."""
        layer, layer_scale, drop_path = self._last_layer, self.layer_scale, self.drop_path
        watched = is_watched(layer) or is_watched(layer_scale) or is_watched(drop_path)
        bare = isinstance(layer_scale, nn.Identity) and not drop_path.drops
        if isinstance(layer, LinearNorm) and bare and not watched:
            return layer(x, shortcut=shortcut)
        return add_residual(shortcut, drop_path(layer_scale(layer(x)), layout))
