from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor
from torch_geometric import EdgeIndex

from pyg_vig.graph import KNNGraph, Layout, NeighborTable, knn_graph, knn_table
from pyg_vig.graph.knn import backends, nearest
from tests.golden import load_case, uniform

torch_cluster = pytest.param(
    "torch_cluster",
    marks=pytest.mark.skipif(not backends.is_installed("torch_cluster"), reason="torch_cluster is not installed"),
)
BACKENDS = ["dense", torch_cluster]


def rank_distances(x: Tensor, cosine: bool) -> Tensor:
    x = x.double()
    return F.normalize(x, dim=-1) if cosine else x


def check_nearest(
    table: NeighborTable,
    src: Tensor,
    dst: Tensor,
    batch_src: Tensor,
    batch_dst: Tensor,
    k: int,
    *,
    loop: bool | None,
    cosine: bool = False,
    dilation: int = 1,
    bias: Tensor | None = None,
    atol: float = 1e-9,
) -> None:
    """Compare a table with brute force in float64; ``loop`` is ``None`` for two node sets.

    Ties may be in any order, so the distances are compared, rank by rank.
    """
    src, dst = rank_distances(src, cosine), rank_distances(dst, cosine)
    assert table.index.shape == (dst.size(0), k)
    edge_index = table.edge_index
    edge_index.validate()
    assert edge_index.is_sorted_by_col
    assert edge_index.sparse_size() == (src.size(0), dst.size(0))
    for i, picks in enumerate(table.index.tolist()):
        assert len(set(picks)) == k
        candidates = (batch_src == batch_dst[i]).nonzero().flatten().tolist()
        first = candidates[0]
        assert set(picks) <= set(candidates)
        distance = (src - dst[i]).square().sum(1)
        if bias is not None:
            distance[candidates] += bias[i - int((batch_dst < batch_dst[i]).sum())].double()
        others = [j for j in candidates if loop is None or j != i]
        if loop and bias is None:
            assert picks[0] == i
            ranked = [i, *sorted(others, key=lambda j: distance[j].item())]
        else:
            assert loop is not False or i not in picks
            ranked = sorted(candidates if loop else others, key=lambda j: distance[j].item())
        expected = distance[ranked[: k * dilation : dilation]]
        torch.testing.assert_close(distance[picks], expected, rtol=0, atol=atol, msg=f"node {i} of graph at {first}")


@st.composite
def clouds(draw: st.DrawFn, duplicates: bool = True) -> tuple[Tensor, Tensor, int]:
    """Draw nodes, batch vector and number of graphs; some graphs are empty, some points coincide."""
    sizes = draw(st.lists(st.sampled_from([0, 2, 3, 7, 12]), min_size=1, max_size=4).filter(any))
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    x = torch.randn(sum(sizes), draw(st.integers(1, 5)), generator=generator, dtype=torch.float64)
    if duplicates and draw(st.booleans()):
        x = x[torch.randint(x.size(0), (x.size(0),), generator=generator)]
    return x, batch, len(sizes)


