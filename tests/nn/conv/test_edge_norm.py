from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pyg_vig.nn.conv.edge_norm import edge_statistics, training_scale_and_shift, weighted_statistics
from tests.nn.conv.graphs import randomize


def test_weighted_statistics_count_rows():
    x, count = torch.randn(6, 3).double(), torch.tensor([0, 1, 4, 2, 0, 3])
    rows = x.repeat_interleave(count, 0)
    mean, var = weighted_statistics(x, count)
    torch.testing.assert_close(mean, rows.mean(0))
    torch.testing.assert_close(var, rows.var(0, correction=0))


@pytest.mark.parametrize("offset", [0.0, 1000.0])  # a large mean must not cancel the variance
def test_edge_statistics(offset):
    a, b = torch.randn(5, 3).double() + offset, torch.randn(6, 3).double() - 2 * offset
    src, dst = torch.randint(6, (20,)), torch.randint(5, (20,))
    edges = a[dst] + b[src]
    b_sum = torch.zeros_like(a).index_add(0, dst, b[src])
    mean, var = edge_statistics(a, b, b_sum, dst.bincount(minlength=5), src.bincount(minlength=6))
    torch.testing.assert_close(mean, edges.mean(0))
    torch.testing.assert_close(var, edges.var(0, correction=0))


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_training_scale_and_shift_is_a_step_of_batch_norm(momentum):
    norm = randomize(nn.BatchNorm1d(3, momentum=momentum)).double()
    other = copy.deepcopy(norm)
    for _ in range(3):
        x = torch.randn(10, 3).double()
        scale, shift = training_scale_and_shift(norm, x.mean(0), x.var(0, correction=0), torch.tensor(10))
        torch.testing.assert_close(x * scale + shift, other(x))
        torch.testing.assert_close(norm.state_dict(), other.state_dict())
