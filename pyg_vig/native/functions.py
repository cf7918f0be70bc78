"""Python wrappers that call the C functions on tensors."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast, overload

import torch
from torch import Tensor

from pyg_vig.native.build import load_library

ACTIVATIONS = {"none": 0, "relu": 1, "gelu": 2, "silu": 3, "hardswish": 4}  # numbers in the kernels
BATCH_NORM_ACTIVATIONS = ("none", "relu", "gelu")  # activations that batch norm can fuse, with their gradients
_SUFFIX = {torch.float32: "float32", torch.float64: "float64", torch.int16: "int16", torch.int32: "int32"}
_TYPES = {"p": ctypes.c_void_p, "s": ctypes.c_int64, "f": ctypes.c_float, "i": ctypes.c_int}
_SIGNATURES = {  # of the C functions, in letters of _TYPES
    "nearest": "ppppisssssifspi",
    "gather_max": "pssppssppi",
    "scatter_to_argmax": "ppsspi",
    "linear": "pspsspppsssippi",
    "activate_all": "psii",
    "normalize": "psspipi",
    "batch_norm": "pssppfippi",
    "batch_norm_backward": "ppsspfipppi",
}
_PADDING = 64  # entries
_MIN_PARALLEL_NUMEL = 1 << 14  # entries; below this, waking a second thread costs more than it saves
_MIN_PARALLEL_MACS = 1 << 18  # multiply-adds, likewise


def nearest(
    sources: Tensor,
    targets: Tensor,
    k: int,
    src_bias: Tensor | None,
    pair_bias: Tensor | None,
    cosine: bool,
    loop: bool | None,
    index_offset: int,
) -> Tensor:
    """:func:`pyg_vig.graph.knn.nearest.nearest` for float32."""
    (graphs, m, channels), n = sources.shape, targets.size(1)
    sources, targets = sources.contiguous(), targets.contiguous()
    src_bias = _contiguous(None if src_bias is None else src_bias.expand(graphs, m), torch.float32)
    pair_bias = _contiguous(None if pair_bias is None else pair_bias.expand(n, m), torch.float32)
    index = torch.empty(graphs, n, k, dtype=torch.int64)
    failed = _call(
        "nearest",
        (),
        *map(_data_ptr, (sources, targets, src_bias, pair_bias)),
        cosine,
        graphs,
        n,
        m,
        channels,
        k,
        loop is not None,
        -math.inf if loop else math.inf,
        index_offset,
        _data_ptr(index),
        _num_threads(targets.numel() * m, _MIN_PARALLEL_MACS),
    )
    if failed:
        raise MemoryError(f"out of memory when selecting {k} of {m} neighbours for {graphs * n} nodes")
    return index


def gather_max(
    x: Tensor,
    src: Tensor,
    ptr: Tensor | None,
    num_dst: int,
    return_argmax: bool,
    index_dtype: torch.dtype = torch.int32,
) -> tuple[Tensor, Tensor]:
    """:func:`pyg_vig.graph.operators.gather_max`; without ``return_argmax`` the second result is empty.

    Raises:
        IndexError: if an edge refers to a source row that does not exist.
    """
    x, src, ptr = x.contiguous(), _contiguous(src, torch.int64), _contiguous(ptr, torch.int64)
    num_edges = int(ptr[-1]) if ptr is not None else src.numel() // max(num_dst, 1) * num_dst
    if src.numel() != num_edges:
        raise ValueError(f"expected {num_edges} edges for {num_dst} destinations, got {src.numel()}")
    maximum = x.new_empty(num_dst, x.size(1))
    argmax = torch.empty(num_dst if return_argmax else 0, x.size(1), dtype=index_dtype)
    num_invalid = _call(
        "gather_max",
        (x.dtype, index_dtype),
        _data_ptr(x),
        *x.shape,
        _data_ptr(src),
        _data_ptr(ptr),
        src.numel() // max(num_dst, 1),
        num_dst,
        _data_ptr(maximum),
        _data_ptr(argmax if return_argmax else None),
        _num_threads(src.numel() * x.size(1)),
    )
    if num_invalid:
        raise IndexError(
            f"edges must start at source nodes 0 to {x.size(0) - 1}, but {num_invalid} of {src.numel()} do not"
        )
    return maximum, argmax


def scatter_to_argmax(grad: Tensor, argmax: Tensor, num_src: int) -> Tensor:
    """:func:`pyg_vig.graph.operators.scatter_to_argmax`."""
    grad, argmax = grad.contiguous(), argmax.contiguous()
    out, types = grad.new_zeros(num_src, grad.size(1)), (grad.dtype, argmax.dtype)
    _call(
        "scatter_to_argmax",
        types,
        _data_ptr(grad),
        _data_ptr(argmax),
        *grad.shape,
        _data_ptr(out),
        _num_threads(grad.numel()),
    )
    return out


def linear(
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    groups: int,
    act: str,
    shortcut: Tensor | None,
) -> Tensor:
    r"""Linear layer fused with scale, activation and shortcut, :math:`\sigma(s \odot (W x) + b) + r`, in float32.

    Args:
        x: rows ``(N, C)``, with any stride between them.
        y: rows of a second input, whose channels alternate with those of ``x`` in the columns of ``weight``.
        weight: ``(out_channels, in_channels / groups)``, where a second input doubles ``in_channels``.
        bias: ``(out_channels,)``.
        scale: factor of every output channel, ``(out_channels,)``.
        groups: number of groups of channels.
        act: one of :data:`ACTIVATIONS`.
        shortcut: added after the activation, ``(N, out_channels)``.

    Raises:
        ValueError: if sizes or dtypes do not match, as the kernel would read out of bounds.
    """
    (n, channels), (out_channels, depth) = x.shape, weight.shape
    if depth * groups != channels * (1 if y is None else 2) or out_channels % groups:
        raise ValueError(f"weight of shape {tuple(weight.shape)} in {groups} groups does not fit {channels} channels")
    if not (x.dtype is weight.dtype is torch.float32 and (y is None or y.dtype is torch.float32)):
        raise ValueError(f"expected inputs and weight in float32, got {x.dtype} and {weight.dtype}")
    for name, part, shape in (
        ("second input", y, (n, channels)),
        ("bias", bias, (out_channels,)),
        ("scale", scale, (out_channels,)),
        ("shortcut", shortcut, (n, out_channels)),
    ):
        _check_shape(name, part, shape)
    (rows_x, stride_x), (rows_y, stride_y) = _with_contiguous_rows(x), _with_contiguous_rows(y)
    weight, out = weight.contiguous(), x.new_empty(n, out_channels)
    scale, bias, shortcut = (_contiguous(part, torch.float32) for part in (scale, bias, shortcut))
    failed = _call(
        "linear",
        (),
        _data_ptr(rows_x),
        stride_x,
        _data_ptr(rows_y),
        stride_y,
        n,
        _data_ptr(weight),
        _data_ptr(scale),
        _data_ptr(bias),
        groups,
        channels // groups,
        out_channels // groups,
        ACTIVATIONS[act],
        _data_ptr(shortcut),
        _data_ptr(out),
        _num_threads(n * out_channels * depth, _MIN_PARALLEL_MACS),
    )
    if failed:
        raise MemoryError(f"out of memory when packing {out_channels * depth} weights")
    return out


def _with_contiguous_rows(x: Tensor | None) -> tuple[Tensor | None, int]:
    """``x`` with each row contiguous, and the stride between rows."""
    if x is None:
        return None, 0
    x = x if x.stride(1) == 1 else x.contiguous()
    return x, x.stride(0)


def activate_(x: Tensor, act: str) -> Tensor:
    """Apply one of :data:`ACTIVATIONS` to all entries of a dense float32 tensor, in place."""
    _call("activate_all", (), _data_ptr(x), x.numel(), ACTIVATIONS[act], _num_threads(x.numel()))
    return x


def normalize(x: Tensor, coefficients: Tensor, act: str) -> Tensor:
    """Recompute the output of :func:`batch_norm` from its coefficients, in one pass over the rows."""
    x, out, coefficients = x.contiguous(), _empty_padded(x), _contiguous(coefficients, torch.float32)
    _check_shape("coefficients", coefficients, (4, x.size(1)))
    _call(
        "normalize",
        (),
        _data_ptr(x),
        *x.shape,
        _data_ptr(coefficients),
        ACTIVATIONS[act],
        _data_ptr(out),
        _num_threads(x.numel()),
    )
    return out


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str) -> tuple[Tensor, Tensor]:
    """Batch norm with the batch's statistics, and an activation; also returns the coefficients, ``(4, C)``.

    The coefficients are the mean, variance, scale and shift of every channel.

    Args:
        x: ``(N, C)``, float32.
        weight: scale of the normalised channels, ``(C,)``.
        bias: shift of the normalised channels, ``(C,)``.
        eps: added to the variance.
        act: one of :data:`BATCH_NORM_ACTIVATIONS`.
    """
    x, out, coefficients = x.contiguous(), _empty_padded(x), x.new_empty(4, x.size(1))
    affine = [_contiguous(part, torch.float32) for part in (weight, bias)]
    failed = _call(
        "batch_norm",
        (),
        _data_ptr(x),
        *x.shape,
        *map(_data_ptr, affine),
        eps,
        ACTIVATIONS[act],
        _data_ptr(coefficients),
        _data_ptr(out),
        _num_threads(x.numel()),
    )
    if failed:
        raise MemoryError(f"out of memory when normalising {x.size(0)} rows of {x.size(1)} channels")
    return out, coefficients


def batch_norm_backward(
    x: Tensor, grad: Tensor, coefficients: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`batch_norm` with respect to ``x``, weight and bias."""
    x, grad = x.contiguous(), _contiguous(grad, torch.float32)
    gradients = _empty_padded(x), x.new_empty(x.size(1)), x.new_empty(x.size(1))
    failed = _call(
        "batch_norm_backward",
        (),
        _data_ptr(x),
        _data_ptr(grad),
        *x.shape,
        _data_ptr(coefficients),
        eps,
        ACTIVATIONS[act],
        *map(_data_ptr, gradients),
        _num_threads(x.numel()),
    )
    if failed:
        raise MemoryError(f"out of memory when computing gradients of {x.size(0)} rows of {x.size(1)} channels")
    return gradients


