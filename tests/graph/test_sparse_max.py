"""The operators that compiled regions hold on CPUs, against what runs outside of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from pyg_vig.graph import NeighborTable, neighbor_max
from pyg_vig.graph.sparse_max import TrackedMax, sparse_max, tracked_max

PTR = torch.tensor([0, 2, 2, 5])  # the second destination has no neighbours
SRC = torch.tensor([3, 0, 1, 2, 3])
ALONE = (PTR.diff() == 0).unsqueeze(1)


def rows(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tracked_maximum_and_gradient(dtype: torch.dtype) -> None:
    x, weight = rows(dtype).requires_grad_(), torch.arange(18, dtype=dtype).view(3, 6)
    expected = TrackedMax.apply(x, partial(sparse_max, ptr=PTR, src=SRC), ALONE)
    best, winners = tracked_max(x, PTR, SRC)
    assert torch.equal(best, expected) and best.dtype == dtype
    assert torch.equal(x.detach().gather(0, winners[~ALONE.flatten()].long()), best[~ALONE.flatten()])
    (by_class,) = torch.autograd.grad((expected * weight).sum(), x)
    (by_operator,) = torch.autograd.grad((best * weight).sum(), x)
    assert torch.equal(by_operator, by_class)
    assert by_operator.sum() == weight[[0, 2]].sum()  # nothing flows from where there is no neighbour


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of the check itself
def test_operators_keep_their_promises() -> None:
    torch.library.opcheck(torch.ops.pyg_vig.sparse_max, (rows(), PTR, SRC))
    torch.library.opcheck(torch.ops.pyg_vig.tracked_max, (rows().requires_grad_(), PTR, SRC))
    winners = tracked_max(rows(), PTR, SRC)[1]
    for alone in (ALONE, None):
        torch.library.opcheck(torch.ops.pyg_vig.to_rows, (torch.randn(3, 6), winners, alone, 4))


@pytest.mark.parametrize("train", [True, False])
def test_compiled_maximum(train: bool) -> None:
    index = torch.tensor([[0, 3], [2, 1], [2, 2]])

    def largest(x: torch.Tensor) -> torch.Tensor:
        return neighbor_max(x, NeighborTable(index, num_src=4))

    compiled = torch.compile(largest, fullgraph=True, backend="aot_eager")
    x = rows().requires_grad_(train)
    assert torch.equal(compiled(x), largest(x))
    if train:
        gradients = [torch.autograd.grad(function(x).pow(2).sum(), x)[0] for function in (compiled, largest)]
        assert torch.equal(*gradients)
