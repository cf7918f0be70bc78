"""The end of a residual branch: last layer, layer scale, stochastic depth, and the sum with the shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.hooks import has_hooks
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.rematerialize import add_residual


class ResidualBranch(nn.Module):
    """Base class of modules that add to their input a branch ending in a layer, layer scale and stochastic depth."""

    layer_scale: nn.Module
    drop_path: DropPath

    @property
    def _last_layer(self) -> nn.Module:
        """The layer before the layer scale."""
        raise NotImplementedError

    def fold_layer_scale(self) -> None:
        """Fold the layer scale permanently into the weights of the last layer, if possible."""
        layer, scale = self._last_layer, self.layer_scale
        if isinstance(layer, LinearNorm) and isinstance(scale, LayerScale) and layer.fold_scale(scale.weight):
            self.layer_scale = nn.Identity()

    def _add_branch(self, shortcut: Tensor, x: Tensor, layout: Layout) -> Tensor:
        """Apply the last layer to ``x`` and add the shortcut, in one pass if nothing comes in between."""
        layer, layer_scale, drop_path = self._last_layer, self.layer_scale, self.drop_path
        hooked = has_hooks(layer) or has_hooks(layer_scale) or has_hooks(drop_path)
        is_direct = isinstance(layer_scale, nn.Identity) and not drop_path.drops
        if isinstance(layer, LinearNorm) and is_direct and not hooked:
            return layer(x, shortcut=shortcut)
        x = layer_scale(layer(x))
        if drop_path.drops and not hooked and x.dtype == shortcut.dtype:
            return add_residual(shortcut, x, drop_path.draw(x, layout))
        return add_residual(shortcut, drop_path(x, layout))