def _check_shape(name: str, part: Tensor | None, shape: tuple[int, ...]) -> None:
    if part is not None and (part.shape != shape or not part.is_cpu):
        raise ValueError(f"{name}: expected {tuple(shape)} on the CPU, got {tuple(part.shape)} on {part.device}")


def _call(name: str, types: tuple[torch.dtype, ...], *arguments: Any) -> int:
    """Call a C function, in its variant for these dtypes, if any; a profiler shows it as an operator."""
    kernel = _kernel(name, types)
    if not torch.autograd._profiler_enabled():
        return kernel(*arguments)
    with torch.profiler.record_function(f"pyg_vig::{name}"):
        return kernel(*arguments)


@cache
def _kernel(name: str, types: tuple[torch.dtype, ...] = ()) -> Callable[..., int]:
    function = getattr(load_library(), "_".join([name, *(_SUFFIX[dtype] for dtype in types)]))
    function.argtypes = [_TYPES[letter] for letter in _SIGNATURES[name]]
    return cast("Callable[..., int]", function)


@overload
def _contiguous(x: Tensor, dtype: torch.dtype) -> Tensor: ...
@overload
def _contiguous(x: Tensor | None, dtype: torch.dtype) -> Tensor | None: ...
def _contiguous(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Convert a tensor to the dtype and the contiguous memory that the kernels read."""
    if x is None or (x.dtype is dtype and x.is_contiguous()):
        return x
    return x.to(dtype).contiguous()


def _empty_padded(x: Tensor) -> Tensor:
    """Uninitialised tensor like ``x``, with some extra bytes of memory.

    For an aligned allocation, glibc searches for about a hundred bytes more than its size, so a matrix does not fit
    into the free block of another of the same size. With the extra bytes, the next layer can reuse the block of a
    temporary result; without them, half of the heap is gaps in training.
    """
    storage = x.new_empty(x.numel() + _PADDING).untyped_storage()
    return x.new_empty(0).set_(storage, 0, x.shape, (x.size(1), 1))


def _data_ptr(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _num_threads(work: int, min_parallel: int = _MIN_PARALLEL_NUMEL) -> int:
    return torch.get_num_threads() if work > min_parallel else 1
