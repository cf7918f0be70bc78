from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.models import count_macs
from pyg_vig.models.official import to_official
from tests.golden import golden_input, golden_weights, load_case
from tests.nn.conv.graphs import randomize

PARAMETERS = {  # counted from the official code
    "mobilevig_ti": 5_271_074,
    "mobilevig_s": 7_276_538,
    "mobilevig_m": 14_075_786,
    "mobilevig_b": 26_868_506,
    "greedyvig_s": 11_983_376,
    "greedyvig_m": 21_928_112,
    "greedyvig_b": 30_905_296,
}
MACS = {  # likewise, by the same counter
    "mobilevig_ti": 662_142_336,
    "mobilevig_s": 983_688_960,
    "greedyvig_s": 1_580_681_472,
}
SMALL = {
    "mobilevig_ti": {"channels": (16, 24), "depths": ((1, 0), (0, 2)), "steps": (2, 2)},
    "greedyvig_s": {"channels": (16, 24), "depths": ((1, 1), (1, 1)), "steps": (4, 2)},
    "attention_vig_s": {"channels": (16, 24), "depths": ((1, 1), (1, 1)), "steps": (4, 2)},
}
SIZE = 64  # grids of 16 x 16 and 8 x 8, divisible by the steps


def small_hybrid(name: str, **overrides) -> nn.Module:
    return pyg_vig.create_model(name, **{"num_classes": 5, "head_channels": 32} | SMALL[name] | overrides)


def randomize_scales(model: nn.Module) -> nn.Module:
    """Convert the network to float64, with scales and statistics for which every branch matters."""
    for name, module in model.named_modules():
        if name.endswith("layer_scale") and not isinstance(module, nn.Identity):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def images(count: int, height: int = SIZE, width: int | None = None) -> Tensor:
    return torch.randn(count, 3, height, width or height, dtype=torch.float64)


class TestPublished:
    def test_logits_equal_the_official_ones(self, tmp_path):
        description, arrays = load_case("mobilevig_ti")
        torch.save(golden_weights(description), tmp_path / "official.pth")
        model = pyg_vig.create_model("mobilevig_ti")
        assert pyg_vig.load_checkpoint(model, tmp_path / "official.pth").layout == "official"
        model, batch = model.double().eval(), golden_input("input", (2, 3, 224, 224)).double()
        expected = torch.from_numpy(arrays["logits_f64run"])
        with torch.no_grad():
            for network in (model, model.fuse()):
                error = (network(batch) - expected).abs().max() / expected.abs().max()
                assert error < 1e-12

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_parameters_are_exactly_the_official_ones(self, name):
        with torch.device("meta"):
            model = pyg_vig.create_model(name)
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]

    @pytest.mark.parametrize("name", MACS)
    def test_multiply_adds_are_exactly_the_official_ones(self, name):
        assert count_macs(pyg_vig.create_model(name)) == MACS[name]

    @pytest.mark.parametrize(("size", "flops"), [("s", 1.6e9), ("m", 3.2e9), ("b", 4.8e9)])
    def test_attention_vig_has_the_published_flops(self, size, flops):
        assert count_macs(pyg_vig.create_model(f"attention_vig_{size}")) == pytest.approx(flops, rel=0.02)

    def test_cross_attention_in_vig_has_the_published_flops(self):
        assert count_macs(pyg_vig.create_model("vig_ti", conv="cross_attention")) == pytest.approx(1.6e9, rel=0.03)


