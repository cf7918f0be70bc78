from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pyg_vig.graph.knn.nearest import nearest, unit_rows
from pyg_vig.native import is_supported, native_kernels

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
needs_kernel = pytest.mark.skipif(
    not is_supported(torch.zeros(1)), reason="needs the kernel: torch.topk promises no order"
)
distances = arrays("float32", array_shapes(min_dims=2, max_dims=2, max_side=12), elements=finite)


def select(distance: torch.Tensor, k: int) -> torch.Tensor:
    """Select among given distances ``(N, M)``, passed as bias with all features zero."""
    rows, columns = distance.shape
    sources, targets = (distance.new_zeros(1, size, 1) for size in (columns, rows))
    return nearest(sources, targets, k, pair_bias=distance)[0]


def check(distance: torch.Tensor, k: int) -> None:
    """Check that the k smallest values are selected, in increasing order and at distinct columns."""
    index = select(distance, k)
    assert index.dtype == torch.int64
    assert index.shape == (len(distance), k)
    assert torch.equal(distance.gather(-1, index), distance.sort(-1).values[..., :k])
    assert bool((index.sort(-1).values.diff(dim=-1) > 0).all())


class TestChoice:
    @given(distances, st.data())
    def test_any_values(self, array, data):
        distance = torch.from_numpy(array)
        check(distance, data.draw(st.integers(1, distance.size(-1))))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize(
        "columns", [1, 9, 15, 16, 17, 700, 1023, 1024, 1025, 1600, 5000]
    )  # around GROUP, MAX_CHUNK
    def test_random(self, columns, dtype):
        distance = torch.randn(60, columns).to(dtype)
        for k in {1, min(9, columns), min(300, columns)}:
            check(distance, k)

    @pytest.mark.parametrize("k", [1023, 1024, 1025, 3000])  # around the kernel's maximum
    def test_many(self, k):
        check(torch.randn(3, 3000), k)

    @needs_kernel
    @pytest.mark.parametrize("columns", [40, 3000])
    def test_of_equals_the_lower_column_comes_first(self, columns):
        distance = torch.randint(3, (100, columns)).float()
        expected = distance.sort(dim=-1, stable=True).indices
        for k in (1, 9, 30):
            assert torch.equal(select(distance, k), expected[..., :k])
            assert torch.equal(select(torch.ones_like(distance), k)[0], torch.arange(k))

    @pytest.mark.parametrize("columns", [60, 2500])
    @pytest.mark.parametrize("scale", [1e-38, 1.0, 1e38])
    def test_values_of_all_sizes(self, columns, scale):
        """Skewed values, for which guesses that assume even spacing fail and the kernel has to bisect."""
        distance = torch.randn(40, columns).exp().pow(5) * torch.randn(40, columns).sign() * scale
        distance[..., ::7] = torch.inf
        distance[..., 1::11] = -torch.inf
        check(distance.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf), 9)

    @needs_kernel
    def test_infinities_and_signed_zeros(self):
        distance = torch.tensor([[torch.inf, 1.0, -torch.inf, -1.0, torch.inf]])
        assert select(distance, 5).tolist() == [[2, 3, 1, 0, 4]]
        assert select(torch.tensor([[0.0, -0.0, 0.0, -1.0]]), 3).tolist() == [[3, 0, 1]]
        check(torch.tensor([[0.0, -0.0, 1e-45, -1e-45]]), 3)

    @needs_kernel
    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_nan_is_farthest(self, sign):
        distance = torch.tensor([[torch.nan * sign, 2.0, torch.inf, torch.nan, 1.0]])
        assert select(distance, 4)[0, :3].tolist() == [4, 1, 2]
        assert select(torch.full((2, 3000), torch.nan), 3).tolist() == [[0, 1, 2]] * 2


