"""Batch norm with the statistics of the batch, fused with the activation that follows, in as few passes as possible.

The forward pass reads the rows twice: for the moments, and to normalise and activate. The backward pass reads rows and
gradients twice as well, and recomputes the activation's derivative from the rows each time. A first kernel sums over
the rows of each block, a second over the blocks, always in the same order, in float32.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_vig.native import ACTIVATIONS
from pyg_vig.triton_kernels import on_input_device, tile_width

# Running mean and variance, number of batches (all updated in place), momentum, and an optional offset of the mean
RunningStatistics: TypeAlias = tuple[Tensor, Tensor, Tensor, float, Tensor | None]

_TILE = 2048  # entries of a program's tile
_BLOCK_ROWS, _MAX_BLOCKS = 128, 512  # rows per block, increased so that there are at most so many blocks
_TILE_BLOCKS, _TILE_CHANNELS = 128, 16  # blocks and channels that a program of the second kernel reads at a time


@on_input_device
def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str, running: RunningStatistics | None
) -> tuple[Tensor, Tensor]:
    """Batch norm and activation of ``x``; also returns its mean, variance, scale and shift, ``(4, C)``."""
    n, channels = x.shape
    coefficients = x.new_empty(4, channels, dtype=torch.float32)
    grid, sums, sizes, tile = _block_grid(x, coefficients)
    _moments_kernel[grid](x, sums, n, channels, *sizes, *tile)
    mean, var, batches, momentum, offset = running or (x, x, x, 0.0, None)  # placeholders, not read
    flags = (running is not None, offset is not None)
    _statistics_kernel[(triton.cdiv(channels, _TILE_CHANNELS),)](
        x,
        sums,
        weight,
        bias,
        mean,
        var,
        batches,
        x if offset is None else offset,
        coefficients,
        n,
        channels,
        sizes[1],
        eps,
        momentum,
        *flags,
        _TILE_BLOCKS,
        _TILE_CHANNELS,
    )
    return normalize(x, coefficients, act), coefficients


@on_input_device
def normalize(x: Tensor, coefficients: Tensor, act: str) -> Tensor:
    """Normalise rows with the coefficients of :func:`batch_norm`, and apply the activation."""
    out, (grid, tile) = torch.empty_like(x), _tile_grid(x)
    _normalize_kernel[grid](x, coefficients, out, *x.shape, ACTIVATIONS[act], *tile)
    return out


@on_input_device
def batch_norm_backward(
    x: Tensor, grad: Tensor, coefficients: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`batch_norm` with respect to ``x``, weight, bias and offset (zeros: the norm removes it)."""
    n, channels = x.shape
    grad_params = coefficients.new_empty(3, channels)  # of weight, bias and offset
    grid, sums, sizes, tile = _block_grid(x, coefficients)
    code = ACTIVATIONS[act]
    _grad_sums_kernel[grid](x, grad, coefficients, sums, n, channels, *sizes, code, *tile)
    _grad_params_kernel[(triton.cdiv(channels, _TILE_CHANNELS),)](
        sums, coefficients, grad_params, channels, sizes[1], eps, _TILE_BLOCKS, _TILE_CHANNELS
    )
    out, (grid, tile) = torch.empty_like(x), _tile_grid(x)
    _backward_kernel[grid](x, grad, coefficients, grad_params, out, n, channels, eps, code, *tile)
    grad_weight, grad_bias, zeros = grad_params.unbind()
    return out, grad_weight, grad_bias, zeros