class TestOfficialNames:
    def test_mobilevig_has_exactly_the_official_keys_and_shapes(self):
        listed = {key: tuple(shape) for key, shape, *_ in load_case("mobilevig_ti")[0]["state_dict"]}
        with torch.device("meta"):
            state = to_official(pyg_vig.create_model("mobilevig_ti"))
        shapes = {key: tuple(value.shape or (1,)) for key, value in state.items()}  # as counters in the fixture
        assert shapes == listed

    def test_greedyvig_has_the_official_keys(self):
        with torch.device("meta"):
            state = to_official(pyg_vig.create_model("greedyvig_s"))
        assert len(state) == 622  # as in the official state dict
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        assert shapes["stem.stem.3.weight"] == (48, 24, 3, 3)
        assert shapes["backbone.0.0.layer_scale_2"] == (48,)
        assert shapes["backbone.0.2.mixer.cpe.pe.weight"] == (48, 1, 7, 7)
        assert shapes["backbone.1.0.conv.0.weight"] == (96, 48, 3, 3)
        assert shapes["backbone.3.4.mixer.graph_conv.nn.0.weight"] == (384, 768, 1, 1)
        assert shapes["prediction.1.weight"] == (768, 384, 1, 1)
        assert shapes["dist_head.weight"] == (1000, 768, 1, 1)
        assert {key.split(".")[0] for key in state} == {"stem", "backbone", "prediction", "head", "dist_head"}

    @pytest.mark.parametrize("name", ["mobilevig_ti", "greedyvig_s"])
    def test_every_weight_survives_the_round_trip(self, name, tmp_path):
        model, other = randomize(pyg_vig.create_model(name)), pyg_vig.create_model(name)
        torch.save({"state_dict": to_official(model)}, tmp_path / "official.pth")
        assert pyg_vig.load_checkpoint(other, tmp_path / "official.pth").layout == "official"
        pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
        assert all(key == found and torch.equal(x, y) for (key, x), (found, y) in pairs)

    def test_pairs_are_stored_as_two_blocks(self):
        """The published weight has all node channels first, then all neighbour channels; ours alternates them."""
        model = small_hybrid("greedyvig_s")
        own = model.stages[0].blocks[1].grapher.conv.nn.linear.weight
        official = to_official(model)["backbone.0.1.mixer.graph_conv.nn.0.weight"].flatten(1)
        assert torch.equal(official[:, :16], own[:, 0::2])
        assert torch.equal(official[:, 16:], own[:, 1::2])


@pytest.mark.parametrize("name", SMALL)
class TestAnyHybrid:
    def test_training_returns_both_heads_and_evaluation_their_mean(self, name):
        model, batch = randomize_scales(small_hybrid(name)), images(3)
        scores, distilled = model.train()(batch)
        assert scores.shape == distilled.shape == (3, 5)
        assert not torch.allclose(scores, distilled)
        model.eval()
        hidden = model.forward_head(model.forward_features(batch), pre_logits=True)
        expected = (model.head.classifier(hidden) + model.head.distillation_classifier(hidden)) / 2
        torch.testing.assert_close(model(batch), expected)

    def test_without_distillation_there_is_one_head(self, name):
        model = small_hybrid(name, distilled=False)
        assert model.train()(images(2).float()).shape == (2, 5)
        assert not any("distillation" in key for key in model.state_dict())

    def test_every_parameter_learns(self, name):
        model = small_hybrid(name, drop_path_rate=0.1)
        sum(scores.logsumexp(-1).sum() for scores in model(images(4).float())).backward()
        assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]

    @pytest.mark.parametrize("size", [(SIZE, SIZE), (SIZE, 96), (50, 77), (36, 20), (5, 3)])
    def test_images_of_any_size_one_by_one_or_together(self, name, size):
        """Grids divisible by the steps or not, with odd sides, narrower than a step, or of a single patch."""
        model, batch = randomize_scales(small_hybrid(name)), images(3, *size)
        with torch.no_grad():
            together = model(batch)
            single = torch.cat([model(image.unsqueeze(0)) for image in batch])
        assert together.isfinite().all()
        torch.testing.assert_close(together, single, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("size", [SIZE, 50])
    def test_fuse_gives_the_same(self, name, size):
        model, batch = randomize_scales(small_hybrid(name)), images(2, size)
        fused = model.fuse()
        assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in fused.modules())
        torch.testing.assert_close(fused(batch), model(batch).detach(), rtol=1e-9, atol=1e-9)

    def test_gradient_checkpointing_gives_the_same_gradients(self, name):
        model, batch = randomize_scales(small_hybrid(name)), images(2)
        twin = copy.deepcopy(model)
        twin.set_grad_checkpointing()
        for network in (model, twin):
            network(batch).square().sum().backward()
        for plain, checkpointed in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(plain.grad, checkpointed.grad)

    @pytest.mark.parametrize("graph", ["published", "knn", "grid"])
    @pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention", "GATv2Conv"])
    def test_any_conv_on_any_graph(self, name, conv, graph):
        choice = {"published": {}, "knn": {"graph": "knn", "k": 4}, "grid": {"graph": "grid"}}[graph]
        model = small_hybrid(name, conv=conv, distilled=False, **choice)
        model(images(2).float()).logsumexp(-1).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        assert model.eval()(images(1, 40, 52).float()).isfinite().all()

    def test_features_only(self, name):
        model = small_hybrid(name, features_only=True).eval()
        maps = model(images(1, 64, 96).float())
        assert [tuple(feature_map.shape[1:]) for feature_map in maps] == [(16, 16, 24), (24, 8, 12)]
        assert [(info["num_chs"], info["reduction"]) for info in model.feature_info] == [(16, 4), (24, 8)]

    def test_reset_classifier(self, name):
        model = small_hybrid(name).eval()
        model.reset_classifier(3)
        assert model(images(1).float()).shape == (1, 3)
        for classifier in (model.head.classifier, model.head.distillation_classifier):
            assert (classifier.bias == 0).all()  # initialised like all other layers
        model.reset_classifier(0)
        assert model(images(1).float()).shape == (1, 32)

    def test_configuration_survives_a_file(self, name, tmp_path):
        model, batch = small_hybrid(name).eval(), images(1).float()
        pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
        restored = pyg_vig.load_model(tmp_path / "model.safetensors").eval()
        assert restored.config == model.config
        assert torch.equal(restored(batch), model(batch))


