"""The published networks: configurations, construction, checkpoints, and the graphs of a forward pass."""

from pyg_vig.models.checkpoint import load_checkpoint, load_model, save_checkpoint
from pyg_vig.models.complexity import count_macs, count_parameters
from pyg_vig.models.config import HybridConfig, ModelConfig, PyramidViGConfig, ViGConfig
from pyg_vig.models.factory import build_model, create_model, get_config, list_models
from pyg_vig.models.record import record_graphs
from pyg_vig.models.similarity import similarity_maps
from pyg_vig.models.vision_gnn import FeatureExtractor, VisionGNN

__all__ = [
    "FeatureExtractor",
    "HybridConfig",
    "ModelConfig",
    "PyramidViGConfig",
    "ViGConfig",
    "VisionGNN",
    "build_model",
    "count_macs",
    "count_parameters",
    "create_model",
    "get_config",
    "list_models",
    "load_checkpoint",
    "load_model",
    "record_graphs",
    "save_checkpoint",
    "similarity_maps",
]
