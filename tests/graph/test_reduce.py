from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from pyg_vig.graph import Adjacency, NeighborTable, neighbor_dot, neighbor_max, neighbor_sum
from pyg_vig.graph.adjacency import in_degree, out_degree, to_csr, zero_isolated

NUM_SRC, NUM_DST, CHANNELS = 7, 6, 5


def table() -> NeighborTable:
    return NeighborTable(torch.stack([torch.randperm(NUM_SRC)[:3] for _ in range(NUM_DST)]), NUM_SRC)


def irregular() -> EdgeIndex:
    """Edges in which nodes 0, 3 and 5 (first, middle, last) have no neighbours and node 2 has all."""
    dst = torch.tensor([1, *[2] * NUM_SRC, 4, 4])
    src = torch.tensor([6, *range(NUM_SRC), 0, 3])
    return EdgeIndex(torch.stack([src, dst]), sort_order="col", sparse_size=(NUM_SRC, NUM_DST))


def edgeless() -> EdgeIndex:
    return EdgeIndex(torch.empty(2, 0, dtype=torch.int64), sort_order="col", sparse_size=(NUM_SRC, NUM_DST))


def adj_t(layout: torch.layout) -> Tensor:
    """Adjacency matrix with a row per destination, as created by PyG's ``ToSparseTensor``."""
    src, dst = irregular().as_tensor()
    matrix = torch.sparse_coo_tensor(torch.stack([dst, src]), torch.ones(src.numel()), (NUM_DST, NUM_SRC))
    return matrix.coalesce() if layout == torch.sparse_coo else matrix.to_sparse(layout=layout)


GRAPHS = {
    "table": table,
    "irregular": irregular,
    "edgeless": edgeless,
    "coo": lambda: adj_t(torch.sparse_coo),
    "csr": lambda: adj_t(torch.sparse_csr),
    "csc.t": lambda: adj_t(torch.sparse_csr).t().to_sparse_csc().t(),
}


def neighbors(adjacency: Adjacency) -> list[list[int]]:
    """Return the neighbours of every destination without using the functions under test."""
    if isinstance(adjacency, NeighborTable):
        return adjacency.index.tolist()
    if adjacency.layout != torch.strided:
        return [row.nonzero().flatten().tolist() for row in adjacency.to_dense()]
    return [adjacency[0][adjacency[1] == i].tolist() for i in range(NUM_DST)]


def reduce_by_loop(x: Tensor, lists: list[list[int]], reduce: str, weight: Tensor | None = None) -> Tensor:
    rows, edge = [], 0
    for sources in lists:
        part = x[sources]
        if weight is not None:
            part = part * weight[edge : edge + len(sources)].unsqueeze(1)
        edge += len(sources)
        rows.append(part.amax(0) if reduce == "max" and sources else part.sum(0))
    return torch.stack(rows)


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Adjacency:
    return GRAPHS[request.param]()


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).to(out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
class TestAgainstALoop:
    def test_max_is_exact(self, graph, dtype):
        x = torch.randn(NUM_SRC, CHANNELS).to(dtype)
        expected = reduce_by_loop(x, neighbors(graph), "max")
        assert torch.equal(neighbor_max(x, graph), expected)
        assert neighbor_max(x, graph).dtype == dtype

    def test_max_with_gradient_is_exact(self, graph, dtype):
        x = torch.randn(NUM_SRC, CHANNELS).to(dtype).requires_grad_()
        out, expected = neighbor_max(x, graph), reduce_by_loop(x, neighbors(graph), "max")
        assert torch.equal(out, expected)
        torch.testing.assert_close(gradients(out, x), gradients(expected, x))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_sum(self, graph, dtype, weighted):
        x = torch.randn(NUM_SRC, CHANNELS).to(dtype).requires_grad_()
        lists = neighbors(graph)
        weight = torch.randn(sum(map(len, lists))).to(dtype).requires_grad_() if weighted else None
        out, expected = neighbor_sum(x, graph, weight), reduce_by_loop(x, lists, "sum", weight)
        torch.testing.assert_close(out, expected)
        inputs = (x,) if weight is None else (x, weight)
        rounding = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}  # the order of additions differs
        torch.testing.assert_close(gradients(out, *inputs), gradients(expected, *inputs), **rounding)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_max_of_infinities_and_extremes(graph, dtype, requires_grad):
    x = torch.randn(NUM_SRC, CHANNELS).to(dtype)
    x[:, 0], x[:, 1], x[0, 2], x[3, 2] = -torch.inf, torch.inf, torch.inf, -torch.inf
    x[:, 3] = torch.finfo(dtype).max * torch.linspace(-1, 1, NUM_SRC).to(dtype)
    x[:, 4] = torch.finfo(dtype).smallest_normal * torch.arange(-3, 4).to(dtype)
    expected = reduce_by_loop(x, neighbors(graph), "max")
    assert torch.equal(neighbor_max(x.requires_grad_(requires_grad), graph), expected)


def test_max_sends_the_gradient_of_ties_to_one_neighbour(graph):
    x = torch.ones(NUM_SRC, CHANNELS, requires_grad=True)
    neighbor_max(x, graph).sum().backward()
    linked = sum(bool(sources) for sources in neighbors(graph))
    assert x.grad is not None
    torch.testing.assert_close(x.grad.sum(0), torch.full((CHANNELS,), float(linked)))