def _tile_grid(x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid, and rows and channels per tile."""
    width = tile_width(x.size(1))
    height = _TILE // width
    return (triton.cdiv(x.size(0), height), triton.cdiv(x.size(1), width)), (height, width)


def _block_grid(x: Tensor, coefficients: Tensor) -> tuple[tuple[int, int], Tensor, tuple[int, int], tuple[int, int]]:
    """Grid over blocks of rows, an empty tensor for their sums, rows per block and number of blocks, and the tile."""
    (_, columns), tile = _tile_grid(x)
    rows = max(_BLOCK_ROWS, triton.cdiv(x.size(0), _MAX_BLOCKS))
    blocks = triton.cdiv(x.size(0), rows)
    return (blocks, columns), coefficients.new_empty(2, blocks, x.size(1)), (rows, blocks), tile


@triton.jit
def _moments_kernel(
    x,
    sums,
    n,
    channels,
    rows,
    blocks,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """For every block, the sums of ``x - x[0]`` and of its square; subtracting ``x[0]`` avoids cancellation."""
    block, column = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    channel_mask = (column < channels)[None, :]
    origin = tl.load(x + column, mask=column < channels, other=0.0).to(tl.float32)[None, :]
    first = tl.zeros((ROWS, CHANNELS), tl.float32)
    second = tl.zeros((ROWS, CHANNELS), tl.float32)
    end = tl.minimum((block + 1) * rows, n)
    for start in range(block * rows, end, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < end)[:, None] & channel_mask
        value = tl.load(x + row.to(tl.int64)[:, None] * channels + column[None, :], mask=mask, other=0.0)
        value = tl.where(mask, value.to(tl.float32) - origin, 0.0)
        first += value
        second += value * value
    _store_sums(sums, first, second, block, blocks, column, channels)


@triton.jit
def _store_sums(sums, first, second, block, blocks, column, channels):
    pointer = sums + block.to(tl.int64) * channels + column
    tl.store(pointer, tl.sum(first, 0), mask=column < channels)
    tl.store(pointer + blocks.to(tl.int64) * channels, tl.sum(second, 0), mask=column < channels)


@triton.jit
def _load_sums(sums, blocks, column, channels, BLOCKS: tl.constexpr, CHANNELS: tl.constexpr):
    first = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    second = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    for start in range(0, blocks, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        mask = (block < blocks)[:, None] & (column < channels)[None, :]
        pointer = sums + block.to(tl.int64)[:, None] * channels + column[None, :]
        first += tl.load(pointer, mask=mask, other=0.0)
        second += tl.load(pointer + blocks.to(tl.int64) * channels, mask=mask, other=0.0)
    return tl.sum(first, 0), tl.sum(second, 0)


@triton.jit
def _statistics_kernel(
    x,
    sums,
    weight,
    bias,
    running_mean,
    running_var,
    batches,
    offset,
    coefficients,
    n,
    channels,
    blocks,
    eps,
    momentum,
    HAS_RUNNING: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
    BLOCKS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    column = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    mask = column < channels
    first, second = _load_sums(sums, blocks, column, channels, BLOCKS, CHANNELS)
    mean_offset = first / n
    mean = tl.load(x + column, mask=mask, other=0.0).to(tl.float32) + mean_offset
    var = tl.maximum(second / n - mean_offset * mean_offset, 0.0)
    scale = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32) / tl.sqrt(var + eps)
    shift = tl.load(bias + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(coefficients + column, mean, mask=mask)
    tl.store(coefficients + channels + column, var, mask=mask)
    tl.store(coefficients + 2 * channels + column, scale, mask=mask)
    tl.store(coefficients + 3 * channels + column, shift, mask=mask)
    if HAS_RUNNING:
        if HAS_OFFSET:
            mean += tl.load(offset + column, mask=mask, other=0.0).to(tl.float32)
        _update_running(running_mean + column, mean, momentum, mask)
        _update_running(running_var + column, var * n / (n - 1), momentum, mask)
        if tl.program_id(0) == 0:
            tl.store(batches, tl.load(batches) + 1)


@triton.jit
def _update_running(running, value, momentum, mask):
    previous = tl.load(running, mask=mask, other=0.0).to(value.dtype)
    tl.store(running, previous + (value - previous) * momentum, mask=mask)


@triton.jit
def _load_normalized(x, coefficients, row, column, n, channels):
    """Return a tile minus the mean, the normalised tile, the scale, and the tile's offsets and mask."""
    mask = (row < n)[:, None] & (column < channels)[None, :]
    index = row.to(tl.int64)[:, None] * channels + column[None, :]
    channel_mask = column < channels
    mean = tl.load(coefficients + column, mask=channel_mask, other=0.0)[None, :]
    scale = tl.load(coefficients + 2 * channels + column, mask=channel_mask, other=0.0)[None, :]
    shift = tl.load(coefficients + 3 * channels + column, mask=channel_mask, other=0.0)[None, :]
    centered = tl.load(x + index, mask=mask, other=0.0).to(tl.float32) - mean
    return centered, centered * scale + shift, scale, index, mask


@triton.jit
def _normal_cdf(z):
    """The normal CDF."""
    return 0.5 + 0.5 * tl.erf(z * 0.7071067811865476)


@triton.jit
def _activation_derivative(z, ACT: tl.constexpr):
    """The activation's derivative."""
    derivative = tl.full(z.shape, 1.0, tl.float32)
    if ACT == 1:
        derivative = tl.where(z <= 0.0, 0.0, 1.0)
    if ACT == 2:
        derivative = _normal_cdf(z) + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
    return derivative


@triton.jit
def _normalize_kernel(
    x,
    coefficients,
    out,
    n,
    channels,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    _, z, _, index, mask = _load_normalized(x, coefficients, row, column, n, channels)
    if ACT == 1:
        z = tl.where(z <= 0.0, 0.0, z)
    if ACT == 2:
        z = z * _normal_cdf(z)
    tl.store(out + index, z, mask=mask)


@triton.jit
def _grad_sums_kernel(
    x,
    grad,
    coefficients,
    sums,
    n,
    channels,
    rows,
    blocks,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """For every block, the sums of the gradient of the activation's input, and of its product with ``x - mean``."""
    block, column = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.zeros((ROWS, CHANNELS), tl.float32)
    second = tl.zeros((ROWS, CHANNELS), tl.float32)
    end = tl.minimum((block + 1) * rows, n)
    for start in range(block * rows, end, ROWS):
        row = start + tl.arange(0, ROWS)
        centered, z, _, index, mask = _load_normalized(x, coefficients, row, column, end, channels)
        grad_z = tl.load(grad + index, mask=mask, other=0.0).to(tl.float32) * _activation_derivative(z, ACT)
        grad_z = tl.where(mask, grad_z, 0.0)
        first += grad_z
        second += grad_z * centered
    _store_sums(sums, first, second, block, blocks, column, channels)


@triton.jit
def _grad_params_kernel(
    sums,
    coefficients,
    grad_params,
    channels,
    blocks,
    eps,
    BLOCKS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    column = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    mask = column < channels
    total, product = _load_sums(sums, blocks, column, channels, BLOCKS, CHANNELS)
    var = tl.load(coefficients + channels + column, mask=mask, other=0.0)
    tl.store(grad_params + column, product / tl.sqrt(var + eps), mask=mask)
    tl.store(grad_params + channels + column, total, mask=mask)
    tl.store(grad_params + 2 * channels + column, tl.zeros((CHANNELS,), tl.float32), mask=mask)


@triton.jit
def _backward_kernel(
    x,
    grad,
    coefficients,
    grad_params,
    out,
    n,
    channels,
    eps,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    centered, z, scale, index, mask = _load_normalized(x, coefficients, row, column, n, channels)
    grad_z = tl.load(grad + index, mask=mask, other=0.0).to(tl.float32) * _activation_derivative(z, ACT)
    channel_mask = column < channels
    var = tl.load(coefficients + channels + column, mask=channel_mask, other=0.0)
    grad_weight = tl.load(grad_params + column, mask=channel_mask, other=0.0)
    grad_bias = tl.load(grad_params + channels + column, mask=channel_mask, other=0.0)
    var_term = (grad_weight / tl.sqrt(var + eps) / n)[None, :] * centered
    tl.store(out + index, scale * (grad_z - (grad_bias / n)[None, :] - var_term), mask=mask)
