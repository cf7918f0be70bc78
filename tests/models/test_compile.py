"""Every family of networks compiles without graph breaks, once for all batch sizes."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

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