class TestNearest:
    @pytest.mark.parametrize("backend", BACKENDS)
    @given(cloud=clouds(), loop=st.booleans(), cosine=st.booleans(), data=st.data())
    def test_one_node_set(self, backend, cloud, loop, cosine, data):
        x, batch, num_graphs = cloud
        smallest_graph = int(batch.bincount()[batch.bincount() > 0].min())
        dilation = data.draw(st.integers(1, 3).filter(lambda d: d <= smallest_graph - 1 + loop))
        k = data.draw(st.integers(1, (smallest_graph - 1 + loop) // dilation))
        options = {"loop": loop, "cosine": cosine, "dilation": dilation}
        table = knn_table(x, k, Layout.from_batch(batch, num_graphs), backend=backend, **options)
        check_nearest(table, x, x, batch, batch, k, **options)

    @pytest.mark.parametrize("backend", BACKENDS)
    @given(source=clouds(), cosine=st.booleans(), data=st.data())
    def test_two_node_sets(self, backend, source, cosine, data):
        src, batch_src, num_graphs = source
        graphs = batch_src.unique()
        batch_dst = graphs[torch.randint(graphs.numel(), (9,))].sort().values
        dst = torch.randn(9, src.size(1), dtype=torch.float64)
        k = data.draw(st.integers(1, int(batch_src.bincount()[batch_dst].min())))
        layouts = Layout.from_batch(batch_src, num_graphs), Layout.from_batch(batch_dst, num_graphs)
        table = knn_table((src, dst), k, layouts, cosine=cosine, backend=backend)
        check_nearest(table, src, dst, batch_src, batch_dst, k, loop=None, cosine=cosine)

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("channels", [2, 24])
    @pytest.mark.parametrize("cosine", [True, False])
    def test_float32(self, backend, channels, cosine):
        x, batch = torch.randn(90, channels), torch.arange(3).repeat_interleave(30)
        table = knn_table(x, 6, Layout.from_equal(3, 30), cosine=cosine, backend=backend)
        check_nearest(table, x, x, batch, batch, 6, loop=True, cosine=cosine, atol=1e-5)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_far_from_the_origin(self, backend):
        """Coordinates with a large offset, as on a map: their squares are ten million times the distances."""
        x = 0.1 * torch.randn(300, 3) + 300
        table = knn_table(x, 5, Layout.from_equal(1, 300), backend=backend)
        check_nearest(table, x, x, torch.zeros(300), torch.zeros(300), 5, loop=True, atol=1e-4)

    def test_exactly_k_where_all_points_coincide(self):
        x, batch = torch.ones(7, 3), torch.tensor([0, 0, 0, 1, 1, 1, 1])
        for backend in ["dense", "auto"]:
            for loop in [True, False]:
                table = knn_table(x, 2, Layout.from_batch(batch), loop=loop, backend=backend)
                check_nearest(table, x, x, batch, batch, 2, loop=loop)

    @pytest.mark.parametrize("loop", [True, False, None])
    @pytest.mark.parametrize("dilation", [1, 2])
    def test_bias(self, loop, dilation):
        """With a bias, the node itself is ranked like any other, as in the published code; without loops, excluded."""
        n, m = 8, 8 if loop is not None else 6
        x, y = torch.randn(3 * n, 4, dtype=torch.float64), torch.randn(3 * m, 4, dtype=torch.float64)
        src, dst = (x, x) if loop is not None else (y, x)
        bias = torch.randn(n, m, dtype=torch.float64)
        nodes, layouts = (x if loop is not None else (y, x)), (Layout.from_equal(3, m), Layout.from_equal(3, n))
        table = knn_table(nodes, 3, layouts, cosine=True, loop=bool(loop), dilation=dilation, bias=bias)
        batch_src, batch_dst = (layout.batch_vector() for layout in layouts)
        check_nearest(table, src, dst, batch_src, batch_dst, 3, loop=loop, cosine=True, dilation=dilation, bias=bias)

    def test_zero_vectors_have_neighbours(self):
        x = torch.randn(6, 4, dtype=torch.float64)
        x[2] = 0
        table = knn_table(x, 3, Layout.from_equal(1, 6), cosine=True)
        assert table.index[2, 0] == 2
        assert all(len(set(row)) == 3 for row in table.index.tolist())


class TestBatches:
    def test_last_graphs_may_lack_nodes_of_one_set(self):
        batch = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0])
        x = torch.rand(5, 3), torch.rand(2, 3)
        edge_index = knn_graph(x, 2, batch)
        assert edge_index.max() < 3
        assert torch.equal(KNNGraph(2)(x, batch).edge_index, edge_index)
        assert KNNGraph(1, dilation=2)(x, batch).index.max() < 3

    def test_no_nodes(self):
        for x, batch in [
            (torch.empty(0, 3), None),
            (torch.empty(0, 3), torch.empty(0, dtype=torch.int64)),
            ((torch.rand(4, 3), torch.empty(0, 3)), None),
        ]:
            assert knn_graph(x, 2, batch).shape == (2, 0)

    @pytest.mark.parametrize("channels", [3, 16])
    def test_a_batch_gives_what_its_members_give(self, channels):
        x, sizes = torch.randn(40, channels, dtype=torch.float64), [5, 20, 0, 15]
        batch = torch.arange(4).repeat_interleave(torch.tensor(sizes))
        first, parts = 0, []
        for part in x.split(sizes):
            if len(part):
                parts.append(knn_graph(part, 4).as_tensor() + first)
            first += len(part)
        assert torch.equal(knn_graph(x, 4, batch).as_tensor(), torch.cat(parts, 1))

    @pytest.mark.parametrize("sizes", [[30, 30, 30], [60, 3, 5, 4, 3, 3, 3]])  # the second wastes too much when padded
    def test_ragged_search_pads_no_more_than_it_must(self, sizes, monkeypatch):
        held: list[int] = []
        search = backends.nearest

        def watched(sources, targets, k, **how):
            held.append(len(sources) * sources.size(1) * targets.size(1))
            return search(sources, targets, k, **how)

        monkeypatch.setattr(backends, "nearest", watched)
        batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        x = torch.randn(len(batch), 16, dtype=torch.float64)
        table = knn_table(x, 3, Layout.from_batch(batch))
        check_nearest(table, x, x, batch, batch, 3, loop=True)
        assert max(held) <= max(sizes) * max(max(sizes), sum(sizes))


