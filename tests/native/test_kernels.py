"""Compare every C kernel with its definition in plain PyTorch."""

from __future__ import annotations

import pytest
import torch

from pyg_vig import native
from pyg_vig.graph import operators
from pyg_vig.native import native_kernels

PTR = torch.tensor([0, 2, 2, 5, 6])  # the second destination has no neighbours
SRC = torch.tensor([3, 0, 1, 2, 3, 1])

pytestmark = pytest.mark.skipif(not native.is_supported(torch.zeros(1)), reason="needs a C compiler")


@pytest.fixture(params=["table", "edges"])
def graph(request):
    if request.param == "edges":
        return SRC, PTR, 4
    return torch.randint(10, (12, 5)).flatten(), None, 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 7, 64, 100, 192])
def test_largest_neighbor(graph, dtype, channels):
    x = torch.randint(-3, 4, (10, channels)).to(dtype)  # with ties, which the first neighbour wins
    found = operators.gather_max(x, *graph)
    with native_kernels(False):
        expected = operators.gather_max(x, *graph)
    assert torch.equal(found[0], expected[0]) and found[0].dtype == dtype
    assert torch.equal(found[1], expected[1])
    best, none = operators.gather_max(x, *graph, return_argmax=False)
    assert torch.equal(best, expected[0])
    assert none.shape == (0, channels)


def test_a_nan_is_largest():
    x = torch.tensor([[0.0, torch.nan], [torch.nan, 1.0], [torch.inf, torch.nan]])
    best, argmax = operators.gather_max(x, torch.tensor([0, 1, 2]), None, 1)
    assert best.isnan().all()
    assert argmax.tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_scatter_winners(graph, dtype, threads):
    argmax = operators.gather_max(torch.randn(10, 33), *graph)[1]
    grad = torch.randint(-3, 4, argmax.shape).to(dtype)
    with native_kernels(False):
        expected = operators.scatter_to_argmax(grad, argmax, None, None, 10)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(operators.scatter_to_argmax(grad, argmax, None, None, 10), expected)
    finally:
        torch.set_num_threads(1)


def test_edges_that_name_nothing_are_refused():
    for stray in (-1, 3, 2**40):
        with pytest.raises(IndexError, match="source nodes 0 to 2, but 1 of 2 do not"):
            operators.gather_max(torch.randn(3, 4), torch.tensor([0, stray]), None, 1)
    with pytest.raises(ValueError, match="expected 3 edges for 4 destinations, got 6"):
        operators.gather_max(torch.randn(4, 4), SRC, PTR - PTR // 2, 4)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_indices_of_either_type(kind):
    x = torch.randn(4, 6)
    assert torch.equal(
        operators.gather_max(x, SRC.to(kind), PTR.to(kind), 4)[0], operators.gather_max(x, SRC, PTR, 4)[0]
    )


@pytest.mark.parametrize("act", native.BATCH_NORM_ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 1), (63, 5), (64, 16), (65, 33), (1000, 48)])  # around the block size of 64 rows
def test_batch_norm(shape, act):
    x = torch.randn(shape) * torch.rand(shape[1]) * 3 + torch.randn(shape[1]) * 10
    weight, bias, grad = torch.rand(shape[1]) + 0.5, torch.randn(shape[1]), torch.randn(shape)
    out, coefficients = native.batch_norm(x, weight, bias, 1e-5, act)
    gradients = native.batch_norm_backward(x, grad, coefficients, 1e-5, act)

    inputs = [part.double().requires_grad_() for part in (x, weight, bias)]
    expected = torch.nn.functional.batch_norm(inputs[0], None, None, *inputs[1:], training=True)
    expected = expected if act == "none" else getattr(torch.nn.functional, act)(expected)
    torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=2e-5)
    assert torch.equal(native.normalize(x, coefficients, act), out)
    for found, true in zip(gradients, torch.autograd.grad(expected, inputs, grad.double()), strict=True):
        torch.testing.assert_close(found.double(), true, atol=1e-4 * float(true.abs().max() + 1e-3), rtol=1e-4)
    torch.testing.assert_close(coefficients[0].double(), x.double().mean(0), atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(coefficients[1].double(), x.double().var(0, correction=0), atol=1e-6, rtol=1e-5)


def test_batch_norm_is_closer_to_the_truth_than_sums_of_squares():
    """For a mean of a thousand standard deviations, subtracting the first row preserves precision."""
    x = torch.randn(5000, 8) + 1000
    _, coefficients = native.batch_norm(x, torch.ones(8), torch.zeros(8), 1e-5, "none")
    torch.testing.assert_close(coefficients[1].double(), x.double().var(0, correction=0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_batch_norm_passes_on_what_is_no_number(value):
    x = torch.randn(100, 3)
    x[40, 1] = value
    out, _ = native.batch_norm(x, torch.ones(3), torch.zeros(3), 1e-5, "gelu")
    assert out[:, 1].isnan().all()
    assert out[:, [0, 2]].isfinite().all()


def test_extreme_inputs_of_gelu():
    x = torch.tensor([[-1e4], [-50.0], [-6.0], [0.0], [6.0], [50.0], [1e4], [-3.0]])
    out, _ = native.batch_norm(x, torch.tensor([2000.0]), torch.zeros(1), 1e-5, "gelu")
    z = torch.nn.functional.batch_norm(x.double(), None, None, torch.tensor([2000.0]).double(), training=True)
    torch.testing.assert_close(out.double(), torch.nn.functional.gelu(z), rtol=1e-5, atol=1e-6 * float(z.abs().max()))


def test_threads_change_nothing():
    x, weight, bias = torch.randn(3000, 40), torch.rand(40), torch.randn(40)
    one = native.batch_norm(x, weight, bias, 1e-5, "gelu")
    back = native.batch_norm_backward(x, x, one[1], 1e-5, "gelu")
    torch.set_num_threads(2)
    try:
        two = native.batch_norm(x, weight, bias, 1e-5, "gelu")
        assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))
        again = native.batch_norm_backward(x, x, one[1], 1e-5, "gelu")
        assert all(torch.equal(*pair) for pair in zip(back, again, strict=True))
    finally:
        torch.set_num_threads(1)


def test_batch_norm_of_strided_rows():
    x, weight, bias = torch.randn(8, 30).t(), torch.rand(8), torch.rand(8)
    (out, coefficients), (expected, _) = (
        native.batch_norm(rows, weight, bias, 1e-5, "gelu") for rows in (x, x.contiguous())
    )
    assert torch.equal(out, expected)
    grads = [native.batch_norm_backward(rows, out, coefficients, 1e-5, "gelu")[0] for rows in (x, x.contiguous())]
    assert torch.equal(*grads)
    assert out.is_contiguous()


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.rand(3, 8), torch.rand(4, 16), "does not fit 8 channels"),
        (torch.rand(3, 8), torch.rand(4, 8).double(), "in float32, got torch.float32 and torch.float64"),
    ],
)
def test_a_weight_that_does_not_fit_is_not_read(x, weight, message) -> None:
    with pytest.raises(ValueError, match=message):
        native.linear(x, None, weight, None, None, 1, "none", None)
