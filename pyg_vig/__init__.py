"""Modular vision graph neural networks (ViG) on PyTorch Geometric.

:func:`create_model` builds a network, :func:`load_checkpoint` loads its weights, and :func:`record_graphs` records the
graph of every block. The subpackages:

- :mod:`pyg_vig.graph`: graph builders, neighbour tables, and reductions over neighbours
- :mod:`pyg_vig.nn`: graph convolutions, blocks, and ``GraphEncoder`` for point clouds and other graphs
- :mod:`pyg_vig.models`: the networks and their configurations
- :mod:`pyg_vig.transforms`, :mod:`pyg_vig.preprocessing`: images and point clouds as PyG data, images as tensors
- :mod:`pyg_vig.train`, :mod:`pyg_vig.configs`: training of classifiers, and recipes
- :mod:`pyg_vig.tasks`: detectors and segmenters
- :mod:`pyg_vig.analysis`, :mod:`pyg_vig.plot`, :mod:`pyg_vig.explore`: statistics, figures and an interactive page
- :mod:`pyg_vig.export`, :mod:`pyg_vig.benchmark`: files for other runtimes; measurements of time and memory
- :mod:`pyg_vig.integrations`: timm and the Hugging Face Hub
- :mod:`pyg_vig.native`, :mod:`pyg_vig.triton_kernels`: kernels for CPUs and GPUs
"""

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
