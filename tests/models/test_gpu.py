"""Whole networks on a GPU against the same networks on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pyg_vig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

NAMES = ["vig_ti", "pvig_ti", "mobilevig_ti", "greedyvig_s", "attention_vig_s"]


@pytest.fixture(autouse=True)
def full_precision() -> None:
    """No TF32, so that neighbours at nearly the same distance are told apart as on the CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A network on the CPU and a copy on the GPU, in evaluation."""
    torch.manual_seed(0)
    network = pyg_vig.create_model(name, num_classes=10, drop_path_rate=0.0).eval()
    return network, copy.deepcopy(network).cuda()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Error relative to the length of what was expected."""
    return float((found.detach().cpu().double() - expected.detach().double()).norm() / expected.detach().double().norm())


@pytest.mark.parametrize("name", NAMES)
def test_scores(name: str) -> None:
    on_cpu, on_gpu = pair(name)
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = on_cpu(images)
        assert relative(on_gpu(images.cuda()), expected) < 1e-3
        assert relative(on_gpu.fuse()(images.cuda()), expected) < 1e-3
        half = on_gpu.bfloat16()(images.cuda().bfloat16())
    assert half.isfinite().all() and relative(half, expected) < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    networks = pair(name)
    images, labels = torch.randn(4, 3, 224, 224), torch.arange(4)
    for network in networks:
        network.train()
        device = next(network.parameters()).device
        F.cross_entropy(network(images.to(device)), labels.to(device)).backward()
    on_cpu, on_gpu = (dict(network.named_parameters()) for network in networks)
    errors = [relative(on_gpu[key].grad, entry.grad) for key, entry in on_cpu.items() if entry.grad.norm() > 1e-3]
    assert sorted(errors)[len(errors) // 2] < 0.02, sorted(errors)[:: max(1, len(errors) // 10)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_compiled(mode: str | None) -> None:
    _, network = pair("vig_nano")
    images = torch.randn(4, 3, 32, 32, device="cuda")
    compiled = torch.compile(network, fullgraph=True, mode=mode)
    with torch.inference_mode():
        for _ in range(3):  # CUDA graphs are recorded in the second call and replayed from the third
            found = compiled(images)
        torch.testing.assert_close(found, network(images), rtol=1e-3, atol=1e-3)