def test_dilation_grows_with_depth_where_it_is_asked_for():
    for options, expected in (({"dilated": True}, [2, 2]), ({}, [1, 1]), ({"dilated": True, "k": 60}, [1, 1])):
        model = small_hybrid("mobilevig_ti", depths=((4, 0), (0, 2)), image_size=SIZE, graph="knn", **options)
        assert [block.grapher.graph.dilation for block in model.stages[1].blocks] == expected


@pytest.mark.parametrize("name", ["greedyvig_s", "attention_vig_s"])
def test_compiles_without_a_graph_break(name):
    torch._dynamo.reset()
    model, batch = randomize_scales(small_hybrid(name, channels=(16,), depths=((1, 1),), steps=(2,))), images(2, 32)
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(batch)
        torch.testing.assert_close(found, model(batch), rtol=1e-9, atol=1e-9)


def test_graphs_of_every_block_can_be_recorded():
    model = small_hybrid("mobilevig_ti").eval()
    with pyg_vig.record_graphs(model) as graphs:
        model(images(1).float())
    assert graphs.names == ["stages.1.blocks.0.grapher", "stages.1.blocks.1.grapher"]
    assert graphs[0].shape == (2, 64 * (1 + 3 + 3))  # itself and every second patch of its column and row


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": (2,)}, r"of the same length, got \(2, 2, 1\)"),
        ({"depths": ((1, 1), (0, 0))}, r"per stage, not \(0, 0\)"),
        ({"depths": ((1, 1, 1), (1, 1))}, "a pair"),
        ({"steps": (2, 0)}, r"steps must be one integer per stage, each at least 1, got \(2, 0\)"),
        ({"depths": (1, 1)}, r"depths must be a pair .* got \(1, 1\)"),
        ({"depths": ((1, 0.5), (1, 1))}, "depths must be a pair"),
        ({"channels": 16}, "channels must be one integer per stage, each at least 1, got 16"),
        ({"position": True}, "have position_kernel instead"),
        ({"position_kernel": 4}, "position_kernel must be odd, or 0 to disable it, got 4"),
        ({"expansion": 0}, "expansion must be at least 1, got 0"),
        ({"layer_scale": "small"}, "layer_scale must be a number, or None, got 'small'"),
        ({"k": 4}, "only graph='knn' accepts k, got graph='dagc'"),
        ({"graph": "svga", "dilated": True}, "only graph='knn' accepts dilated, got graph='svga'"),
    ],
)
def test_bad_requests_say_what_is_wrong(overrides, message):
    with pytest.raises(ValueError, match=message):
        small_hybrid("greedyvig_s", **overrides)
