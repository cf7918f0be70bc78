"""Graph convolutions, the blocks of vision GNNs, and the layers that they consist of."""

from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.conv import (
    CrossAttentionConv,
    EdgeConv,
    ExternalConv,
    GINConv,
    MaxRelativeConv,
    NeighborConv,
    ReverseMaxRelativeConv,
    SAGEConv,
    conv_resolver,
)
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.ffn import FFN
from pyg_vig.nn.graph_encoder import GraphEncoder
from pyg_vig.nn.grapher import Grapher, ViGBlock
from pyg_vig.nn.grid import ConditionalPosition, ConvNorm, Downsample, InvertedResidual
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import GroupedLinear, LinearNorm, NodeUpdate
from pyg_vig.nn.norm import freeze_batch_norms, norm_resolver

__all__ = [
    "FFN",
    "ConditionalPosition",
    "ConvNorm",
    "CrossAttentionConv",
    "Downsample",
    "DropPath",
    "EdgeConv",
    "ExternalConv",
    "GINConv",
    "GraphEncoder",
    "Grapher",
    "GroupedLinear",
    "InvertedResidual",
    "LayerScale",
    "LinearNorm",
    "MaxRelativeConv",
    "NeighborConv",
    "NodeUpdate",
    "ReverseMaxRelativeConv",
    "SAGEConv",
    "ViGBlock",
    "activation_resolver",
    "conv_resolver",
    "freeze_batch_norms",
    "norm_resolver",
]
