from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch_geometric.data import Batch, Data

import pyg_vig
from pyg_vig.graph import grid_graph
from pyg_vig.models import FeatureExtractor
from pyg_vig.nn import GroupedLinear

SMALL = {
    "vig": ("vig_nano", {"depth": 3, "channels": 32}, 32),
    "patch": ("vig_nano", {"depth": 3, "channels": 32, "stem": "patch"}, 32),
    "pyramid": ("pvig_ti", {"depths": (1, 1, 2, 1), "channels": (16, 24, 32, 48), "image_size": 128, "k": 4}, 128),
}


@pytest.fixture(params=SMALL)
def network(request):
    torch.manual_seed(0)
    name, overrides, size = SMALL[request.param]
    model = pyg_vig.create_model(name, num_classes=5, **overrides).double()
    with torch.no_grad():
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        if model.position is not None:
            model.position.weight.normal_()
    return model.eval(), size


def images(count, size, width=None):
    return torch.rand(count, 3, size, width or size, dtype=torch.float64)


def test_a_batch_gives_what_its_images_give_one_by_one(network):
    model, size = network
    batch = images(3, size)
    single = torch.cat([model(image.unsqueeze(0)) for image in batch])
    torch.testing.assert_close(model(batch), single, rtol=1e-9, atol=1e-9)


def test_other_input_sizes(network):
    model, size = network
    assert model(images(2, size + 32, size + 64)).shape == (2, 5)
    assert model(images(1, 2 * size, size)).isfinite().all()


