from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, Explanation
from torch_geometric.explain.algorithm import AttentionExplainer, CaptumExplainer, GNNExplainer

from pyg_vig.nn import GraphEncoder
from pyg_vig.plot import importance_map, plot_explanation
from pyg_vig.transforms import ImageToGraph, ToSuperpixels, to_image

CLASSIFIER = {"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"}


def patches(image: torch.Tensor) -> Data:
    return ImageToGraph(4, graph="grid")(image)


def explainer(model: torch.nn.Module, algorithm: object, **masks: str) -> Explainer:
    return Explainer(model, algorithm, explanation_type="model", model_config=CLASSIFIER, **masks)


class TestImportanceMap:
    def test_one_value_a_patch(self) -> None:
        data, mask = patches(torch.rand(1, 8, 12)), torch.zeros(6, 1)
        mask[4] = -2
        assert importance_map(data, Explanation(node_mask=mask)).tolist() == [[0, 0, 0], [0, 2, 0]]

    def test_one_value_a_pixel(self) -> None:
        image = torch.randn(3, 8, 12)
        mask = patches(image).x
        torch.testing.assert_close(importance_map(patches(image), Explanation(node_mask=mask)), image.abs().sum(0))

    def test_superpixels(self) -> None:
        pytest.importorskip("skimage")
        data = ToSuperpixels(n_segments=6, keep_segmentation=True)(torch.rand(3, 16, 16))
        mask = torch.rand(data.num_nodes, 2)
        expected = mask.sum(1)[data.segmentation[0]]
        torch.testing.assert_close(importance_map(data, Explanation(node_mask=mask)), expected)

    def test_what_does_not_fit(self) -> None:
        data = patches(torch.rand(1, 8, 12))
        with pytest.raises(ValueError, match=r"node mask with 6 rows, got None"):
            importance_map(data, Explanation(edge_mask=torch.rand(6)))
        with pytest.raises(ValueError, match=r"6 rows, got \(5, 1\)"):
            importance_map(data, Explanation(node_mask=torch.rand(5, 1)))
        with pytest.raises(ValueError, match="expected nodes that are patches or superpixels"):
            importance_map(Data(x=torch.rand(6, 2)), Explanation(node_mask=torch.rand(6, 1)))


class TestPlot:
    def test_strongest_edges_join_the_centres_of_their_patches(self) -> None:
        image, (_, ax) = torch.rand(1, 8, 12), plt.subplots()
        edges = torch.tensor([[0, 1, 2, 3, 5], [1, 1, 5, 0, 4]])
        mask = torch.tensor([0.5, 9.0, 1.0, 0.1, 0.0])  # the second is a loop, the last has zero weight
        explanation = Explanation(edge_index=edges, edge_mask=mask)
        assert plot_explanation(image, patches(image), explanation, edges=4, ax=ax) is ax
        (lines,) = ax.collections
        segments = [segment.tolist() for segment in lines.get_segments()]
        assert segments == [[[10, 2], [10, 6]], [[2, 2], [6, 2]], [[2, 6], [2, 2]]]
        np.testing.assert_allclose(lines.get_linewidths(), [3.0, 1.5, 0.3], rtol=1e-6)

    def test_node_mask_lies_over_the_image(self) -> None:
        image, mask = torch.rand(3, 8, 12), torch.rand(6, 1)
        ax = plot_explanation(image, patches(image), Explanation(node_mask=mask))
        picture, overlay = ax.images
        assert picture.get_extent() == overlay.get_extent() == [0, 12, 8, 0]
        np.testing.assert_allclose(overlay.get_array(), mask.view(2, 3))
        assert not ax.collections

    def test_no_masks_or_one_that_does_not_fit(self) -> None:
        image = torch.rand(1, 8, 12)
        with pytest.raises(ValueError, match="expected a node mask or an edge mask, got neither"):
            plot_explanation(image, patches(image), Explanation())
        with pytest.raises(ValueError, match=r"edge mask for \d+ edges, got \(3,\)"):
            plot_explanation(image, patches(image), Explanation(edge_mask=torch.rand(3)))


class TestWithExplainers:
    """Explain a network on an image graph with PyG and plot the explanation."""

    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))

    def model(self, conv: str) -> GraphEncoder:
        return GraphEncoder(16, 8, 3, depth=2, conv=conv).eval()

    @pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention", "GATv2Conv"])
    def test_gnn_explainer(self, conv: str) -> None:
        data = patches(self.image)
        masks = {"node_mask_type": "attributes", "edge_mask_type": "object"}
        explanation = explainer(self.model(conv), GNNExplainer(epochs=3), **masks)(data.x, data.edge_index)
        ax = plot_explanation(to_image(data), data, explanation)
        assert ax.images[1].get_array().shape == (16, 16)
        assert 0 < len(ax.collections[0].get_segments()) <= 40

    @pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")  # captum, about PyG's call
    def test_captum_gives_input_times_gradient_where_it_belongs(self) -> None:
        pytest.importorskip("captum")
        model, data = self.model("max_relative"), patches(self.image)
        algorithm = CaptumExplainer("InputXGradient")
        explanation = explainer(model, algorithm, node_mask_type="attributes")(data.x, data.edge_index)
        x = data.x.clone().requires_grad_()
        model(x, data.edge_index).max().backward()
        expected = to_image(Data(x=(x * x.grad).detach().abs(), grid=data.grid, pos=data.pos))[0]
        torch.testing.assert_close(importance_map(data, explanation), expected)

    @pytest.mark.parametrize("conv", ["cross_attention", "GATv2Conv"])
    def test_attention_follows_the_order_of_the_given_edges(self, conv: str) -> None:
        model, data = self.model(conv), patches(self.image)
        shuffled = torch.randperm(data.num_edges)
        algorithm = explainer(model, AttentionExplainer(), edge_mask_type="object")
        expected = algorithm(data.x, data.edge_index).edge_mask
        given = algorithm(data.x, data.edge_index[:, shuffled]).edge_mask
        assert expected.unique().numel() > 10
        torch.testing.assert_close(given, expected[shuffled])

    def test_attention_is_the_largest_weight_of_the_blocks(self) -> None:
        model, data = self.model("cross_attention"), patches(self.image)
        convs, inputs = [block.grapher.conv for block in model.blocks], []
        handles = [conv.register_forward_pre_hook(lambda conv, args: inputs.append(args[0])) for conv in convs]
        model(data.x, data.edge_index)
        for handle in handles:
            handle.remove()
        weights = [
            conv(x, data.edge_index, return_attention_weights=True)[1][1] for conv, x in zip(convs, inputs, strict=True)
        ]
        algorithm = explainer(model, AttentionExplainer(), edge_mask_type="object")
        mask = algorithm(data.x, data.edge_index).edge_mask
        torch.testing.assert_close(mask, torch.stack(weights).amax(0).squeeze(1).detach())


def test_a_batch_of_several_graphs_has_no_map():
    data = Batch.from_data_list([ImageToGraph(8, graph="grid")(torch.rand(3, 16, 16))] * 2)
    with pytest.raises(ValueError, match=r"expected one graph, got a batch of 2"):
        importance_map(data, Explanation(node_mask=torch.rand(8, 1)))
