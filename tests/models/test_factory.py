from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GATv2Conv

import pyg_vig
from pyg_vig.graph import GridGraph, KNNGraph, SVGAGraph
from pyg_vig.models import get_config

PARAMETERS = {  # trainable, counted from the official code
    "vig_ti": 7_184_744,
    "vig_s": 22_747_752,
    "vig_b": 86_841_832,
    "pvig_ti": 10_714_376,
    "pvig_s": 27_251_912,
    "pvig_m": 49_525_832,
    "pvig_b": 92_980_328,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_exactly_the_official_ones(name):
    with torch.device("meta"):
        model = pyg_vig.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("conv", "isotropic", "pyramid"),
    [
        ("edge", 7_184_744, 10_714_376),
        ("sage", 7_302_248, 10_887_752),
        ("gin", 6_963_572, 10_382_612),
    ],
)
def test_parameters_with_the_other_convs(conv, isotropic, pyramid):
    for name, expected in (("vig_ti", isotropic), ("pvig_ti", pyramid)):
        assert sum(p.numel() for p in pyg_vig.create_model(name, conv=conv).parameters()) == expected


def tiny(**overrides):
    neighbors = {} if "graph" in overrides else {"k": 4}
    return pyg_vig.create_model("vig_nano", **({"depth": 2, "channels": 32} | neighbors | overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        {"num_classes": 7},
        {"conv": "mr", "norm": None, "bias": False},
        {"conv": "edge", "act": "relu"},
        {"conv": "sage", "act": "leaky_relu"},
        {"conv": "gin", "act": "hardswish"},
        {"conv": "GATv2Conv"},
        {"conv": "TransformerConv"},
        {"conv": GATv2Conv},
        {"conv": lambda i, o: GATConv(i, o, heads=4, concat=False)},
        {"graph": "grid"},
        {"graph": GridGraph(4)},
        {"graph": lambda: GridGraph(4)},
        {"k": (3, 5)},
        {"dilated": False, "epsilon": 0.2},
        {"grapher_fc": False},
        {"ffn": False},
        {"position": False, "drop_rate": 0.1, "drop_path_rate": 0.1, "heads": 2},
        {"stem": "patch"},
        {"distilled": True},
    ],
    ids=lambda overrides: re.sub(" at 0x[0-9a-f]+", "", str(overrides)),  # the same in every process
)
def test_any_field_can_be_overridden_and_the_network_trains(overrides):
    torch.manual_seed(0)
    model = tiny(**overrides)
    out = model(torch.rand(3, 3, 32, 32))
    for scores in out if isinstance(out, tuple) else (out,):
        assert scores.shape == (3, overrides.get("num_classes", 10))
    loss = sum(s.logsumexp(-1).sum() for s in out) if isinstance(out, tuple) else out.logsumexp(-1).sum()
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without
    assert model.eval()(torch.rand(1, 3, 32, 32)).isfinite().all()


