"""pyg_vig: modular vision GNNs on PyTorch Geometric."""

import warnings

with warnings.catch_warnings():  # from importing PyG: users cannot act on the first and can ignore the second
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm in notebooks without ipywidgets
    import torch_geometric  # noqa: F401

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