class TestChunks:
    @pytest.mark.parametrize("chunk", [1, 40, 100, 400, 1000])
    @pytest.mark.parametrize("loop", [True, False])
    @pytest.mark.parametrize("with_bias", [True, False])
    def test_chunks_give_what_one_piece_gives(self, chunk, loop, with_bias, monkeypatch):
        x, layout = torch.randn(5 * 20, 6, dtype=torch.float64), Layout.from_equal(5, 20)
        bias = torch.randn(20, 20, dtype=torch.float64) if with_bias else None
        whole = knn_table(x, 4, layout, loop=loop, bias=bias, backend="dense")
        monkeypatch.setattr(nearest, "CHUNK_NUMEL", chunk)
        assert torch.equal(knn_table(x, 4, layout, loop=loop, bias=bias, backend="dense").index, whole.index)

    def test_ragged_and_two_node_sets(self, monkeypatch):
        src, dst = torch.randn(30, 6, dtype=torch.float64), torch.randn(12, 6, dtype=torch.float64)
        batch = torch.arange(2).repeat_interleave(15), torch.arange(2).repeat_interleave(torch.tensor([5, 7]))
        whole = knn_graph((src, dst), 4, batch, backend="dense")
        monkeypatch.setattr(nearest, "CHUNK_NUMEL", 35)
        assert torch.equal(knn_graph((src, dst), 4, batch, backend="dense"), whole)


class TestBackends:
    def test_auto_takes_trees_for_ragged_or_large_sets_of_few_dimensions(self, monkeypatch):
        monkeypatch.setattr(backends, "is_installed", lambda name: True)
        ragged, equal, large = (
            Layout.from_batch(torch.tensor([0, 1])),
            Layout.from_equal(2, 1),
            Layout.from_equal(1, 4096),
        )
        assert backends.choose_backend(torch.rand(2, 3), ragged, None) == "torch_cluster"
        assert backends.choose_backend(torch.rand(2, 64), ragged, None) == "dense"
        assert backends.choose_backend(torch.rand(2, 3), equal, None) == "dense"
        assert backends.choose_backend(torch.rand(4096, 3), large, None) == "torch_cluster"
        assert backends.choose_backend(torch.rand(4096, 3), large, torch.rand(4096, 1)) == "dense"
        monkeypatch.setattr(backends, "is_installed", lambda name: False)
        assert backends.choose_backend(torch.rand(2, 3), ragged, None) == "dense"

    @pytest.mark.parametrize("backend", ["torch_cluster", "pyg_lib"])
    def test_a_missing_library_is_named(self, backend, monkeypatch):
        monkeypatch.setattr(backends, "is_installed", lambda name: False)
        with pytest.raises(ValueError, match=f"backend='{backend}' needs"):
            knn_graph(torch.rand(5, 3), 2, backend=backend)

    def test_lost_edges_are_noticed(self, monkeypatch):
        monkeypatch.setattr(backends, "_load_knn", lambda name: lambda *args: torch.zeros(2, 9, dtype=torch.int64))
        with pytest.raises(RuntimeError, match="returned 9 of 15 edges"):
            knn_graph(torch.rand(5, 3), 2, backend="torch_cluster")


