"""Compare the Triton kernels with their definitions in plain PyTorch, on a GPU or in Triton's interpreter.

The interpreter has to be enabled before Triton is imported, so ``test_interpreter.py`` runs this file in a separate
process. Without a GPU and the interpreter, it is skipped.
"""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from torch_geometric import EdgeIndex

from pyg_vig.graph import (
    Adjacency,
    Layout,
    NeighborTable,
    knn_table,
    neighbor_dot,
    neighbor_max,
    neighbor_sum,
    operators,
)
from pyg_vig.graph.knn.flash import nearest_ragged
from pyg_vig.graph.knn.nearest import unit_rows
from pyg_vig.nn import LinearNorm, ViGBlock, activation_resolver, batch_norm
from pyg_vig.nn.linear_batch_norm import linear_batch_norm
from pyg_vig.nn.linear_fallback import linear_fallback
from pyg_vig.nn.rematerialize import register_recipe
from pyg_vig.triton_kernels import is_supported, triton_kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (INTERPRETED or torch.cuda.is_available()), reason="needs a GPU or Triton's interpreter"),
]

NUM_SRC, NUM_DST, CHANNELS = 21, 30, 12
ROUNDING = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 0.02, "atol": 0.1},
}
DTYPES = list(ROUNDING)
ROUNDING_OF_ROWS = {  # in half precision, the result is rounded once
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}


def both(run: Callable[[], object]) -> tuple[object, object]:
    """Return the result of the kernels and that of the plain definition."""
    found = []
    for enabled in (True, False):
        with triton_kernels(enabled):
            found.append(run())
    return found[0], found[1]


def integers(*shape: int) -> Tensor:
    """Return small integers, whose sums are exact in any order and which tie often."""
    return torch.randint(-3, 4, shape).float().to(DEVICE)


def graph(ragged: bool) -> tuple[Tensor, Tensor | None]:
    """Return sources and, if ragged, row pointers, with no neighbours for the first and last node; edges may repeat."""
    degrees = torch.randint(0, 7, (NUM_DST,)) if ragged else torch.full((NUM_DST,), 4)
    degrees[[0, -1]] *= not ragged
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    src = torch.randint(0, NUM_SRC, (int(ptr[-1]),)).to(DEVICE)
    return src, ptr.to(DEVICE) if ragged else None


def test_the_kernels_serve_here() -> None:
    assert is_supported(integers(1))
    with triton_kernels(False):
        assert not is_supported(integers(1))
    assert is_supported(integers(1))


def test_the_trial_writes_a_one() -> None:
    from pyg_vig.triton_kernels import trial

    x = torch.zeros(2, dtype=torch.int32, device=DEVICE)
    trial.launch(x)
    assert x.tolist() == [1, 0]


