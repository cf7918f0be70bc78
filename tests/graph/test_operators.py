from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pyg_vig.graph import operators
from pyg_vig.graph.knn import flash
from pyg_vig.triton_kernels import is_supported, triton_kernels

NUM_SRC, NUM_DST, CHANNELS = 7, 6, 4
EDGES = 18


def graph(ragged: bool) -> tuple[Tensor, Tensor | None]:
    """Return sources and, for a ragged graph, row pointers; node 2 of the ragged graph has no neighbours."""
    ptr = torch.tensor([0, 1, 6, 6, 10, 11, EDGES]) if ragged else None
    return torch.randint(0, NUM_SRC, (EDGES,)), ptr


def operator_calls(ragged: bool, heads: int) -> dict[str, tuple[object, tuple[object, ...]]]:
    """Return every operator with its arguments, in float64 and requiring gradients."""
    src, ptr = graph(ragged)
    x, y = (torch.randn(rows, CHANNELS, dtype=torch.float64, requires_grad=True) for rows in (NUM_SRC, NUM_DST))
    weight = torch.randn(EDGES, heads, dtype=torch.float64, requires_grad=True) if heads else None
    argmax = operators.neighbor_max(x, src, ptr, NUM_DST, True)[1]
    return {
        "neighbor_max": (operators.neighbor_max, (x, src, ptr, NUM_DST, True)),
        "scatter_to_argmax": (operators.scatter_to_argmax, (y, argmax, src, ptr, NUM_SRC)),
        "neighbor_sum": (operators.neighbor_sum, (x, src, ptr, NUM_DST, weight)),
        "reversed_sum": (operators.reversed_sum, (y, src, ptr, NUM_SRC, weight)),
        "neighbor_dot": (operators.neighbor_dot, (y, x, src, ptr, heads or 1)),
    }


CASES = pytest.mark.parametrize(
    ("name", "ragged", "heads"),
    [
        ("neighbor_max", True, 0),
        ("scatter_to_argmax", True, 0),
        ("neighbor_sum", True, 2),
        ("neighbor_sum", False, 0),
        ("reversed_sum", False, 2),
        ("neighbor_dot", True, 2),
    ],
)


@CASES
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # caused by opcheck itself
def test_operator_is_well_formed(name: str, ragged: bool, heads: int) -> None:
    """Check schema, fake kernel, autograd and compilation with dynamic shapes by ``torch.library.opcheck``."""
    operator, arguments = operator_calls(ragged, heads)[name]
    torch.library.opcheck(operator, arguments)


@CASES
def test_gradients_to_the_second_order(name: str, ragged: bool, heads: int) -> None:
    operator, arguments = operator_calls(ragged, heads)[name]
    tracked = [entry for entry in arguments if isinstance(entry, Tensor) and entry.requires_grad]

    def run(*values: Tensor) -> Tensor:
        replaced = iter(values)
        out = operator(*[next(replaced) if any(entry is t for t in tracked) else entry for entry in arguments])
        return out[0] if isinstance(out, tuple) else out

    assert torch.autograd.gradcheck(run, tracked)
    assert torch.autograd.gradgradcheck(run, tracked)


def test_definitions_follow_a_loop_over_nodes() -> None:
    src, ptr = graph(ragged=True)
    assert ptr is not None
    x, weight = torch.randn(NUM_SRC, CHANNELS), torch.randn(EDGES, 2)
    largest, argmax = operators.neighbor_max(x, src, ptr, NUM_DST, True)
    total = operators.neighbor_sum(x, src, ptr, NUM_DST, weight)
    for node in range(NUM_DST):
        mine = slice(int(ptr[node]), int(ptr[node + 1]))
        rows = x[src[mine]]
        scale = weight[mine].repeat_interleave(CHANNELS // 2, 1)
        assert_close(total[node], (rows * scale).sum(0))
        assert_close(largest[node], rows.amax(0) if len(rows) else torch.zeros(CHANNELS))
        assert_close(argmax[node].long(), src[mine][rows.argmax(0)] if len(rows) else torch.full((CHANNELS,), -1))


@pytest.mark.parametrize("loop", [None, True, False])
def test_nearest_is_well_formed(loop: bool | None) -> None:
    x, bias = torch.randn(10, 3), torch.randn(5, 5)
    torch.library.opcheck(flash.ragged_operator, (x, x, x.square().sum(1), bias, None, None, 2, 3, loop, True))
    ptr = torch.tensor([0, 4, 10])
    torch.library.opcheck(flash.ragged_operator, (x, x, None, None, ptr, ptr, 2, 3, loop, False))


def test_compilers_and_exporters_see_through() -> None:
    class Network(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found = flash.ragged_operator(x, x, None, None, None, None, 1, 3, None, False).flatten()
            return operators.neighbor_sum(x, found, None, x.size(0), None)

    x = torch.randn(NUM_SRC, CHANNELS)
    expected = Network()(x)
    assert_close(torch.compile(Network(), fullgraph=True, backend="aot_eager")(x), expected)
    rows = torch.export.Dim("rows", min=4, max=64)
    exported = torch.export.export(Network(), (x,), dynamic_shapes=({0: rows},)).module()
    assert_close(exported(x), expected)
    larger = torch.randn(12, CHANNELS)
    assert_close(exported(larger), Network()(larger))


def test_kernels_serve_no_cpu_tensors_and_can_be_switched_off() -> None:
    assert not is_supported(torch.rand(1))
    with triton_kernels(False):
        assert not is_supported(torch.rand(1, device="meta"))