def test_gradcheck(graph):
    x = torch.randn(NUM_SRC, CHANNELS, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows: neighbor_max(rows, graph), x)
    assert torch.autograd.gradcheck(lambda rows: neighbor_sum(rows, graph), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", [neighbor_max, neighbor_sum])
def test_compiled_equals_eager(reduce, dtype):
    torch._dynamo.reset()
    adjacency, x = table(), torch.randn(NUM_SRC, CHANNELS, dtype=dtype, requires_grad=True)

    def run(rows: Tensor, index: Tensor) -> Tensor:
        return reduce(rows, NeighborTable(index, NUM_SRC))

    compiled = torch.compile(run, fullgraph=True)(x, adjacency.index)
    eager = run(x, adjacency.index)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(compiled, x), gradients(eager, x))


def test_degrees_and_isolated_nodes(graph):
    lists = neighbors(graph)
    assert in_degree(graph).tolist() == [len(sources) for sources in lists]
    flat = [source for sources in lists for source in sources]
    assert out_degree(graph, NUM_SRC).tolist() == [flat.count(j) for j in range(NUM_SRC)]
    assert zero_isolated(torch.ones(NUM_DST, 1), graph).flatten().tolist() == [bool(sources) for sources in lists]


def test_csr(graph):
    ptr, src = to_csr(graph)
    lists = neighbors(graph)
    assert [src[ptr[i] : ptr[i + 1]].tolist() for i in range(NUM_DST)] == lists


@pytest.mark.parametrize("reduce", [neighbor_max, neighbor_sum])
@pytest.mark.parametrize("edges", [irregular().as_tensor(), EdgeIndex(irregular().as_tensor().flip(0))])
def test_unsorted_edges_are_refused(reduce, edges):
    with pytest.raises(ValueError, match='sort_order="col"'):
        reduce(torch.rand(NUM_SRC, 2), edges)


def test_no_row_per_edge_is_held():
    """Each of 200 nodes has all 200 as neighbours: a row per edge would take 20 MB."""
    x = torch.randn(200, 128, requires_grad=True)
    adjacency = NeighborTable(torch.arange(200).expand(200, -1).contiguous(), 200)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        neighbor_max(x, adjacency)
    assert max(saved) <= x.numel()


@pytest.mark.parametrize("weighted", [False, True])
def test_heads_are_reduced_one_by_one(graph, weighted):
    x = torch.randn(NUM_SRC, 2, CHANNELS, dtype=torch.float64)
    y = torch.randn(NUM_DST, 2, CHANNELS, dtype=torch.float64)
    scores = neighbor_dot(y, x, graph)
    total = neighbor_sum(x, graph, scores if weighted else None)
    assert total.shape == y.shape
    for head in range(2):
        score = neighbor_dot(y[:, head].contiguous(), x[:, head].contiguous(), graph)
        torch.testing.assert_close(scores[:, head], score)
        expected = neighbor_sum(x[:, head].contiguous(), graph, score if weighted else None)
        torch.testing.assert_close(total[:, head], expected)


@pytest.mark.parametrize("reduce", [neighbor_max, neighbor_sum, lambda x, graph: neighbor_dot(x, x, graph)])
def test_function_transforms_and_forward_mode(reduce):
    torch.manual_seed(0)
    graph = NeighborTable(torch.tensor([[0, 1], [1, 2], [2, 0]]), num_src=3)
    x, direction = torch.randn(2, 3, 4, dtype=torch.float64).unbind()
    expected = torch.autograd.functional.jacobian(lambda x: reduce(x, graph), x)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert torch.allclose(transform(lambda x: reduce(x, graph))(x), expected)
    _, tangent = torch.func.jvp(lambda x: reduce(x, graph), (x,), (direction,))
    assert torch.allclose(tangent, (expected * direction).sum((-1, -2)))
    many = torch.vmap(lambda x: reduce(x, graph))(torch.stack([x, direction]))
    assert torch.allclose(many[1], reduce(direction, graph))


def test_products_along_edges_that_name_nothing_are_refused():
    x, graph = torch.rand(3, 4), NeighborTable(torch.tensor([[0, 5000], [1, 2], [2, 0]]), num_src=3)
    with pytest.raises(IndexError, match="source nodes 0 to 2, but 1 of 6 do not"):
        neighbor_dot(x, x, graph)


@pytest.mark.parametrize("weighted", [False, True])
def test_second_derivatives_of_sums(weighted):
    torch.manual_seed(0)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(6, dtype=torch.float64, requires_grad=True)
    graph = NeighborTable(torch.tensor([[0, 1], [1, 2], [2, 0]]), num_src=3)

    def cubes(x: Tensor, weight: Tensor) -> Tensor:
        return neighbor_sum(x, graph, weight if weighted else None).pow(3)

    assert torch.autograd.gradgradcheck(cubes, (x, weight) if weighted else (x, weight.detach()))


@pytest.mark.parametrize("reduce", [neighbor_max, neighbor_sum])
@pytest.mark.parametrize("shape", [(3,), (3, 2, 2, 2)])
def test_rows_that_are_no_matrix(reduce, shape):
    with pytest.raises(ValueError, match="must be a node matrix"):
        reduce(torch.rand(shape), NeighborTable(torch.tensor([[0, 1], [1, 2]]), num_src=3))


def test_half_precision_rows_and_full_precision_weights() -> None:
    adjacency, x = table(), torch.rand(NUM_SRC, CHANNELS)
    weight = torch.rand(NUM_DST, 3)
    out = neighbor_sum(x.bfloat16(), adjacency, weight)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), neighbor_sum(x, adjacency, weight), rtol=0.03, atol=0.03)


def test_no_destinations_in_function_transforms() -> None:
    adjacency = NeighborTable(torch.empty(0, 3, dtype=torch.int64), NUM_SRC)
    for reduce in (neighbor_sum, neighbor_max):
        assert torch.vmap(lambda x, reduce=reduce: reduce(x, adjacency))(torch.rand(2, NUM_SRC, 4)).shape == (2, 0, 4)
