"""Batch norm with the statistics of the batch, fused with the activation that follows, in as few passes as possible.

The forward pass reads the rows twice: for the moments, and to normalise and activate. The backward pass reads rows and
gradients twice as well, and recomputes the activation's derivative from the rows each time. A first kernel sums over
the rows of each block, a second over the blocks, always in the same order, in float32. Moments of blocks are combined
by the formula of Chan, Golub and LeVeque (1979), which no large mean or outlier deprives of its digits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_vig.native import ACTIVATIONS
from pyg_vig.triton_kernels import on_input_device, tile_width
from pyg_vig.triton_kernels.launch import launch

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
    grid, sizes, tile = _block_grid(n, channels)
    coefficients = x.new_empty(4, channels, dtype=torch.float32)
    moments = coefficients.new_empty(2, sizes[1], channels)
    launch(_moments_kernel, grid, (x, moments), (n, channels, *sizes), tile)
    mean, var, batches, momentum, offset = running or (x, x, x, 0.0, None)  # placeholders, not read
    tensors = (moments, weight, bias, mean, var, batches, x if offset is None else offset, coefficients)
    flags = (running is not None, offset is not None)
    constants = (*flags, _TILE_BLOCKS, _TILE_CHANNELS)
    launch(_statistics_kernel, _channel_grid(channels), tensors, (n, channels, *sizes, eps, momentum), constants)
    return normalize(x, coefficients, act), coefficients


@on_input_device
def normalize(x: Tensor, coefficients: Tensor, act: str) -> Tensor:
    """Normalise rows with the coefficients of :func:`batch_norm`, and apply the activation."""
    out, (grid, tile) = torch.empty_like(x), _tile_grid(*x.shape)
    launch(_normalize_kernel, grid, (x, coefficients, out), x.shape, (ACTIVATIONS[act], *tile))
    return out


@on_input_device
def batch_norm_backward(
    x: Tensor, grad: Tensor, coefficients: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`batch_norm` with respect to ``x``, weight, bias and offset (zeros: the norm removes it)."""
    n, channels = x.shape
    grid, sizes, tile = _block_grid(n, channels)
    grad_params = coefficients.new_empty(5, channels)  # of weight, bias and offset; and terms of the rows' gradients
    sums = coefficients.new_empty(2, sizes[1], channels)
    code = ACTIVATIONS[act]
    launch(_grad_sums_kernel, grid, (x, grad, coefficients, sums), (n, channels, *sizes), (code, *tile))
    tensors, constants = (sums, coefficients, grad_params), (_TILE_BLOCKS, _TILE_CHANNELS)
    launch(_grad_params_kernel, _channel_grid(channels), tensors, (n, channels, sizes[1], eps), constants)
    out, (grid, tile) = torch.empty_like(x), _tile_grid(n, channels)
    launch(_backward_kernel, grid, (x, grad, coefficients, grad_params, out), (n, channels), (code, *tile))
    grad_weight, grad_bias, zeros, *_ = grad_params.unbind()
    return out, grad_weight, grad_bias, zeros


