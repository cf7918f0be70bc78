from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pyg_vig.graph.nearest import smallest

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
distances = arrays("float32", array_shapes(min_dims=2, max_dims=3, max_side=12), elements=finite)


def check(distance: torch.Tensor, k: int) -> None:
    """The k smallest values, in increasing order, at distinct columns."""
    index = smallest(distance, k)
    assert index.dtype == torch.int64
    assert index.shape == (*distance.shape[:-1], k)
    assert torch.equal(distance.gather(-1, index), distance.sort(-1).values[..., :k])
    assert bool((index.sort(-1).values.diff(dim=-1) > 0).all())


@given(distances, st.data())
def test_any_values(array, data):
    distance = torch.from_numpy(array)
    check(distance, data.draw(st.integers(1, distance.size(-1))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("columns", [1, 9, 384, 385, 700])  # around the width at which the method changes
def test_random(columns, dtype):
    distance = torch.randn(3, 65, columns).to(dtype)
    for k in {1, min(9, columns), columns}:
        check(distance, k)


@pytest.mark.parametrize("rows", [511, 512, 513, 1025])  # around the size of a block
def test_blocks_of_rows(rows):
    check(torch.randn(rows, 20), 5)


def test_ties_go_to_the_lower_column():
    assert smallest(torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]]), 4).tolist() == [[1, 3, 0, 2]]


def test_infinities_and_signed_zeros():
    distance = torch.tensor([[torch.inf, 1.0, -torch.inf, -1.0, torch.inf]])
    assert smallest(distance, 5).tolist() == [[2, 3, 1, 0, 4]]
    check(torch.tensor([[0.0, -0.0, 1e-45, -1e-45]]), 3)


def test_transposed_memory():
    check(torch.randn(4, 6, 30).transpose(1, 2), 3)


def test_no_rows():
    assert smallest(torch.empty(0, 5), 2).shape == (0, 2)


def test_compiled_equals_eager():
    distance = torch.randn(7, 30)
    compiled = torch.compile(smallest, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(distance, 4), smallest(distance, 4))


def test_operator_contract():
    torch.library.opcheck(torch.ops.pyg_vig.packed_smallest, (torch.randn(4, 20), 3))