class TestFormula:
    @pytest.mark.parametrize("loop", [None, False, True])
    @pytest.mark.parametrize("parts", [(), ("src_bias",), ("pair_bias",), ("src_bias", "pair_bias")])
    @pytest.mark.parametrize(("rows", "columns"), [(20, 30), (7, 1500), (300, 1500)])
    @pytest.mark.parametrize("cosine", [True, False])
    def test_products_starts_and_the_node_itself(self, cosine, rows, columns, parts, loop):
        """Compare with plain PyTorch in float64, which distinguishes distances that float32 may not."""
        sources, targets = torch.randn(3, columns, 24), torch.randn(3, rows, 24)
        given = {"src_bias": torch.randn(3, columns), "pair_bias": torch.randn(rows, columns)}
        options = {name: given[name] for name in parts}
        found = nearest(sources, targets, 7, cosine=cosine, loop=loop, **options)
        precise = {name: part.double() for name, part in options.items()}
        expected = nearest(sources.double(), targets.double(), 7, cosine=cosine, loop=loop, **precise)
        differs = found != expected
        assert differs.double().mean() < 1e-3  # near ties
        if loop is not None:
            itself = found == torch.arange(rows).view(1, rows, 1)
            assert bool(itself[..., 0].all() if loop else not itself.any())

    @pytest.mark.parametrize("channels", [1, 3, 64, 700])  # with 700, few sources fill the cache
    @pytest.mark.parametrize("columns", [5, 16, 17, 196, 2000])
    def test_products_of_integers_are_exact(self, channels, columns):
        sources, targets = (torch.randint(-2, 3, (2, size, channels)).float() for size in (columns, 50))
        found = nearest(sources, targets, 5)
        distance = -2 * torch.bmm(targets, sources.mT)
        assert torch.equal(distance.gather(2, found), distance.sort(-1).values[..., :5])

    @needs_kernel
    def test_unit_rows(self):
        """Rows that cannot be normalised become zeros, as in the PyTorch definition."""
        x = torch.randn(1, 30, 5)
        x[0, 3], x[0, 7, 2], x[0, 8, 1], x[0, 9] = 0, torch.nan, torch.inf, 1e30
        unit, _ = unit_rows(x, x)
        assert unit.isfinite().all()
        assert torch.equal(unit[0, [3, 7, 8]], torch.zeros(3, 5))
        found, expected = nearest(x, x, 4, cosine=True), nearest(unit, unit, 4)
        product = torch.bmm(unit, unit.mT)
        torch.testing.assert_close(product.gather(2, found), product.gather(2, expected))

    def test_numbers_grow_from_graph_to_graph(self):
        x = torch.randn(3, 10, 4)
        first = torch.arange(3).view(3, 1, 1) * 10
        for dtype in (torch.float32, torch.float64):
            assert torch.equal(
                nearest(x.to(dtype), x.to(dtype), 3, index_offset=10), nearest(x.to(dtype), x.to(dtype), 3) + first
            )

    @needs_kernel
    def test_kernel_and_pytorch_agree(self):
        x = torch.randn(4, 196, 48)
        with native_kernels(False):
            expected = nearest(x, x, 9, cosine=True)
        assert (nearest(x, x, 9, cosine=True) != expected).double().mean() < 1e-3


def test_transposed_memory():
    x = torch.randn(4, 6, 30).transpose(1, 2)
    assert torch.equal(nearest(x, x, 3), nearest(x.contiguous(), x.contiguous(), 3))


def test_no_rows_and_no_channels():
    assert nearest(torch.empty(2, 5, 3), torch.empty(2, 0, 3), 2).shape == (2, 0, 2)
    assert nearest(torch.empty(2, 5, 0), torch.empty(2, 4, 0), 2).shape == (2, 4, 2)


@pytest.mark.parametrize("shape", [(4, 200, 16), (1, 1500, 8)])
def test_threads_change_nothing(shape):
    x = torch.randn(shape)
    expected = nearest(x, x, 9)
    torch.set_num_threads(2)
    try:
        assert torch.equal(nearest(x, x, 9), expected)
    finally:
        torch.set_num_threads(1)


def test_compiled_equals_eager():
    x = torch.randn(2, 30, 7)
    compiled = torch.compile(nearest, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, x, 4, cosine=True), nearest(x, x, 4, cosine=True))


def test_operator_contract():
    x = torch.randn(2, 20, 4)
    torch.library.opcheck(torch.ops.pyg_vig.nearest_in_graphs, (x, x, 3, None, None, False, math.nan, 0))
