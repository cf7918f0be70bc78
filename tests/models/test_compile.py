"""Every family of networks compiles without graph breaks, once for all batch sizes."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses import FakeTensorMode, fake_tensor

import pyg_vig
from tests.models.networks import FAMILIES, SIZE, small_network


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_compiles_once_for_all_batch_sizes(family: str) -> None:
    model = small_network(family).double()  # in float32, rounding may decide near-ties differently
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for batch in (2, 5, 3, 40):
        images = torch.randn(batch, 3, SIZE, SIZE, dtype=torch.float64)
        torch._dynamo.mark_dynamic(images, 0)
        with torch.no_grad():
            torch.testing.assert_close(compiled(images), model(images))
    assert counter.frame_count == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_training_compiles_once_for_all_batch_sizes(family: str) -> None:
    model = small_network(family).train()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for batch in (2, 5, 3):
        images = torch.randn(batch, 3, SIZE, SIZE)
        torch._dynamo.mark_dynamic(images, 0)
        model.zero_grad()
        scores = compiled(images)
        sum(part.square().sum() for part in (scores if isinstance(scores, tuple) else (scores,))).backward()
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert counter.frame_count == 1


def test_without_a_mark_the_second_batch_size_compiles_for_all() -> None:
    model = small_network("vig")
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for batch in (2, 5, 3, 7):
        compiled(torch.randn(batch, 3, SIZE, SIZE))
    assert counter.frame_count == 2


@pytest.mark.skipif(torch.version.cuda is None or find_spec("triton") is None, reason="needs PyTorch for GPUs")
@pytest.mark.skipif(torch.__version__ < (2, 11), reason="fake tensors needed a GPU")
@pytest.mark.parametrize(
    ("training", "operators"),
    [(False, {"nearest_ragged", "neighbor_max"}), (True, {"nearest_ragged", "neighbor_max", "batch_norm"})],
)
def test_compiled_for_a_gpu_networks_keep_the_kernels(
    training: bool, operators: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trace with fake tensors, which need no GPU."""
    monkeypatch.setattr(fake_tensor, "init_gpu_context", lambda *_: None, raising=False)
    found = set()

    def collect(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        found.update(str(node.target) for node in graph.graph.nodes)
        return graph

    network = pyg_vig.create_model("vig_nano").train(training)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        for module in network.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda:0")
        compiled = torch.compile(network, fullgraph=True, backend=aot_autograd(fw_compiler=collect))
        assert compiled(torch.empty(8, 3, 32, 32, device="cuda:0")).device.type == "cuda"
    assert {f"pyg_vig.{name}.default" for name in operators} <= found
