"""Explain image predictions: `python examples/explain_images.py --picture explained.png`.

A GraphEncoder with cross-attention on graphs of image patches, explained by three of PyG's explainers: which pixels and
edges the prediction relies on (GNNExplainer), how much each pixel contributes to it (Captum's integrated gradients),
and which patches attend to which (AttentionExplainer). Prints PyG's summary of the network, its accuracy, and how often
the prediction is unchanged when only the most important tenth of the pixels is kept, and when that tenth is removed.
Data: scikit-learn's handwritten digits or, with --root, torchvision's Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from arguments import at_least
from superpixels import accuracy, load_images, train
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, Explanation
from torch_geometric.explain.algorithm import AttentionExplainer, CaptumExplainer, GNNExplainer
from torch_geometric.nn import summary

from pyg_vig.nn import GraphEncoder
from pyg_vig.plot import plot_explanation
from pyg_vig.transforms import ImageGraphDataset, ImageToGraph, to_image

PUBLISHED = "ResNet-18 on the pixels 94.9 (Fashion-MNIST's README)"


def explainers(model: GraphEncoder) -> dict[str, Explainer]:
    """Configure the three explainers."""
    config = {"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"}
    pixels, edges = {"node_mask_type": "attributes"}, {"edge_mask_type": "object"}
    algorithms = {
        "GNNExplainer": (GNNExplainer(epochs=100), pixels | edges),
        "integrated gradients": (CaptumExplainer("IntegratedGradients", n_steps=20), pixels),
        "attention": (AttentionExplainer(), edges),
    }
    return {
        name: Explainer(model, algorithm, explanation_type="model", model_config=config, **masks)
        for name, (algorithm, masks) in algorithms.items()
    }


@torch.no_grad()
def prediction_unchanged(model: GraphEncoder, data: Data, explanation: Explanation, share: float = 0.1) -> Tensor:
    """Whether the prediction is unchanged with only the most important pixels, and without them."""
    strength = explanation.node_mask.abs()
    strongest = strength >= strength.flatten().topk(round(share * strength.numel())).values[-1]
    without_strongest = data.x.masked_fill(strongest, data.x.min())
    only_strongest = data.x.masked_fill(~strongest, data.x.min())
    prediction, *others = (model(x, data.edge_index).argmax() for x in (data.x, only_strongest, without_strongest))
    return torch.stack([other == prediction for other in others])


def draw_explanations(graphs: list[Data], explained: dict[str, list[Explanation]], file: Path) -> None:
    """Draw the explanations, with a row for every explainer and a column for every image."""
    size = (2 * len(graphs), 2 * len(explained) + 0.3)
    figure, axes = plt.subplots(len(explained), len(graphs), figsize=size, squeeze=False, layout="constrained")
    for row, (name, explanations) in zip(axes, explained.items(), strict=True):
        row[0].set_ylabel(name)
        for ax, data, explanation in zip(row, graphs, explanations, strict=True):
            plot_explanation(to_image(data), data, explanation, edges=30, ax=ax)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="root of torchvision's FashionMNIST (default: scikit-learn's digits)")
    parser.add_argument("--images", type=at_least(5), default=1797, help="number of images")
    parser.add_argument("--epochs", type=at_least(1), default=15)
    parser.add_argument("--explain", type=at_least(1), default=5, help="number of test images to explain")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the explanations into this file")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    to_graph = ImageToGraph(4, graph="grid")
    with tempfile.TemporaryDirectory() as folder:
        training, test = (
            ImageGraphDataset(folder, part, to_graph, log=False)
            for part in load_images(options.root, options.images, options.images)
        )
    model = GraphEncoder(16, 32, 10, depth=3, conv="cross_attention", pool="max")
    train(model, training, options.epochs)
    print(summary(model.eval(), test[0].x, test[0].edge_index, max_depth=2))
    print(f"{'Fashion-MNIST' if options.root else 'digits'}: test accuracy {accuracy(model, test):.1%}")
    if options.root:
        print(f"published, trained on all 60,000: {PUBLISHED}")
    graphs = [test[i] for i in range(min(options.explain, len(test)))]
    explained = {}
    for name, explainer in explainers(model).items():
        explained[name] = [explainer(data.x, data.edge_index) for data in graphs]
        if explained[name][0].get("node_mask") is not None:
            pairs = zip(graphs, explained[name], strict=True)
            kept, removed = torch.stack([prediction_unchanged(model, *pair) for pair in pairs]).double().mean(0)
            print(f"{name}: prediction unchanged with only the strongest pixels {kept:.0%}, without them {removed:.0%}")
    if options.picture:
        draw_explanations(graphs, explained, options.picture)


if __name__ == "__main__":
    main()
