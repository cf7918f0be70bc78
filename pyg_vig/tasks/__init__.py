"""Object detection, instance and semantic segmentation (``pip install 'pyg-vig[tasks]'``)."""

from pyg_vig.checkpoint import load_model, read_config, save_model

__all__ = ["load_model", "read_config", "save_model"]