@lru_cache(1024)
def _tile_grid(rows: int, channels: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid, and rows and channels per tile."""
    width = tile_width(channels)
    height = _TILE // width
    return (-(-rows // height), -(-channels // width)), (height, width)


@lru_cache(1024)
def _block_grid(rows: int, channels: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Grid over blocks of rows, rows per block and number of blocks, and the tile."""
    (_, columns), tile = _tile_grid(rows, channels)
    size = max(_BLOCK_ROWS, -(-rows // _MAX_BLOCKS))
    blocks = -(-rows // size)
    return (blocks, columns), (size, blocks), tile


def _channel_grid(channels: int) -> tuple[int]:
    return (-(-channels // _TILE_CHANNELS),)


@triton.jit
def _moments_kernel(
    x,
    moments,
    n,
    channels,
    rows,
    blocks,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """For every block, the mean and the sum of squared deviations from it.

    The sums are of differences to the mean of the block's first tile, which avoids cancellation.
    """
    block, column = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    begin, end = block * rows, tl.minimum((block + 1) * rows, n)
    origin = tl.sum(_load_rows(x, begin, end, column, channels, ROWS), 0) / tl.minimum(end - begin, ROWS)
    first = tl.zeros((ROWS, CHANNELS), tl.float32)
    second = tl.zeros((ROWS, CHANNELS), tl.float32)
    for start in range(begin, end, ROWS):
        row = start + tl.arange(0, ROWS)
        value = _load_rows(x, start, end, column, channels, ROWS) - origin[None, :]
        value = tl.where((row < end)[:, None], value, 0.0)
        first += value
        second += value * value
    total = tl.sum(first, 0)
    offset = total / (end - begin)
    deviation = tl.maximum(tl.sum(second, 0) - total * offset, 0.0)
    _store_pair(moments, origin + offset, deviation, block, blocks, column, channels)


@triton.jit
def _load_rows(x, start, end, column, channels, ROWS: tl.constexpr):
    row = (start + tl.arange(0, ROWS))[:, None]
    mask = (row < end) & (column < channels)[None, :]
    return tl.load(x + row.to(tl.int64) * channels + column[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_pair(pairs, first, second, block, blocks, column, channels):
    block = block.to(tl.int64)
    tl.store(pairs + block * channels + column, first, mask=column < channels)
    tl.store(pairs + (block + blocks) * channels + column, second, mask=column < channels)


@triton.jit
def _load_pairs(pairs, start, blocks, column, channels, BLOCKS: tl.constexpr):
    """Load what :func:`_store_pair` wrote for blocks from ``start`` on; also return the number of each block."""
    block = (start + tl.arange(0, BLOCKS))[:, None]
    mask = (block < blocks) & (column < channels)[None, :]
    row = block.to(tl.int64)
    first = tl.load(pairs + row * channels + column[None, :], mask=mask, other=0.0)
    return first, tl.load(pairs + (row + blocks) * channels + column[None, :], mask=mask, other=0.0), block


@triton.jit
def _combine_moments(moments, n, channels, rows, blocks, column, BLOCKS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return mean and variance of all rows: the squared deviation of every block's mean counts for all its rows."""
    total = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    for start in range(0, blocks, BLOCKS):
        mean, _, block = _load_pairs(moments, start, blocks, column, channels, BLOCKS)
        total += mean * _rows_in_block(block, n, rows)
    common = tl.sum(total, 0) / n
    squares = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    for start in range(0, blocks, BLOCKS):
        mean, deviation, block = _load_pairs(moments, start, blocks, column, channels, BLOCKS)
        difference = mean - common[None, :]
        squares += deviation + difference * difference * _rows_in_block(block, n, rows)
    return common, tl.sum(squares, 0) / n


@triton.jit
def _rows_in_block(block, n, rows):
    return tl.maximum(tl.minimum(n - block * rows, rows), 0).to(tl.float32)


@triton.jit
def _statistics_kernel(
    moments,
    weight,
    bias,
    running_mean,
    running_var,
    batches,
    offset,
    coefficients,
    n,
    channels,
    rows,
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
    mean, var = _combine_moments(moments, n, channels, rows, blocks, column, BLOCKS, CHANNELS)
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
    """The normal CDF, and ``exp(-z * z / 2)``, which it needs.

    Abramowitz and Stegun (1964), 7.1.26: with an error below 3e-7, in half the instructions of ``tl.erf``, which would
    take longer than reading the rows.
    """
    bell = tl.exp2(-0.7213475204444817 * z * z)
    t = 1.0 / (1.0 + 0.23164189 * tl.abs(z))
    tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = 0.5 * tail * bell
    return tl.where(z < 0.0, tail, 1.0 - tail), bell


@triton.jit
def _activation_derivative(z, ACT: tl.constexpr):
    """The activation's derivative."""
    derivative = tl.full(z.shape, 1.0, tl.float32)
    if ACT == 1:
        derivative = tl.where(z <= 0.0, 0.0, 1.0)
    if ACT == 2:
        cdf, bell = _normal_cdf(z)
        derivative = cdf + z * bell * 0.3989422804014327
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
        cdf, _ = _normal_cdf(z)
        z *= cdf
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
    _store_pair(sums, tl.sum(first, 0), tl.sum(second, 0), block, blocks, column, channels)


@triton.jit
def _grad_params_kernel(
    sums,
    coefficients,
    grad_params,
    n,
    channels,
    blocks,
    eps,
    BLOCKS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    column = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    mask = column < channels
    first = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    second = tl.zeros((BLOCKS, CHANNELS), tl.float32)
    for start in range(0, blocks, BLOCKS):
        of_grad, of_product, _ = _load_pairs(sums, start, blocks, column, channels, BLOCKS)
        first += of_grad
        second += of_product
    total, product = tl.sum(first, 0), tl.sum(second, 0)
    std = tl.sqrt(tl.load(coefficients + channels + column, mask=mask, other=0.0) + eps)
    grad_weight = product / std
    tl.store(grad_params + column, grad_weight, mask=mask)
    tl.store(grad_params + channels + column, total, mask=mask)
    tl.store(grad_params + 2 * channels + column, tl.zeros((CHANNELS,), tl.float32), mask=mask)
    tl.store(grad_params + 3 * channels + column, total / n, mask=mask)
    tl.store(grad_params + 4 * channels + column, grad_weight / std / n, mask=mask)


@triton.jit
def _backward_kernel(
    x,
    grad,
    coefficients,
    grad_params,
    out,
    n,
    channels,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    centered, z, scale, index, mask = _load_normalized(x, coefficients, row, column, n, channels)
    grad_z = tl.load(grad + index, mask=mask, other=0.0).to(tl.float32) * _activation_derivative(z, ACT)
    channel_mask = column < channels
    mean_grad = tl.load(grad_params + 3 * channels + column, mask=channel_mask, other=0.0)[None, :]
    slope = tl.load(grad_params + 4 * channels + column, mask=channel_mask, other=0.0)[None, :]
    tl.store(out + index, scale * (grad_z - mean_grad - slope * centered), mask=mask)
