"""Whole networks and blocks on a GPU against the same on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.benchmark import peak_beyond
from pyg_vig.graph import Layout
from pyg_vig.nn import ViGBlock
from tests.golden import load_case
from tests.models.test_parity import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

NAMES = ["pvig_ti", "mobilevig_ti", "greedyvig_s", "attention_vig_s"]
LAYOUT = Layout.from_grid(4, 14, 14)


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """No TF32, so that neighbours at nearly the same distance are told apart as on the CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def relative(found: Tensor, expected: Tensor) -> float:
    """Error relative to the length of what was expected."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("case", ["vig_ti_d2", "vig_ti_d2_edge", "vig_ti_d2_sage", "vig_ti_d2_gin", "pvig_ti_d1111"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_kernels_find_nearly_the_official_graphs_and_scores(case: str, dtype: torch.dtype, tmp_path: Path) -> None:
    description, arrays = load_case(case)
    model, images = build(description, tmp_path / "weights.pth", "cuda")
    model, images = model.eval().to(dtype), images.to(dtype)
    with torch.no_grad(), pyg_vig.record_graphs(model) as graphs:
        logits = model(images)
    same = [
        (
            edges[0].cpu().view(-1) % layout.nodes_per_graph
            == torch.from_numpy(arrays[f"knn_{i:02d}"].astype(int)).view(-1)
        )
        for i, (edges, layout) in enumerate(zip(graphs, graphs.source_layouts, strict=True))
    ]
    assert same[0].double().mean() > (0.99 if dtype == torch.float32 else 0.5)
    assert relative(logits, torch.from_numpy(arrays["logits_f64run"])) < (1e-3 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_runs_from_end_to_end(name: str) -> None:
    network = pyg_vig.create_model(name, num_classes=10).cuda().eval().bfloat16()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 224, 224, device="cuda", dtype=torch.bfloat16)).isfinite().all()


def steps(options: dict[str, object], dtype: torch.dtype, device: str, x: Tensor) -> list[Tensor]:
    """Output, running statistics and gradients of a training step of two blocks."""
    torch.manual_seed(0)
    blocks = nn.ModuleList(ViGBlock(32, **options) for _ in range(2)).to(device).train()  # type: ignore[arg-type]
    x = x.detach().to(device).requires_grad_()
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        out = x
        for block in blocks:
            out = block(out, LAYOUT)
    (out.float() * torch.linspace(-1, 1, 32, device=device)).square().sum().backward()
    grads = [parameter.grad for parameter in blocks.parameters() if parameter.grad.norm() > 1e-4 * x.grad.norm()]
    return [out, x.grad, *grads, *(buffer for name, buffer in blocks.named_buffers() if "running" in name)]


@pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_steps_of_blocks(conv: str, dtype: torch.dtype) -> None:
    x = torch.randn(LAYOUT.num_nodes, 32)
    expected, found = (
        steps({"conv": conv}, kind, device, x) for device, kind in (("cpu", torch.float32), ("cuda", dtype))
    )
    assert len(found) == len(expected)
    errors = [relative(*pair) for pair in zip(found, expected, strict=True)]
    assert max(errors) < 2e-3 if dtype == torch.float32 else sorted(errors)[len(errors) // 2] < 0.2, errors


def test_biases_before_a_batch_norm_have_gradients_of_zero_and_move_its_mean() -> None:
    block = ViGBlock(32).cuda().train()
    layer = block.grapher.fc1
    nn.init.constant_(layer.linear.bias, 3.0)
    block(torch.randn(LAYOUT.num_nodes, 32, device="cuda"), LAYOUT).sum().backward()
    assert not layer.linear.bias.grad.any()
    assert (layer.norm.running_mean.abs() > 0.2).all()  # a tenth of 3, and what the rows bring
    assert layer.norm.num_batches_tracked == 1


def test_gradients_of_gradients() -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        block, x = ViGBlock(32, k=4).to(device).train(), torch.randn(LAYOUT.num_nodes, 32)
        x = x.detach().to(device).requires_grad_()
        (slope,) = torch.autograd.grad(block(x, LAYOUT).square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert relative(results[1], results[0]) < 2e-3


def test_training_keeps_little() -> None:
    """Of two widths for every node a block keeps about a dozen; written out, it would be near thirty."""
    layout, channels = Layout.from_grid(32, 14, 14), 192
    blocks = nn.ModuleList(ViGBlock(channels) for _ in range(6)).cuda().train()
    x = torch.randn(layout.num_nodes, channels, device="cuda")

    def step() -> None:
        out = x
        for block in blocks:
            out = block(out, layout)
        out.sum().backward()

    step()
    blocks.zero_grad(set_to_none=True)
    widths = peak_beyond(step, "cuda") / (x.numel() * x.element_size() * len(blocks))
    assert widths < 19, widths


def test_inference_and_training_steps_as_cuda_graphs() -> None:
    """Nothing waits for the device, so that all of it can be recorded once and replayed."""
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
    errors = sorted(relative(left.grad, right.grad) for left, right in pairs if right.grad.norm() > 1e-5)
    assert errors[len(errors) // 2] < 1e-2, errors
    for left, right in zip(network.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-2, atol=1e-2)
