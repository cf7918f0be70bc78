from __future__ import annotations

import copy

import torch
from torch import nn

from pyg_vig.models.grad_checkpointing import checkpoint_module


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 4), nn.BatchNorm1d(4))


def test_statistics_move_once_however_often_the_module_runs_again() -> None:
    module, x = layers(), torch.rand(6, 4)
    twin = copy.deepcopy(module)
    twin(x)
    out = checkpoint_module(module, x).square().sum()
    for retain_graph in (True, False):
        out.backward(retain_graph=retain_graph)
    torch.testing.assert_close(dict(module.named_buffers()), dict(twin.named_buffers()), rtol=0, atol=0)


def test_frozen_norms_keep_working() -> None:
    module, x = layers(), torch.rand(6, 4)
    module[1].eval()
    checkpoint_module(module, x).sum().backward()
    assert (int(module[1].num_batches_tracked), int(module[4].num_batches_tracked)) == (0, 1)


def test_a_failure_while_it_runs_again_leaves_the_buffers_in_place() -> None:
    module, x = layers(), torch.rand(6, 4)
    buffers = dict(module.named_buffers())
    out = checkpoint_module(module, x).sum()
    module[3].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    try:
        out.backward()
    except RuntimeError:
        assert all(buffer is buffers[name] for name, buffer in module.named_buffers())
    else:
        raise AssertionError("the hook did not run")


def test_compilers_move_statistics_once_as_well() -> None:
    torch._dynamo.reset()
    module, x = layers(), torch.rand(6, 4)
    torch.compile(lambda x: checkpoint_module(module, x), backend="aot_eager", fullgraph=True)(x).sum().backward()
    assert {int(norm.num_batches_tracked) for norm in (module[1], module[4])} == {1}
