"""The networks load official state dicts and reproduce the results of the official code in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import pyg_vig
from pyg_vig.models.official import to_official
from tests.golden import golden_input, golden_weights, load_case, uniform

SHALLOW = ["vig_ti_d2", "vig_ti_d2_edge", "vig_ti_d2_sage", "vig_ti_d2_gin", "pvig_ti_d1111"]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
    ),
]
FIELDS = {"n_blocks": "depth", "blocks": "depths", "conv": "conv"}


def build(description, path, device="cpu"):
    overrides = {FIELDS[key]: value for key, value in (description["override"] or {}).items()}
    model = pyg_vig.create_model(description["model"].removesuffix("_224_gelu"), **overrides)
    torch.save(golden_weights(description), path)
    assert pyg_vig.load_checkpoint(model, path).layout == "official"
    images = golden_input(description["input"]["key"], tuple(description["input"]["shape"]))
    return model.to(device).double(), images.to(device).double()


def relative_error(actual, expected):
    expected = torch.from_numpy(expected)
    return float((actual.cpu() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [*SHALLOW, "vig_ti", "pvig_ti"])
def test_logits_and_graphs_equal_the_official_ones(case, device, tmp_path):
    description, arrays = load_case(case)
    model, images = build(description, tmp_path / "weights.pth", device)
    model.eval()
    with torch.no_grad(), pyg_vig.record_graphs(model) as graphs:
        logits = model(images)
    assert relative_error(logits, arrays["logits_f64run"]) < 1e-12
    for i, (edge_index, layout) in enumerate(zip(graphs, graphs.source_layouts, strict=True)):
        expected = arrays[f"knn_{i:02d}"].astype(np.int64)  # (B, N, k), sorted by distance
        first = np.arange(len(expected)).reshape(-1, 1, 1) * layout.nodes_per_graph
        np.testing.assert_array_equal(edge_index[0].cpu().numpy().reshape(expected.shape) - first, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", SHALLOW)
def test_the_fused_network_gives_the_same(case, device, tmp_path):
    description, arrays = load_case(case)
    model, images = build(description, tmp_path / "weights.pth", device)
    fused = model.eval().fuse()
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in fused.modules())
    assert relative_error(fused(images).detach(), arrays["logits_f64run"]) < 1e-12


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_step_equals_the_official_one(device, tmp_path):
    description, arrays = load_case("train_vig_ti_d2")
    model, images = build(description, tmp_path / "weights.pth", device)
    expected = description["results"]["f64"]
    logits = model.train()(images)
    loss = F.cross_entropy(logits, torch.tensor(description["labels"], device=device))
    loss.backward()
    assert relative_error(logits.detach(), arrays["logits_f64run"]) < 1e-12
    assert loss.detach().item() == pytest.approx(expected["loss"], rel=1e-12)
    state = to_official(model.cpu())
    for parameter in model.parameters():  # below, the official state dict contains gradients
        parameter.data = parameter.grad
    gradients = to_official(model)
    for key, norm in expected["grad_l2"].items():
        gradient = gradients[key].flatten()
        dot = gradient @ torch.from_numpy(uniform(f"grad:{key}", gradient.numel()) - 0.5)
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-9, abs=1e-9), key
        assert dot.item() == pytest.approx(expected["grad_dot"][key], rel=1e-8, abs=1e-9), key
    for key, (mean, norm) in expected["running_mean_l2"].items():
        assert state[key].mean().item() == pytest.approx(mean, rel=1e-12, abs=1e-13), key
        assert state[key].norm().item() == pytest.approx(norm, rel=1e-12), key
