"""Compare whole networks and blocks on a GPU with the same on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.benchmark import peak_beyond
from pyg_vig.graph import Layout, NeighborTable
from pyg_vig.nn import ViGBlock
from tests.golden import load_case
from tests.models.test_parity import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

NAMES = ["pvig_ti", "mobilevig_ti", "greedyvig_s", "attention_vig_s"]
LAYOUT = Layout.from_grid(4, 14, 14)


def random_graph_layout(device: str) -> Layout:
    """Return the layout with a fixed random graph, the same on all devices regardless of rounding."""
    index = torch.randint(0, LAYOUT.num_nodes, (LAYOUT.num_nodes, 9), generator=torch.Generator().manual_seed(0))
    return LAYOUT.with_edges(NeighborTable(index.to(device), LAYOUT.num_nodes))


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Disable TF32, so that neighbours at almost equal distances are ranked as on the CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def rel_error(found: Tensor, expected: Tensor, shortest: float = 0.0) -> float:
    """Return the error relative to the norm of the expected tensor, or to ``shortest`` if that is larger."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm()) / max(float(expected.norm()), shortest)


@pytest.mark.parametrize("case", ["vig_ti_d2", "vig_ti_d2_edge", "vig_ti_d2_sage", "vig_ti_d2_gin", "pvig_ti_d1111"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_kernels_find_nearly_the_official_graphs_and_scores(case: str, dtype: torch.dtype, tmp_path: Path) -> None:
    description, arrays = load_case(case)
    model, images = build(description, tmp_path / "weights.pth", "cuda")
    model, images = model.eval().to(dtype), images.to(dtype)
    with torch.no_grad(), pyg_vig.record_graphs(model) as graphs:
        logits = model(images)
    edges, layout = graphs[0], graphs.source_layouts[0]
    expected = torch.from_numpy(arrays["knn_00"].astype(int)).flatten(0, 1)
    found = (edges[0].cpu() % layout.nodes_per_graph).view_as(expected)
    shared = (found.unsqueeze(2) == expected.unsqueeze(1)).any(2).double().mean()  # in any order
    error = rel_error(logits, torch.from_numpy(arrays["logits_f64run"]))
    assert (shared > 0.999 and error < 1e-2) if dtype == torch.float32 else (shared > 0.8 and error < 0.2), (
        shared,
        error,
    )


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_runs_from_end_to_end(name: str) -> None:
    network = pyg_vig.create_model(name, num_classes=10).cuda().eval().bfloat16()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 224, 224, device="cuda", dtype=torch.bfloat16)).isfinite().all()


def training_step(options: dict[str, Any], dtype: torch.dtype, device: str, x: Tensor) -> dict[str, Tensor]:
    """Return output, gradients and running statistics of a training step of two blocks."""
    torch.manual_seed(0)
    blocks = nn.ModuleList(ViGBlock(32, graph="given", **options) for _ in range(2)).to(device).train()
    x = x.detach().to(device).requires_grad_()
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        out = x
        for block in blocks:
            out = block(out, random_graph_layout(device))
    (out.float() * torch.linspace(-1, 1, 32, device=device)).square().sum().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in blocks.named_parameters()}
    return {"output": out, "gradient": x.grad, **gradients, **dict(blocks.named_buffers())}


@pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_steps_of_blocks(conv: str, dtype: torch.dtype) -> None:
    x = torch.randn(LAYOUT.num_nodes, 32)
    expected = training_step({"conv": conv}, torch.float32, "cpu", x)
    found = training_step({"conv": conv}, dtype, "cuda", x)
    noise = 1e-3 * float(expected["gradient"].norm())  # biases before a batch norm have zero gradients
    errors = {
        name: rel_error(found[name], entry, noise if "gradient" in name else 1.0) for name, entry in expected.items()
    }
    if dtype == torch.float32:
        worst = max(errors, key=errors.__getitem__)
        assert errors[worst] < 2e-3, (worst, errors[worst])
    else:  # gradients that should be zero are noise
        assert sorted(errors.values())[len(errors) // 2] < 0.2 and errors["output"] < 0.05, errors


def test_biases_before_a_batch_norm_have_gradients_of_zero_and_move_its_mean() -> None:
    block = ViGBlock(32).cuda().train()
    layer = block.grapher.fc1
    nn.init.constant_(layer.linear.bias, 3.0)
    block(torch.randn(LAYOUT.num_nodes, 32, device="cuda"), LAYOUT).sum().backward()
    assert not layer.linear.bias.grad.any()
    assert (layer.norm.running_mean.abs() > 0.2).all()  # a tenth of the bias 3, plus the rows' mean
    assert layer.norm.num_batches_tracked == 1


def test_gradients_of_gradients() -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        block, x = ViGBlock(32, graph="given").to(device).train(), torch.randn(LAYOUT.num_nodes, 32)
        x = x.detach().to(device).requires_grad_()
        (slope,) = torch.autograd.grad(block(x, random_graph_layout(device)).square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert rel_error(results[1], results[0]) < 2e-3


def test_training_keeps_little() -> None:
    """A block keeps about a dozen times its input's size for backward; without recomputation, close to thirty."""
    layout, channels = Layout.from_grid(32, 14, 14), 192
    blocks = nn.ModuleList(ViGBlock(channels) for _ in range(6)).cuda().train()
    x = torch.randn(layout.num_nodes, channels, device="cuda")

    def train() -> None:
        out = x
        for block in blocks:
            out = block(out, layout)
        out.sum().backward()

    train()
    blocks.zero_grad(set_to_none=True)
    widths = peak_beyond(train, "cuda") / (x.numel() * x.element_size() * len(blocks))
    assert widths < 19, widths


# make_graphed_callables keeps the autograd graph of its warm-up, which ran on another stream
@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream does not match:UserWarning")
def test_inference_and_training_steps_as_cuda_graphs() -> None:
    """Nothing synchronises with the device, so that everything can be captured once and replayed."""
    torch.manual_seed(0)
    network, images = (
        pyg_vig.create_model("vig_nano", drop_path_rate=0.0).cuda(),
        torch.randn(8, 3, 32, 32, device="cuda"),
    )
    expected = copy.deepcopy(network).eval()(images).detach()
    graphed = torch.cuda.make_graphed_callables(copy.deepcopy(network).eval(), (images,))
    torch.testing.assert_close(graphed(images), expected, rtol=1e-3, atol=1e-3)
    recorded = torch.cuda.make_graphed_callables(copy.deepcopy(network).train(), (images.clone(),))
    assert recorded(images).isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # a hint of the compiler
def test_compiled_training_step() -> None:
    torch.manual_seed(0)
    network, images = (
        pyg_vig.create_model("vig_nano", drop_path_rate=0.0).cuda(),
        torch.randn(8, 3, 32, 32, device="cuda"),
    )
    eager = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, mode="reduce-overhead")  # CUDA graphs
    for _ in range(3):
        for each, run in ((network, compiled), (eager, eager)):
            each.zero_grad(set_to_none=True)
            run(images).square().mean().backward()
    pairs = zip(network.parameters(), eager.parameters(), strict=True)
    errors = sorted(rel_error(left.grad, right.grad) for left, right in pairs if right.grad.norm() > 1e-5)
    assert errors[len(errors) // 2] < 1e-2, errors
    for left, right in zip(network.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-2, atol=1e-2)