def test_timm_methods(network):
    model, size = network
    batch = images(2, size)
    features = model.forward_features(batch)
    assert features.shape[:2] == (2, model.num_features)
    torch.testing.assert_close(model.forward_head(features), model(batch))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.get_classifier().out_features == 5
    last, maps = model.forward_intermediates(batch)
    assert torch.equal(last, features)
    assert [m.shape[1] for m in maps] == [info["num_chs"] for info in model.feature_info]
    assert [size // m.shape[2] for m in maps] == [info["reduction"] for info in model.feature_info]
    torch.testing.assert_close(maps[-1], features)
    model.reset_classifier(11)
    assert model(batch).shape == (2, 11)
    assert model.num_classes == model.config.num_classes == 11
    model.reset_classifier(0, "avg")
    assert model(batch).shape == (2, model.head_hidden_size)
    with pytest.raises(ValueError, match=r"global_pool must be 'avg' or None .*, got 'max'"):
        model.reset_classifier(3, "max")


def test_intermediates_are_chosen_as_in_timm(network):
    model, size = network
    batch, count = images(1, size), len(model.stages)
    last, every = model.forward_intermediates(batch)
    for indices, expected in ((1, every[-1:]), (2, every[-2:]), ((0, -1), [every[0], every[-1]])):
        for stop_early in (False, True):
            final, found = model.forward_intermediates(batch, indices, stop_early=stop_early)
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
            assert torch.equal(final, last)
    final, found = model.forward_intermediates(batch, (0,), stop_early=True)
    assert torch.equal(final, found[0])
    assert len(model.forward_intermediates(batch, intermediates_only=True)) == count
    for indices in ((count,), (-count - 1,), (), 0, count + 1):
        with pytest.raises(ValueError, match=rf"at least one stage, each in \[-{count}, {count - 1}\]"):
            model.forward_intermediates(batch, indices)
    with pytest.raises(ValueError, match="'NCHW', got 'NLC'"):
        model.forward_intermediates(batch, output_fmt="NLC")


def test_pruned_to_the_stages_whose_maps_are_wanted():
    name, overrides, size = SMALL["pyramid"]
    model, batch = pyg_vig.create_model(name, **overrides).double().eval(), images(2, size)
    expected = model.forward_intermediates(batch, (0, 1), intermediates_only=True)
    head = model.head
    assert model.prune_intermediate_layers((0, -3), prune_head=False) == [0, 1]
    assert len(model.stages) == 2
    assert model.head is head
    assert model.prune_intermediate_layers(2) == [0, 1]
    torch.testing.assert_close(model.forward_intermediates(batch, intermediates_only=True), expected)
    assert model(batch).shape == (2, 24)


def test_feature_maps_leave_the_network_as_it_is(network):
    model, size = network
    batch = images(1, size)
    scores, parts = model(batch), dict(model.named_modules())
    extractor = FeatureExtractor(model, [0])
    torch.testing.assert_close(extractor(batch), model.forward_intermediates(batch, (0,))[1], rtol=0, atol=0)
    assert len(extractor.model.stages) == 1
    assert torch.equal(model(batch), scores)
    assert dict(model.named_modules()) == parts
    assert extractor.model.stem is model.stem
    for indices in ((), (9,), 0):
        with pytest.raises(ValueError, match="out_indices must contain at least one stage"):
            FeatureExtractor(model, indices)


def test_fuse_gives_the_same_and_leaves_the_network_alone(network):
    model, size = network
    before = copy.deepcopy(model.state_dict())
    fused = model.train().fuse()
    batch = images(2, size)
    torch.testing.assert_close(fused(batch), model.eval()(batch), rtol=1e-9, atol=1e-9)
    assert not any(p.requires_grad for p in fused.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_gradient_checkpointing_gives_the_same_gradients(network):
    model, size = network
    batch = images(2, size)
    first = next(module for module in model.stages.modules() if isinstance(module, nn.BatchNorm1d))
    first.momentum = None  # cumulative average over all batches
    for training in (False, True):
        plain, checkpointed = copy.deepcopy(model.train(training)), copy.deepcopy(model.train(training))
        checkpointed.set_grad_checkpointing(True)
        for twin in (plain, checkpointed):
            twin(batch).square().sum().backward()
        for mine, theirs in zip(plain.parameters(), checkpointed.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)
        torch.testing.assert_close(dict(plain.named_buffers()), dict(checkpointed.named_buffers()), rtol=0, atol=0)
        assert all(int(count) == training for name, count in plain.named_buffers() if name.endswith("tracked"))


def test_eval_and_no_grad_take_the_same_path(network):
    model, size = network
    batch = images(2, size)
    with torch.inference_mode():
        inference = model(batch)
    torch.testing.assert_close(model(batch).detach(), inference.clone())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vig_nano", "pvig_ti"])
def test_compiles_without_a_graph_break(name):
    torch._dynamo.reset()
    shape = {"depth": 2} if name == "vig_nano" else {"depths": (1, 1), "channels": (16, 24), "reductions": (2, 1)}
    model = pyg_vig.create_model(name, image_size=32, k=4, **shape).eval()
    batch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(batch)
        actual = torch.compile(model, fullgraph=True)(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def patch_graph(image, patch, with_edges):
    height, width = image.shape[1] // patch, image.shape[2] // patch
    x = F.pixel_unshuffle(image.unsqueeze(0), patch)[0].flatten(1).T
    edges = grid_graph(height, width).as_tensor() if with_edges else None
    return Data(x=x, grid=torch.tensor([[height, width]]), edge_index=edges)


@pytest.mark.parametrize("graph", ["knn", "given"])
def test_a_pyg_batch_of_patches_gives_what_the_images_give(graph):
    torch.manual_seed(0)
    options = {"depth": 3, "stem": "patch"} | ({"dilated": True, "k": 4} if graph == "knn" else {})
    model = pyg_vig.create_model("vig_nano", graph=graph, **options).double().eval()
    torch.nn.init.normal_(model.position.weight)
    of_images = pyg_vig.create_model("vig_nano", graph="knn" if graph == "knn" else "grid", **options).double().eval()
    of_images.load_state_dict(model.state_dict())
    sizes = [(32, 32), (48, 24), (20, 64)]
    pictures = [torch.rand(3, *size, dtype=torch.float64) for size in sizes]
    batch = Batch.from_data_list([patch_graph(picture, 4, True) for picture in pictures])
    expected = torch.cat([of_images(picture.unsqueeze(0)) for picture in pictures])
    torch.testing.assert_close(model(batch), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(patch_graph(pictures[0], 4, True)), expected[:1], rtol=1e-9, atol=1e-9)


def test_wrong_inputs_say_what_to_change():
    model = pyg_vig.create_model("vig_nano", depth=2).eval()
    with pytest.raises(ValueError, match="add the batch dimension"):
        model(torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match="in_channels=1"):
        model(torch.rand(2, 1, 32, 32))
    with pytest.raises(ValueError, match="stem='patch'"):
        model(patch_graph(torch.rand(3, 32, 32), 4, True))
    with pytest.raises(ValueError, match="k=6 neighbours requested from a graph with 4 nodes"):
        model(torch.rand(1, 3, 8, 8))
    patches = pyg_vig.create_model("vig_nano", depth=2, stem="patch", graph="given").eval()
    with pytest.raises(ValueError, match="multiples of patch_size=4, got 30 x 32"):
        patches(torch.rand(1, 3, 30, 32))
    with pytest.raises(ValueError, match="needs an edge_index"):
        patches(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="ImageToGraph"):
        patches(patch_graph(torch.rand(3, 32, 32), 8, True))
    data = patch_graph(torch.rand(3, 32, 32), 4, True)
    del data.grid
    with pytest.raises(ValueError, match="position=False"):
        patches(data)


def test_group_matcher_covers_every_parameter():
    from timm.models import group_parameters

    model = pyg_vig.create_model("pvig_ti", depths=(1, 1, 1, 1))
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert len(groups) == len(list(model.parameters()))


@pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention"])
def test_function_transforms(conv):
    torch.manual_seed(0)
    model = pyg_vig.create_model("vig_nano", conv=conv, num_classes=3).double().eval()
    images, direction = torch.rand(2, 1, 3, 32, 32, dtype=torch.float64).unbind()
    names, parameters = zip(*model.named_parameters(), strict=True)

    def loss(parameters, images):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (images,)).sum()

    images.requires_grad_()
    expected = torch.autograd.grad(loss(parameters, images), (*parameters, images))
    of_parameters, of_images = torch.func.grad(loss, argnums=(0, 1))(parameters, images)
    torch.testing.assert_close((*of_parameters, of_images), expected)
    _, slope = torch.func.jvp(lambda x: loss(parameters, x), (images.detach(),), (direction,))
    torch.testing.assert_close(slope, (expected[-1] * direction).sum())


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", ["vig_nano", "pvig_ti", "greedyvig_s", "mobilevig_ti", "attention_vig_s"])
def test_a_batch_of_no_images(name):
    model = pyg_vig.create_model(name).eval()
    batch = torch.rand(0, 3, model.config.image_size, model.config.image_size)
    assert model(batch).shape == (0, model.num_classes)
    assert model.fuse()(batch).shape == (0, model.num_classes)


def test_images_in_bytes_are_refused():
    with pytest.raises(ValueError, match="floating point and normalised, got"):
        pyg_vig.create_model("vig_nano", depth=1)(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("changed", [weight_norm, lambda layer: prune.random_unstructured(layer, "weight", 0.5)])
@pytest.mark.parametrize("name", ["vig_nano", "mobilevig_ti"])
def test_fused_of_weights_that_are_computed(name, changed):
    model = pyg_vig.create_model(name).eval()
    for module in list(model.modules()):
        if isinstance(module, GroupedLinear | nn.Conv2d):
            changed(module)
    batch = torch.rand(1, 3, model.config.image_size, model.config.image_size)
    with torch.no_grad():
        expected = model(batch)
        torch.testing.assert_close(model.fuse()(batch), expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(model(batch), expected)


@pytest.mark.parametrize("name", ["vig_nano", "pvig_ti", "mobilevig_ti", "attention_vig_s"])
def test_on_the_meta_device(name):
    model = pyg_vig.create_model(name).to("meta").eval()
    side = model.config.image_size
    assert model(torch.rand(2, 3, side, side, device="meta")).shape == (2, model.num_classes)


@pytest.mark.parametrize("name", ["vig_nano", "mobilevig_ti"])
def test_per_image_gradients(name):
    """Per-sample gradients with torch.func, as used for differential privacy."""
    model = pyg_vig.create_model(name, image_size=64).double().eval()
    weights, batch = dict(model.named_parameters()), images(2, 64)

    def loss(weights, image):
        return torch.func.functional_call(model, weights, image.unsqueeze(0)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, batch)["stem.convs.0.conv.weight"]
    for image, found in zip(batch, each, strict=True):
        (expected,) = torch.autograd.grad(loss(weights, image), weights["stem.convs.0.conv.weight"])
        torch.testing.assert_close(found, expected)
