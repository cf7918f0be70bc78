"""Graph convolutions as PyG's ``MessagePassing`` layers, each with a fused path."""

from pyg_vig.nn.conv.cross_attention_conv import CrossAttentionConv
from pyg_vig.nn.conv.edge_conv import EdgeConv
from pyg_vig.nn.conv.gin_conv import GINConv
from pyg_vig.nn.conv.max_relative_conv import MaxRelativeConv, ReverseMaxRelativeConv
from pyg_vig.nn.conv.neighbor_conv import NeighborConv
from pyg_vig.nn.conv.resolver import ConvSpec, ExternalConv, conv_resolver
from pyg_vig.nn.conv.sage_conv import SAGEConv

__all__ = [
    "ConvSpec",
    "CrossAttentionConv",
    "EdgeConv",
    "ExternalConv",
    "GINConv",
    "MaxRelativeConv",
    "NeighborConv",
    "ReverseMaxRelativeConv",
    "SAGEConv",
    "conv_resolver",
]
