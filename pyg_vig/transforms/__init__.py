"""Transforms from images and point clouds to PyG graphs, and back to images."""

from pyg_vig.transforms.image_dataset import ImageGraphDataset, to_image_dataset
from pyg_vig.transforms.image_to_graph import ImageToGraph
from pyg_vig.transforms.images import to_image
from pyg_vig.transforms.points_to_graph import PointsToGraph
from pyg_vig.transforms.to_superpixels import ToSuperpixels

__all__ = [
    "ImageGraphDataset",
    "ImageToGraph",
    "PointsToGraph",
    "ToSuperpixels",
    "to_image",
    "to_image_dataset",
]