class TestGolden:
    @pytest.mark.parametrize("name", load_case("knn")[0]["cases"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_picks_of_the_official_code(self, name, dtype):
        description, arrays = load_case("knn")
        case = description["cases"][name]
        batch, channels, n, m = case["B"], case["C"], case["N"], case["M"]

        def nodes(key: str, count: int) -> Tensor:
            rows = torch.from_numpy(2 * uniform(key, batch * channels * count) - 1).view(batch, channels, count)
            return rows.mT.reshape(-1, channels).float().to(dtype)

        x, layout = nodes(f"{name}.x", n), Layout.from_equal(batch, n)
        bias = None
        if case["relative_pos"]:
            bias = torch.from_numpy(uniform(f"{name}.rp", n * (m or n)) - 0.5).view(n, m or n).float().to(dtype)
        pair, layouts = (x, layout) if m == 0 else ((nodes(f"{name}.y", m), x), (Layout.from_equal(batch, m), layout))
        table = knn_table(pair, case["k"], layouts, cosine=True, dilation=case["dilation"], bias=bias)
        official, centre = torch.from_numpy(arrays[name].astype("int64"))
        assert torch.equal(centre[0, :, 0], torch.arange(n))
        offset = torch.arange(batch).view(-1, 1, 1) * (m or n)
        assert torch.equal(table.index, (official + offset).view(-1, case["k"]))


class TestStochastic:
    @staticmethod
    def search(epsilon: float) -> list[list[int]]:
        x = torch.arange(12.0).unsqueeze(1)
        return knn_table(x, 3, Layout.from_equal(1, 12), dilation=3, epsilon=epsilon).index.tolist()

    def test_picks_come_from_the_candidates_with_one_draw_for_all(self):
        candidates = knn_table(torch.arange(12.0).unsqueeze(1), 9, Layout.from_equal(1, 12)).index.tolist()
        seen = set()
        for _ in range(10):
            picks = self.search(1.0)
            ranks = {tuple(row.index(j) for j in pick) for row, pick in zip(candidates, picks, strict=True)}
            assert len(ranks) == 1
            assert all(len(set(pick)) == 3 for pick in picks)
            seen |= ranks
        assert len(seen) > 5

    def test_happens_with_probability_epsilon(self):
        strided = self.search(0.0)
        changed = sum(self.search(0.3) != strided for _ in range(300))
        assert 60 < changed < 120

    def test_in_training_only(self):
        x, graph = torch.rand(30, 4), KNNGraph(3, 3, epsilon=1.0)
        strided = KNNGraph(3, 3)(x).index
        assert not torch.equal(graph(x).index, strided)
        assert torch.equal(graph.eval()(x).index, strided)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            ((torch.rand(5, 3), 6), {}, r"k=6 neighbours requested from a graph with 5 nodes"),
            ((torch.rand(5, 3), 5), {"loop": False}, r"k=5 neighbours requested from a graph with 4 other nodes"),
            ((torch.rand(5, 3), 2), {"dilation": 3}, r"k \* dilation = 2 \* 3 = 6 neighbours requested .* 5 nodes"),
            ((torch.rand(5, 3), 3, torch.tensor([0, 0, 0, 1, 1])), {}, "k=3 .* with 2 nodes"),
            ((torch.rand(5, 3), 2, torch.tensor([0, 1, 0, 1, 1])), {}, "sorted"),
            ((torch.rand(5, 3), 2, torch.zeros(4, dtype=torch.int64)), {}, "5 rows of features.* 4 nodes"),
            ((torch.rand(5), 2), {}, r"\(N, C\) with equal C, got \(5,\)"),
            (((torch.rand(5, 3), torch.rand(5, 4)), 2), {}, r"\(5, 3\) and \(5, 4\)"),
            ((torch.arange(10).view(5, 2), 2), {}, "floating point, got torch.int64"),
            ((torch.rand(5, 3), 0), {}, "got k=0"),
            ((torch.rand(5, 3), 2), {"dilation": 0}, "dilation=0"),
            ((torch.rand(5, 3), 2), {"backend": "faiss"}, "got 'faiss'"),
            ((torch.rand(5, 3), 2), {"bias": torch.rand(5, 4)}, r"\(5, 5\), got \(5, 4\)"),
            ((torch.rand(5, 3), 2), {"bias": torch.rand(5, 5), "backend": "torch_cluster"}, "needs backend='dense'"),
            ((torch.rand(5, 3), 2, torch.tensor([0, 0, 0, 1, 1])), {"bias": torch.rand(5, 5)}, "equal size"),
        ],
    )
    def test_the_message_shows_value_and_fix(self, arguments, options, message):
        with pytest.raises(ValueError, match=message):
            knn_graph(*arguments, **options)

    def test_numbers_of_graphs_differ(self):
        layouts = Layout.from_equal(2, 5), Layout.from_equal(1, 4)
        with pytest.raises(ValueError, match="2 source graphs, but 1 destination graphs"):
            knn_table((torch.rand(10, 3), torch.rand(4, 3)), 2, layouts)

    @pytest.mark.parametrize("options", [{"k": 0}, {"dilation": 0}])
    def test_module(self, options):
        with pytest.raises(ValueError, match="at least 1"):
            KNNGraph(**options)


