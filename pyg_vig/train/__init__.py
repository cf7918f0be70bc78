"""Training and evaluation with Lightning (``pip install 'pyg-vig[train,images,plot]'``)."""

from pyg_vig.train.classification import Classification
from pyg_vig.train.config import RunConfig
from pyg_vig.train.data import ImageData
from pyg_vig.train.datasets import Splits, load_splits
from pyg_vig.train.evaluation import Result, evaluate
from pyg_vig.train.run import Run

__all__ = [
    "Classification",
    "ImageData",
    "Result",
    "Run",
    "RunConfig",
    "Splits",
    "evaluate",
    "load_splits",
]