@pytest.mark.parametrize("ragged", [False, True], ids=["table", "csr"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestReductions:
    def test_largest_neighbour_and_where_it_came_from(self, dtype: torch.dtype, ragged: bool) -> None:
        src, ptr = graph(ragged)
        x = integers(NUM_SRC, CHANNELS).to(dtype)
        x[:, 0], x[3, 1], x[:, 2] = -torch.inf, torch.nan, torch.inf
        found, expected = both(lambda: operators.neighbor_max(x, src, ptr, NUM_DST, True))
        assert_close(found, expected, rtol=0, atol=0, equal_nan=True)

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_gradient_of_the_largest(self, dtype: torch.dtype, ragged: bool, deterministic: bool) -> None:
        src, ptr = graph(ragged)
        x, grad = integers(NUM_SRC, CHANNELS).to(dtype), integers(NUM_DST, CHANNELS).to(dtype)
        argmax = operators.neighbor_max(x, src, ptr, NUM_DST, True)[1]
        torch.use_deterministic_algorithms(deterministic)
        try:
            found, expected = both(lambda: operators.scatter_to_argmax(grad, argmax, src, ptr, NUM_SRC))
        finally:
            torch.use_deterministic_algorithms(False)
        assert_close(found, expected, rtol=0, atol=0)

    @pytest.mark.parametrize("heads", [0, 3], ids=["plain", "weighted"])
    def test_sums_and_products(self, dtype: torch.dtype, ragged: bool, heads: int) -> None:
        src, ptr = graph(ragged)
        x = torch.randn(NUM_SRC, CHANNELS).to(DEVICE, dtype)
        y = torch.randn(NUM_DST, CHANNELS).to(DEVICE, dtype)
        weight = torch.randn(src.numel(), heads).to(DEVICE, dtype) if heads else None
        for run in (
            lambda: operators.neighbor_sum(x, src, ptr, NUM_DST, weight),
            lambda: operators.reversed_sum(y, src, ptr, NUM_SRC, weight),
            lambda: operators.neighbor_dot(y, x, src, ptr, heads or 1),
        ):
            found, expected = both(run)
            assert_close(found, expected, **ROUNDING[dtype])


@pytest.mark.parametrize("channels", [1, 130])
def test_widths_that_fill_no_tile(channels: int) -> None:
    src, ptr = graph(ragged=False)
    x, y, weight = integers(NUM_SRC, channels), integers(NUM_DST, channels), integers(src.numel(), 1)
    for run in (
        lambda: operators.neighbor_max(x, src, ptr, NUM_DST, True),
        lambda: operators.neighbor_sum(x, src, ptr, NUM_DST, weight),
        lambda: operators.neighbor_dot(y, x, src, ptr, 1),
    ):
        found, expected = both(run)
        assert_close(found, expected, rtol=0, atol=0)


def test_graphs_in_32_bits() -> None:
    src, ptr = graph(ragged=True)
    assert ptr is not None
    x = integers(NUM_SRC, CHANNELS)
    for run in (
        lambda: operators.neighbor_max(x, src.int(), ptr.int(), NUM_DST, True)[0],
        lambda: operators.neighbor_sum(x, src.int(), ptr.int(), NUM_DST, None),
    ):
        found, expected = both(run)
        assert_close(found, expected, rtol=0, atol=0)


def test_nothing_to_reduce() -> None:
    none, ptr = torch.empty(0, dtype=torch.int64, device=DEVICE), torch.zeros(4, dtype=torch.int64, device=DEVICE)
    x, weight = integers(NUM_SRC, CHANNELS), integers(0, 2)
    largest, argmax = operators.neighbor_max(x, none, ptr, 3, True)
    assert not largest.any() and (argmax == -1).all()
    assert not operators.neighbor_sum(x, none, ptr, 3, weight).any()
    assert operators.neighbor_dot(integers(3, CHANNELS), x, none, ptr, 2).shape == (0, 2)
    assert operators.neighbor_sum(x, none, None, 0, None).shape == (0, CHANNELS)


@pytest.mark.parametrize("sources", [70, 300], ids=["in registers", "in blocks"])
@pytest.mark.parametrize(
    ("graphs", "count", "loop", "biased"),
    [(1, 1, None, False), (2, 9, None, True), (1, 9, True, False), (1, 20, False, False)],
)
def test_nearest_is_the_definition_with_its_ties(
    graphs: int, count: int, loop: bool | None, biased: bool, sources: int
) -> None:
    """70 destinations take two blocks of rows; the sources are ranked at once or, if there are many, by block."""
    src = integers(graphs * sources, 5)
    dst = integers(graphs * 70, 5) if loop is None else src
    src_bias, pair_bias = src.square().sum(1), integers(dst.size(0) // graphs, sources) if biased else None
    found, expected = both(
        lambda: nearest_ragged(src, dst, src_bias, pair_bias, None, None, graphs, count, loop, False)
    )
    assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy, for infinity times zero
@pytest.mark.parametrize("sources", [40, 260], ids=["in registers", "in blocks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_nearest_by_direction(dtype: torch.dtype, sources: int) -> None:
    x = torch.randn(sources, 33).to(DEVICE, dtype)
    x[:3] = 0
    x[0, 0], x[1, 0] = torch.nan, torch.inf
    found, expected = both(lambda: nearest_ragged(x, x, None, None, None, None, 1, 9, True, True))
    assert torch.equal(found[:3], expected[:3])  # without direction, all nodes are equally far
    unit, _ = unit_rows(x.double(), x.double())
    cosines = unit @ unit.T
    assert_close(cosines.gather(1, found), cosines.gather(1, expected), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("sources", [40, 260], ids=["in registers", "in blocks"])
def test_what_has_no_direction_is_ranked_by_its_bias(sources: int) -> None:
    x = torch.randn(sources, 5, device=DEVICE)
    x[2, 0], x[7] = torch.nan, 0
    bias = torch.randn(sources, sources, device=DEVICE)
    found, expected = both(lambda: nearest_ragged(x, x, None, bias, None, None, 1, 9, None, True))
    assert torch.equal(found[[2, 7]], expected[[2, 7]])
    assert torch.equal(found[2], bias[2].argsort()[:9])


@pytest.mark.parametrize("wide", [False, True], ids=["in registers", "in blocks"])
def test_nearest_in_ragged_graphs_of_which_some_lack_nodes(wide: bool) -> None:
    sizes = [3, 0, 67, 9 + 300 * wide]
    ptr_src = torch.tensor([0, *sizes], device=DEVICE).cumsum(0)
    ptr_dst = torch.tensor([0, 70, 70, 71, 71], device=DEVICE)
    src, dst = integers(sum(sizes), 33), integers(71, 33)
    found, expected = both(lambda: nearest_ragged(src, dst, None, None, ptr_src, ptr_dst, 4, 3, None, False))
    assert torch.equal(found, expected)


def test_nearest_places_infinities_nans_and_negative_zeros() -> None:
    src_bias = torch.tensor([-0.0, torch.inf, 0.0, torch.nan, -torch.inf, 1.0], device=DEVICE)
    src, dst = torch.zeros(6, 1, device=DEVICE), torch.zeros(2, 1, device=DEVICE)
    found, expected = both(lambda: nearest_ragged(src, dst, src_bias, None, None, None, 1, 6, None, False))
    assert torch.equal(found, expected)
    assert found[0].tolist() == [4, 0, 2, 5, 1, 3]


@pytest.mark.parametrize("sources", [48, 300], ids=["in registers", "in blocks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nearest_adds_up_in_float32(dtype: torch.dtype, sources: int) -> None:
    src = torch.randn(sources, 70).to(DEVICE, dtype)
    found, expected = both(lambda: nearest_ragged(src, src, None, None, None, None, 1, 70 // 8, None, False))
    assert torch.equal(found, expected)


def test_the_library_calls_the_kernels() -> None:
    """Checked by the order of ties, which only the kernels guarantee."""
    half = integers(2, 10, 6)
    x = torch.cat([half, -half], 1).flatten(0, 1)  # zero mean, so that centred values are integers
    distance = torch.cdist(x.view(2, 20, 6), x.view(2, 20, 6)).square().round()
    distance.diagonal(0, 1, 2).fill_(torch.inf)
    expected = distance.sort(stable=True).indices[..., :3] + torch.tensor([0, 20], device=DEVICE).view(2, 1, 1)
    table = knn_table(x, 3, Layout.from_equal(2, 20), loop=False, backend="dense")
    assert torch.equal(table.index, expected.view(40, 3))


@pytest.mark.parametrize("ragged", [False, True], ids=["table", "csr"])
def test_gradients_of_the_library_s_reductions(ragged: bool) -> None:
    src, ptr = graph(ragged)
    adjacency: Adjacency = (
        NeighborTable(src.view(NUM_DST, -1), NUM_SRC)
        if ptr is None
        else EdgeIndex(
            torch.stack([src, operators.destinations(src, ptr, NUM_DST)]),
            sort_order="col",
            sparse_size=(NUM_SRC, NUM_DST),
        )
    )
    inputs = [torch.randn(rows, CHANNELS, device=DEVICE) for rows in (NUM_SRC, NUM_DST)]
    inputs.append(torch.randn(src.numel(), device=DEVICE))

    def run(device: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x, y, weight = (entry.to(device, dtype).requires_grad_() for entry in inputs)
        graph = _moved(adjacency, device)
        outs = [neighbor_max(x, graph), neighbor_sum(x, graph, weight), neighbor_dot(y, x, graph)]
        left, right = (rows.unflatten(1, (3, -1)) for rows in (y, x))
        scores = neighbor_dot(left, right, graph)
        outs += [scores, neighbor_sum(right, graph, scores)]
        return torch.autograd.grad([out.square().sum() for out in outs], [x, y, weight])

    with triton_kernels(False):
        expected = run("cpu", torch.float64)
    for found, wanted in zip(run(DEVICE, torch.float32), expected, strict=True):
        assert_close(found.cpu(), wanted.float(), rtol=1e-4, atol=1e-3)


def _moved(adjacency: Adjacency, device: str) -> Adjacency:
    if isinstance(adjacency, NeighborTable):
        return NeighborTable(adjacency.index.to(device), adjacency.num_src)
    return adjacency.to(device)


def test_repeated_launches_read_their_own_arguments() -> None:
    """The same kernel at other addresses, of which some are no multiples of 16."""
    index = torch.randint(NUM_SRC, (NUM_DST, 3), device=DEVICE)
    for first in (0, 0, 1, 2, 1, 0):
        x = torch.randn(NUM_SRC + 2, 5, device=DEVICE)[first : first + NUM_SRC]
        for table in (NeighborTable(index, NUM_SRC), NeighborTable(index[:, :2], NUM_SRC)):
            assert torch.equal(neighbor_max(x, table), x[table.index].amax(1))


@pytest.mark.parametrize("act", ["none", "relu", "gelu"])
@pytest.mark.parametrize(("rows", "channels"), [(2, 1), (37, 40), (300, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
class TestBatchNorm:
    """Compare with the formula in float64, for several blocks of rows, partial tiles and a mean far from zero."""

    def setup(self, rows: int, channels: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = (3 + torch.randn(rows, channels)).to(DEVICE, dtype)
        weight, bias, mean, offset = torch.randn(4, channels, device=DEVICE)
        return x, weight, bias, mean, mean.abs() + 1, offset

    def expected(self, x: Tensor, weight: Tensor, bias: Tensor, act: str) -> Tensor:
        normalized = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
        return normalized if act == "none" else getattr(torch.nn.functional, act)(normalized)

    def test_forward(self, dtype: torch.dtype, rows: int, channels: int, act: str) -> None:
        x, weight, bias, mean, var, offset = self.setup(rows, channels, dtype)
        batches = torch.tensor(3, device=DEVICE)
        running = (mean.clone(), var.clone(), batches, 0.1, offset)
        out, coefficients = batch_norm._forward(x, weight, bias, 1e-5, act, running)
        wide = x.double()
        assert out.dtype == dtype and coefficients.dtype == torch.float32
        assert_close(out.double(), self.expected(wide, weight.double(), bias.double(), act), **ROUNDING_OF_ROWS[dtype])
        assert_close(coefficients[0].double(), wide.mean(0), rtol=1e-5, atol=1e-5)
        assert_close(coefficients[1].double(), wide.var(0, correction=0), rtol=1e-4, atol=1e-6)
        assert_close(running[0].double(), 0.9 * mean.double() + 0.1 * (wide.mean(0) + offset), rtol=1e-5, atol=1e-5)
        assert_close(running[1].double(), 0.9 * var.double() + 0.1 * wide.var(0), rtol=1e-4, atol=1e-5)
        assert batches == 4
        assert torch.equal(batch_norm.recompute_output(act, x, coefficients), out)  # recomputation in backward is exact

    def test_outliers_cost_no_digits(self, dtype: torch.dtype, rows: int, channels: int, act: str) -> None:
        """A difference to the first row of all, squared and summed, would drown the others if that row is far away."""
        x, weight, bias, *_ = self.setup(rows, channels, dtype)
        x[0] = 1e4
        _, coefficients = batch_norm._forward(x, weight, bias, 1e-5, act)
        torch.testing.assert_close(coefficients[0].double(), x.double().mean(0), rtol=3e-6, atol=0)
        torch.testing.assert_close(coefficients[1].double(), x.double().var(0, correction=0), rtol=3e-6, atol=0)

    def test_backward(self, dtype: torch.dtype, rows: int, channels: int, act: str) -> None:
        x, weight, bias, *_ = self.setup(rows, channels, dtype)
        grad = torch.randn_like(x)
        _, coefficients = batch_norm._forward(x, weight, bias, 1e-5, act)
        with torch.no_grad():
            found = batch_norm.batch_norm_gradients(x, weight, bias, coefficients, grad, 1e-5, act)
        inputs = [entry.double().requires_grad_() for entry in (x, weight, bias)]
        expected = torch.autograd.grad(self.expected(*inputs, act), inputs, grad.double())
        assert not found[3].any()
        for ours, theirs in zip(found[:3], expected, strict=True):
            scale = float(theirs.abs().max()) + 0.1
            assert_close(ours.double() / scale, theirs / scale, rtol=0, atol=ROUNDING_OF_ROWS[dtype]["atol"])


@pytest.mark.parametrize("act", ["none", "relu", "gelu"])
@pytest.mark.parametrize("pair", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("groups", [1, 4])
class TestLinearBatchNorm:
    def setup(self, groups: int, pair: bool, act: str) -> tuple[tuple[Tensor, ...], LinearNorm, nn.Module]:
        torch.manual_seed(0)
        inputs = tuple(torch.randn(37, 8, device=DEVICE, requires_grad=True) for _ in range(1 + pair))
        layer = LinearNorm(8 * len(inputs), 12, groups=groups).to(DEVICE)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn_like(parameter))
        return inputs, layer, activation_resolver(act)

    def run(self, inputs: tuple[Tensor, ...], layer: LinearNorm, act: nn.Module) -> Tensor:
        linear, norm = layer.linear, layer.norm
        return linear_batch_norm(inputs, linear.weight, linear.bias, norm, act, linear.groups)  # type: ignore[arg-type]

    def expected(self, inputs: tuple[Tensor, ...], layer: LinearNorm, act: nn.Module) -> Tensor:
        linear = layer.linear
        return act(layer.norm(linear_fallback(inputs, linear.weight, linear.bias, linear.groups, None)))

    @pytest.mark.parametrize("dtype", list(ROUNDING_OF_ROWS), ids=str)
    def test_is_the_layer_its_norm_and_activation(self, dtype: torch.dtype, groups: int, pair: bool, act: str) -> None:
        inputs, layer, activation = self.setup(groups, pair, act)
        exact, grad = copy.deepcopy(layer).double(), torch.randn(37, 12, device=DEVICE)
        with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
            out = self.run(inputs, layer, activation)
        assert out.dtype == dtype
        grads = torch.autograd.grad(out, (*inputs, *layer.parameters()), grad.to(dtype))
        doubles = tuple(x.detach().double().requires_grad_() for x in inputs)
        expected = self.expected(doubles, exact, activation)
        expected_grads = torch.autograd.grad(expected, (*doubles, *exact.parameters()), grad.double())
        atol = 4 * ROUNDING_OF_ROWS[dtype]["atol"]
        assert_close(out.double(), expected, rtol=0, atol=atol)
        for ours, theirs in zip(grads, expected_grads, strict=True):
            assert ours.dtype == torch.float32
            scale = 1 + float(theirs.abs().max())
            error = (ours.double() - theirs).abs() / scale
            assert error.mean() < atol / 4  # a few are large, where rounding decides whether ReLU is active
        for ours, theirs in zip(layer.buffers(), exact.buffers(), strict=True):
            assert_close(ours.double(), theirs.double(), rtol=0, atol=atol)

    def test_gradients_of_gradients(self, groups: int, pair: bool, act: str) -> None:
        inputs, layer, activation = self.setup(groups, pair, act)
        found = []
        for run in (self.run, self.expected):
            variables = (*inputs, *layer.parameters())
            first = torch.autograd.grad(run(inputs, layer, activation).sin().sum(), inputs, create_graph=True)
            penalty = torch.stack([grad.square().sum() for grad in first]).sum()
            found.append(torch.autograd.grad(penalty, variables, allow_unused=True, materialize_grads=True))
        for ours, theirs in zip(*found, strict=True):
            scale = 1 + float(theirs.abs().max())
            assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-4)

    def test_the_input_is_recomputed_instead_of_stored(self, groups: int, pair: bool, act: str) -> None:
        inputs, layer, activation = self.setup(groups, pair, act)
        variables, two = (*inputs, *layer.parameters()), torch.tensor(2.0, device=DEVICE)
        rows = tuple(register_recipe(x * two, torch.mul, x, two) for x in inputs)
        out, references = self.run(rows, layer, activation), [weakref.ref(x) for x in rows]
        del rows
        assert [reference() for reference in references] == [None] * len(inputs)
        found = torch.autograd.grad(out.sin().sum(), variables)
        expected = self.run(tuple(x * two for x in inputs), layer, activation)
        for ours, theirs in zip(found, torch.autograd.grad(expected.sin().sum(), variables), strict=True):
            assert torch.equal(ours, theirs)

    def test_frozen_parts_get_no_gradient(self, groups: int, pair: bool, act: str) -> None:
        inputs, layer, activation = self.setup(groups, pair, act)
        layer.linear.requires_grad_(False)
        self.run(tuple(x.detach() for x in inputs), layer, activation).sum().backward()
        assert [x.grad is None for x in (*inputs, *layer.linear.parameters())] == [True] * (len(inputs) + 2)
        assert layer.norm.bias.grad is not None


def test_linear_layers_and_their_norms_are_one_node_in_training() -> None:
    layer, x = LinearNorm(8, 8).to(DEVICE), torch.randn(5, 8, device=DEVICE)
    assert type(layer(x, nn.GELU()).grad_fn).__name__ == "_LinearBatchNormBackward"
    with triton_kernels(False):
        assert type(layer(x, nn.ReLU()).grad_fn).__name__ != "_LinearBatchNormBackward"
    with pytest.raises(RuntimeError, match="same dtype"):
        layer(x.bfloat16())
    with pytest.raises(ValueError, match="at least two rows, got 1"):
        layer(x[:1])


def test_checkpointed_blocks_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    block, layout = ViGBlock(8, k=3).to(DEVICE), Layout.from_equal(2, 9)
    x = torch.randn(18, 8, device=DEVICE, requires_grad=True)
    found = []
    for out in (block(x, layout), checkpoint(block, x, layout, use_reentrant=False)):
        found.append(torch.autograd.grad(out.sin().sum(), (x, *block.parameters())))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)