class TestModule:
    def test_equals_the_function(self):
        x, batch = torch.rand(20, 3), torch.arange(2).repeat_interleave(10)
        graph = KNNGraph(4, 2, cosine=True, loop=False)
        expected = knn_graph(x, 4, batch, dilation=2, cosine=True, loop=False)
        assert torch.equal(graph(x, batch).edge_index, expected)
        assert torch.equal(graph(x, Layout.from_batch(batch)).edge_index, expected)
        assert isinstance(expected, EdgeIndex)

    def test_position_is_the_bias(self):
        x, bias = torch.rand(20, 3), torch.randn(10, 10)
        layout = Layout.from_equal(2, 10)
        table = KNNGraph(4, position=_Position(bias))(x, layout)
        assert torch.equal(table.index, knn_table(x, 4, layout, bias=bias).index)

    def test_repr(self):
        assert repr(KNNGraph(5, 2, cosine=True)) == (
            "KNNGraph(k=5, dilation=2, cosine=True, loop=True, epsilon=0.0, backend='auto')"
        )


class _Position(torch.nn.Module):
    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, layout: Layout) -> Tensor:
        return self.bias


def test_input_is_left_alone_and_no_gradient_flows():
    x = torch.rand(10, 3, requires_grad=True)
    before = x.detach().clone()
    for options in [{}, {"cosine": True}, {"bias": torch.zeros(10, 10)}]:
        assert not knn_graph(x, 3, **options).requires_grad
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_compiled_equals_eager(epsilon):
    """The whole search compiles into one graph; stochastic dilation may pick any three of the six nearest."""
    x = torch.randn(2 * 15, 8)

    def run(x: Tensor) -> Tensor:
        return knn_table(x, 3, Layout.from_equal(2, 15), cosine=True, dilation=2, epsilon=epsilon).index

    found = torch.compile(run, fullgraph=True, backend="aot_eager")(x)
    if epsilon == 0:
        assert torch.equal(found, run(x))
    else:
        nearest = knn_table(x, 6, Layout.from_equal(2, 15), cosine=True).index
        assert bool((found.unsqueeze(2) == nearest.unsqueeze(1)).any(2).all())


@pytest.mark.slow
def test_memory_is_linear_in_nodes():
    """20,000 nodes need at most a fifth of the 4 GiB allowed for 100,000 (which take a minute on one core)."""
    code = """if True:
        import resource, warnings
        warnings.simplefilter("ignore")
        import torch
        from pyg_vig.graph import knn_graph
        x = torch.randn(20_000, 64)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = peak()
        assert knn_graph(x, 9).shape == (2, 180_000)
        print(peak() - before)
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kibibytes = int(result.stdout)
    assert kibibytes < 0.2 * 4 * 2**20
    assert kibibytes < 2**18  # the full distance matrix would take 1.5 GiB


def test_half_precision_finds_what_float32_finds():
    torch.manual_seed(0)
    x = torch.randn(60, 16).bfloat16()
    layout = Layout.from_equal(2, 30)
    expected = knn_table(x.float(), 5, layout, cosine=True).index
    assert torch.equal(knn_table(x, 5, layout, cosine=True).index, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(knn_table(x.float(), 5, layout, cosine=True).index, expected)
