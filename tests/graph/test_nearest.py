from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pyg_vig.graph.nearest import smallest
from pyg_vig.native import native_kernels, serves

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
orders_ties = pytest.mark.skipif(not serves(torch.zeros(1)), reason="needs the kernel: torch.topk promises no order")
distances = arrays("float32", array_shapes(min_dims=3, max_dims=3, max_side=12), elements=finite)


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
@pytest.mark.parametrize("columns", [1, 9, 15, 16, 17, 700, 1023, 1024, 1025, 1100, 5000])  # groups, blocks, glances
def test_random(columns, dtype):
    distance = torch.randn(3, 20, columns).to(dtype)
    for k in {1, min(9, columns), min(300, columns)}:
        check(distance, k)


@pytest.mark.parametrize("k", [1023, 1024, 1025, 3000])  # around the largest that the kernel takes
def test_many(k):
    check(torch.randn(1, 3, 3000), k)


@orders_ties
@pytest.mark.parametrize("columns", [40, 3000])
def test_of_equals_the_lower_column_comes_first(columns):
    distance = torch.randint(3, (2, 50, columns)).float()
    expected = distance.sort(dim=-1, stable=True).indices
    for k in (1, 9, 30):
        assert torch.equal(smallest(distance, k), expected[..., :k])
        assert torch.equal(smallest(torch.ones_like(distance), k)[0, 0], torch.arange(k))


@pytest.mark.parametrize("columns", [60, 2500])
@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e38])
def test_values_of_all_sizes(columns, scale):
    """Guesses that assume even spacing find nothing here; halves do."""
    distance = torch.randn(1, 40, columns).exp().pow(5) * torch.randn(1, 40, columns).sign() * scale
    distance[..., ::7] = torch.inf
    distance[..., 1::11] = -torch.inf
    check(distance.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf), 9)


@orders_ties
def test_infinities_and_signed_zeros():
    distance = torch.tensor([[[torch.inf, 1.0, -torch.inf, -1.0, torch.inf]]])
    assert smallest(distance, 5).tolist() == [[[2, 3, 1, 0, 4]]]
    assert smallest(torch.tensor([[[0.0, -0.0, 0.0, -1.0]]]), 3).tolist() == [[[3, 0, 1]]]
    check(torch.tensor([[[0.0, -0.0, 1e-45, -1e-45]]]), 3)


@orders_ties
@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_is_farthest(sign):
    distance = torch.tensor([[[torch.nan * sign, 2.0, torch.inf, torch.nan, 1.0]]])
    assert smallest(distance, 4)[0, 0, :3].tolist() == [4, 1, 2]
    assert smallest(torch.full((1, 2, 3000), torch.nan), 3).tolist() == [[[0, 1, 2]] * 2]


@pytest.mark.parametrize("own", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("parts", [(), ("base",), ("bias",), ("base", "bias")])
@pytest.mark.parametrize("columns", [30, 1500])
def test_the_formula(parts, own, columns):
    """Products, starts and the node itself; against PyTorch alone, where distances are too different to tie."""
    product = torch.randn(3, 20, columns)
    given = {"base": torch.randn(3, columns), "bias": torch.randn(20, columns)}
    options = {name: given[name] for name in parts} | {"factor": -2.0, "diagonal": 5, "own": own}
    with native_kernels(False):
        expected = smallest(product, 7, **options)
    assert torch.equal(smallest(product, 7, **options), expected)
    if math.isinf(own):
        itself = expected == torch.arange(5, 25).view(1, 20, 1)
        assert bool(itself[..., 0].all() if own < 0 else not itself.any())


def test_transposed_memory():
    check(torch.randn(4, 6, 30).transpose(1, 2), 3)


def test_no_rows():
    assert smallest(torch.empty(2, 0, 5), 2).shape == (2, 0, 2)


def test_threads_change_nothing():
    product = torch.randn(4, 100, 200)
    expected = smallest(product, 9)
    torch.set_num_threads(2)
    try:
        assert torch.equal(smallest(product, 9), expected)
    finally:
        torch.set_num_threads(1)


def test_compiled_equals_eager():
    distance = torch.randn(2, 7, 30)
    compiled = torch.compile(smallest, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(distance, 4), smallest(distance, 4))


def test_operator_contract():
    torch.library.opcheck(torch.ops.pyg_vig.smallest, (torch.randn(2, 4, 20), 3, -2.0, None, None, 0, math.nan))