def test_pyramid_takes_convs_that_accept_pairs():
    model = pyg_vig.create_model("pvig_ti", depths=(1, 1, 1, 1), conv="GATv2Conv").eval()
    assert model(torch.rand(1, 3, 64, 96).repeat(1, 1, 4, 4)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("vig_tiny", {}, "did you mean"),
        ("resnet50", {}, r"unknown model 'resnet50'\. Available"),
        ("vig_ti", {"blocks": 3}, "no option 'blocks': valid ones are .*depth"),
        ("vig_ti", {"conv": "NoConv"}, "unknown conv 'NoConv'"),
        ("vig_ti", {"graph": "tree"}, "unknown graph 'tree'"),
        ("vig_ti", {"act": "step"}, "unknown activation 'step'"),
        ("vig_ti", {"norm": "instance"}, "unknown norm 'instance'"),
        ("vig_ti", {"heads": 5}, "heads .* must divide"),
        ("vig_ti", {"depth": 0}, "depth must be at least 1, got 0"),
        ("vig_ti", {"k": (9, 9)}, r"k must be an integer, or one per block \(12\), got 2 values"),
        ("vig_ti", {"patch_size": 12}, "power of two, got 12"),
        ("vig_ti", {"drop_path_rate": 1.5}, "drop_path_rate must be a probability"),
        ("pvig_ti", {"depths": (1, 1)}, r"of the same length, got \(4, 2, 4\)"),
        ("pvig_ti", {"conv": "GCNConv"}, "pair"),
        ("pvig_ti", {"channels": 48}, "channels must be one integer per stage, each at least 1, got 48"),
        ("pvig_ti", {"depths": ((1, 0),) * 4}, "depths must be one integer per stage"),
        ("pvig_ti", {"reductions": (0, 2, 1, 1)}, r"reductions must be .* at least 1, got \(0, 2, 1, 1\)"),
        ("pvig_ti", {"patch_size": 0}, "patch_size must be at least 1, got 0"),
        ("vig_ti", {"k": 3.5}, "k must be an integer, or one integer per block, got 3.5"),
        ("vig_ti", {"depth": "12"}, "depth must be an integer, got '12'"),
        ("vig_ti", {"drop_rate": None}, r"drop_rate must be a probability in \[0, 1\], got None"),
        ("vig_ti", {"conv_kwargs": 3}, "conv_kwargs must be a dictionary of arguments, got 3"),
        ("vig_ti", {"conv_kwargs": {"foo": 1}}, r"conv\(192, 384\): got an unexpected keyword argument 'foo'"),
        ("vig_ti", {"graph": "svga", "k": 12, "epsilon": 0.2}, "only graph='knn' accepts k and epsilon"),
        ("vig_ti", {"graph": GridGraph(4), "k": 12}, "only graph='knn' accepts k, got graph=GridGraph"),
    ],
)
def test_bad_requests_say_what_is_wrong(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        pyg_vig.create_model(name, **overrides)


def test_configuration_is_data():
    config = get_config("pvig_ti", num_classes=3, depths=[1, 1, 1, 1])
    assert config.num_classes == 3
    assert config.depths == (1, 1, 1, 1)
    assert get_config("pvig_ti").depths == (2, 2, 6, 2)


def test_list_models_filters():
    assert pyg_vig.list_models("pvig_*") == ["pvig_ti", "pvig_s", "pvig_m", "pvig_b"]
    assert set(PARAMETERS) <= set(pyg_vig.list_models())


def test_features_only():
    model = pyg_vig.create_model("pvig_ti", depths=(1, 1, 1, 1), features_only=True, out_indices=(0, -2)).eval()
    maps = model(torch.rand(1, 3, 192, 256))
    assert [tuple(m.shape[1:]) for m in maps] == [(48, 48, 64), (240, 12, 16)]
    assert [(info["num_chs"], info["reduction"]) for info in model.feature_info] == [(48, 4), (240, 16)]
    assert not any(isinstance(m, nn.Linear) and m.out_features == 1000 for m in model.modules())
    with pytest.raises(ValueError, match="out_indices must contain at least one stage"):
        pyg_vig.create_model("pvig_ti", features_only=True, out_indices=(4,))
    with pytest.raises(ValueError, match="features_only=True"):
        pyg_vig.create_model("pvig_ti", out_indices=(0,))


def test_a_configuration_shares_nothing_with_later_ones() -> None:
    options = get_config("vig_nano").conv_kwargs
    options["bias"] = False
    assert "bias" not in get_config("vig_nano").conv_kwargs


def test_the_class_of_the_default_graph_takes_its_options() -> None:
    model = pyg_vig.create_model("vig_nano", graph=KNNGraph, k=5)
    assert next(module for module in model.modules() if isinstance(module, KNNGraph)).k == 5


def test_a_graph_builder_of_one_s_own_keeps_its_weights(tmp_path: Path) -> None:
    class LearnedGraph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.knn = nn.Linear(32, 4), KNNGraph(4)

        def forward(self, x, layout):
            return self.knn(self.project(x), layout)

    graph = LearnedGraph()
    weight = graph.project.weight.clone()
    model = pyg_vig.create_model("vig_nano", graph=graph, depth=2)  # both blocks share it
    assert torch.equal(graph.project.weight, weight)
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    other = LearnedGraph()
    pyg_vig.load_model(tmp_path / "model.safetensors", graph=other)
    assert torch.equal(other.project.weight, weight)


def test_published_networks_are_evaluated_on_their_crop() -> None:
    assert [get_config(name).crop for name in ("vig_nano", "vig_ti", "pvig_b")] == [1.0, 0.9, 0.95]


def test_integers_of_numpy_can_be_saved(tmp_path: Path) -> None:
    model = pyg_vig.create_model("vig_nano", depth=1, num_classes=np.int64(3))
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    assert pyg_vig.load_model(tmp_path / "model.safetensors").num_classes == 3


def test_classes_of_graphs_are_their_names() -> None:
    by_class, by_name = (get_config("greedyvig_s", graph=graph) for graph in (SVGAGraph, "svga"))
    assert by_class == by_name


@pytest.mark.parametrize("conv", ["GATv2Conv", "edge"])
def test_is_built_on_the_meta_device(conv: str) -> None:
    with torch.device("meta"):
        model = pyg_vig.create_model("vig_nano", depth=1, conv=conv)
    assert next(model.parameters()).is_meta
