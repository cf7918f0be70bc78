"""Draw the figures of the documentation into docs/figures: `python scripts/figures.py --data DATA --weights RUNS`.

The photographs come from scikit-image. RUNS holds photos.safetensors and photos_attention.safetensors, both from
scripts/photo_network.py (the second with --conv cross_attention). DATA holds coco/ as that script reads it, and
ModelNet10/test.npz. Without these options, only the figures that need neither are drawn: superpixels and diversity.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from photo_network import LabeledPhotos, evaluation_transform
from skimage import data as photographs
from torch import Tensor
from torchvision import tv_tensors

import pyg_vig
from pyg_vig import analysis, plot
from pyg_vig.models import VisionGNN
from pyg_vig.models.record import RecordedGraphs
from pyg_vig.transforms import PointsToGraph, ToSuperpixels

PHOTOS = ("chelsea", "coffee", "astronaut", "rocket")
POINTS = {  # two patches per photograph, as fractions of height and width
    "chelsea": [(0.42, 0.32), (0.9, 0.12)],
    "coffee": [(0.35, 0.5), (0.9, 0.2)],
    "astronaut": [(0.22, 0.42), (0.8, 0.55)],
    "rocket": [(0.35, 0.5), (0.1, 0.85)],
}
GRID = 14
BLOCKS = (0, 5, 11)


@dataclass(frozen=True)
class Sources:
    """Folders of the data and the trained networks."""

    data: Path | None
    weights: Path | None

    def network(self, name: str) -> tuple[VisionGNN, str]:
        """Load a trained network, with a description for the figure."""
        path = self.weights / f"{name}.safetensors"
        metadata = json.loads(path.with_suffix(".json").read_text())
        conv, crops = metadata["conv"].replace("_", "-"), f"{metadata['crops']:,} crops of 22 COCO images"
        description = f"ViG with 12 blocks and {conv} conv, trained to classify patches\n({crops}, supercategories)"
        return pyg_vig.load_model(path).eval(), description


def load_photo(name: str) -> Tensor:
    """Load a photograph of scikit-image as input for the networks, ``(3, 224, 224)``."""
    image = torch.from_numpy(getattr(photographs, name)()).permute(2, 0, 1)
    return evaluation_transform()(tv_tensors.Image(image)).as_subclass(Tensor)


def denormalize(image: Tensor) -> Tensor:
    return (image + 1) / 2


@torch.no_grad()
def record(model: VisionGNN, images: Tensor) -> RecordedGraphs:
    with pyg_vig.record_graphs(model) as graphs:
        model(images)
    return graphs


def patch_positions(name: str) -> list[tuple[int, int]]:
    return [(int(y * GRID), int(x * GRID)) for y, x in POINTS[name]]


def neighbors(sources: Sources) -> Figure:
    model, description = sources.network("photos")
    images = torch.stack([load_photo(name) for name in PHOTOS])
    points = [POINTS[name] for name in PHOTOS]
    return plot.plot_blocks(model, images, blocks=BLOCKS, points=points, title=description, panel=1.9)


def edges(sources: Sources) -> Figure:
    model, description = sources.network("photos")
    figure, axes = plt.subplots(2, 3, figsize=(7.8, 5.6), layout="constrained")
    for row, name in zip(axes, ("chelsea", "rocket"), strict=True):
        graphs = record(model, load_photo(name)[None])
        for ax, block in zip(row, BLOCKS, strict=True):
            plot.plot_edges(denormalize(load_photo(name)), graphs[block], graphs.layouts[block], ax=ax)
            ax.collections[0].set_clim(0, 224)
            ax.set_title(f"block {block + 1}: {graphs[block].size(1) - GRID**2:,} edges", fontsize=10)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.6, label="edge length (pixels)")
    figure.suptitle(description, fontsize=11)
    return figure


def attention(sources: Sources) -> Figure:
    model, description = sources.network("photos_attention")
    figure, axes = plt.subplots(2, 3, figsize=(8.4, 7.0), layout="constrained")
    for row, name in zip(axes, ("chelsea", "astronaut"), strict=True):
        blocks = analysis.attention_weights(model, load_photo(name)[None])
        for ax, number in zip(row, BLOCKS, strict=True):
            block = blocks[number]
            image, patches = denormalize(load_photo(name)), patch_positions(name)
            plot.plot_attention(image, block.edge_index, block.alpha, block.layout, patches, ax=ax)
            if name == "chelsea":
                ax.set_title(f"block {number + 1}", fontsize=10)
    figure.suptitle(description, fontsize=11)
    figure.supxlabel(
        "star: a patch; lines: neighbours, thicker for larger weights; below: range of weights", fontsize=9
    )
    return figure


def similarity(sources: Sources) -> Figure:
    model, description = sources.network("photos_attention")
    image, points = load_photo("rocket"), POINTS["rocket"]
    return plot.plot_similarities(model, image, points=points, blocks=(0, 3, 7, 11), title=description)


def superpixels(sources: Sources) -> Figure:
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
    for ax, name in zip(axes, PHOTOS, strict=True):
        image = denormalize(load_photo(name))
        graph = ToSuperpixels(n_segments=120, keep_segmentation=True)(image)
        plot.plot_superpixels(image, graph, ax=ax)
        ax.set_title(f"{graph.num_nodes} superpixels, {graph.num_edges // 2} adjacent pairs", fontsize=10)
    return figure


def points(sources: Sources) -> Figure:
    with np.load(sources.data / "ModelNet10" / "test.npz") as file:
        clouds, labels, names = file["pos"], file["y"], [str(name) for name in file["classes"]]
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), subplot_kw={"projection": "3d"}, layout="constrained")
    for ax, name in zip(axes, ("chair", "toilet", "monitor", "table"), strict=True):
        cloud = torch.from_numpy(clouds[labels == names.index(name)][3]).float()
        targets = (cloud.amax(0), cloud.amin(0), cloud.mean(0))
        centers = [int((cloud - target).norm(dim=1).argmin()) for target in targets]
        plot.plot_points(PointsToGraph(k=16)(cloud), centers=centers, size=6, ax=ax)
        ax.view_init(elev=18, azim=-60)
        ax.set_title(f"{name}: 512 points, 16 neighbours each", fontsize=10)
    return figure


def layers(sources: Sources) -> Figure:
    model, description = sources.network("photos")
    torch.manual_seed(0)
    untrained = pyg_vig.create_model("vig_ti", channels=96, num_classes=1)
    held_out = LabeledPhotos(sources.data / "coco", "val2017")
    pairs = [evaluation_transform()(*held_out[i]) for i in range(len(held_out))]
    images, masks = (torch.stack([pair[i].as_subclass(Tensor) for pair in pairs]) for i in range(2))
    graphs = {"trained": record(model, images), "random weights": record(untrained.eval(), images)}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    plot.plot_purity(graphs, masks, ax=axes[0])
    plot.plot_edge_length(graphs, (224, 224), ax=axes[1])
    figure.suptitle(f"{description}; {len(images)} other images, bands: interquartile range", fontsize=11)
    return figure


def diversity(sources: Sources) -> Figure:
    images = torch.stack([load_photo(name) for name in PHOTOS])
    plain = {"grapher_fc": False, "ffn": False}
    models = {}
    for name, options in {
        "ViG-Ti": {},
        "ResGCN: same conv and graph, no FC, no FFN": plain,
        "ResGCN without batch norm": plain | {"norm": None},
        "ResGCN without batch norm, with GCNConv": plain | {"norm": None, "conv": "GCNConv"},
    }.items():
        torch.manual_seed(0)
        models[name] = pyg_vig.create_model("vig_ti", **options).train()
    if sources.weights is not None:
        models["ViG with half the channels, trained on COCO crops"] = sources.network("photos")[0]
    figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    plot.plot_diversity(models, images, ax=ax)
    ax.set_ylim(0, 1)
    ax.set_title("Four photographs (224 x 224); untrained networks use batch statistics", fontsize=9)
    return figure


def hubs(sources: Sources) -> Figure:
    model, description = sources.network("photos")
    graphs, image = record(model, load_photo("astronaut")[None]), denormalize(load_photo("astronaut"))
    figure, axes = plt.subplots(1, 4, figsize=(13.6, 3.9), width_ratios=(1.2, 1.2, 1.2, 1), layout="constrained")
    for ax, block in zip(axes, BLOCKS, strict=False):
        plot.plot_hubs(image, graphs[block], graphs.layouts[block], ax=ax)
        statistics = analysis.graph_statistics(analysis.to_networkx(graphs[block], graphs.layouts[block]))
        figure.colorbar(ax.images[1], ax=ax, shrink=0.8)
        ax.set_title(f"block {block + 1}", fontsize=10)
        count = len(statistics.components)
        components = f"{count} component{'' if count == 1 else 's'}"
        ax.set_xlabel(f"{components}; {statistics.reciprocity:.0%} of edges reciprocal")
    counts = {f"block {block + 1}": analysis.times_chosen(graphs[block], GRID**2) for block in BLOCKS}
    plot.plot_degrees(counts, ax=axes[3])
    figure.suptitle(f"Number of patches that have each patch as a neighbour. {description}", fontsize=11)
    return figure


FIGURES: dict[str, Callable[[Sources], Figure]] = {
    "neighbors_photos": neighbors,
    "edges": edges,
    "attention": attention,
    "similarity": similarity,
    "superpixels": superpixels,
    "points": points,
    "layers": layers,
    "diversity": diversity,
    "hubs": hubs,
}
NEED_NO_DATA = ("superpixels", "diversity")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"figures to draw (default: all possible): {', '.join(FIGURES)}")
    parser.add_argument("--data", type=Path, help="folder with coco/ and ModelNet10/")
    parser.add_argument("--weights", type=Path, help="folder with the trained networks")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    options = parser.parse_args()
    possible = [name for name in FIGURES if (options.data and options.weights) or name in NEED_NO_DATA]
    for name in options.names:
        if name not in possible:
            needs = "needs --data and --weights" if name in FIGURES else f"is no figure: choose {', '.join(FIGURES)}"
            parser.error(f"{name} {needs}")
    matplotlib.use("Agg")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.names or possible:
        save(FIGURES[name](Sources(options.data, options.weights)), options.output / f"{name}.png")
        print(options.output / f"{name}.png")


if __name__ == "__main__":
    main()
