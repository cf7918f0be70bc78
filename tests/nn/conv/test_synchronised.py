"""Batch norm over the edges of all processes: two processes must equal one with both batches."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from pyg_vig.graph import NeighborTable
from pyg_vig.nn import EdgeConv

SIZES = [9, 14]  # nodes of each process


def make_batch() -> tuple[EdgeConv, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    conv = EdgeConv(6, 8, norm="batch", heads=2).double()
    return conv, [(torch.randn(n, 6).double(), torch.randint(n, (n, 3))) for n in SIZES]


def training_step(conv: EdgeConv, x: Tensor, index: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    out = conv(x, NeighborTable(index, x.size(0)))
    gradients = torch.autograd.grad(out.square().sum(), conv.parameters())
    return out.detach(), list(gradients), list(conv.buffers())


def run_worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(SIZES))
    conv, parts = make_batch()
    torch.save(training_step(nn.SyncBatchNorm.convert_sync_batchnorm(conv), *parts[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_act_as_one(tmp_path: Path):
    mp.spawn(run_worker, (str(tmp_path),), nprocs=len(SIZES))
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(SIZES))]
    conv, parts = make_batch()
    (x, index), (other_x, other_index) = parts
    together = torch.cat([x, other_x]), torch.cat([index, other_index + len(x)])
    out, gradients, statistics = training_step(copy.deepcopy(conv), *together)
    torch.testing.assert_close(torch.cat([result[0] for result in results]), out)
    torch.testing.assert_close([sum(pair) for pair in zip(results[0][1], results[1][1], strict=True)], gradients)
    for result in results:
        torch.testing.assert_close(result[2], statistics)
