"""pyg_vig: modular vision GNNs on PyTorch Geometric."""

from pyg_vig.models import (
    create_model,
    list_models,
    load_checkpoint,
    load_model,
    record_graphs,
    save_checkpoint,
)

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "create_model",
    "list_models",
    "load_checkpoint",
    "load_model",
    "record_graphs",
    "save_checkpoint",
]
