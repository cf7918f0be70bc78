"""Object detection, instance and semantic segmentation (``pip install 'pyg-vig[tasks]'``)."""

from pyg_vig.models.file_format import read_config
from pyg_vig.tasks.checkpoint import load_model, save_model

__all__ = ["load_model", "read_config", "save_model"]
