from __future__ import annotations

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyg_vig.train.sampling import EpochSampler, SeededDataset, random_state


def noisy(image: torch.Tensor) -> torch.Tensor:
    return image + torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002


def data(seed: int = 0) -> SeededDataset:
    return SeededDataset(TensorDataset(torch.zeros(6), torch.arange(6)), noisy, seed)


def test_every_epoch_has_its_own_order_of_all_images() -> None:
    sampler = EpochSampler(20, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
        assert list(sampler) == [(epoch, index) for index in orders[-1]]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert [index for _, index in EpochSampler(20, seed=3, epoch=2)] == orders[2]
    assert [index for _, index in EpochSampler(20, seed=4)] != orders[0]


def test_random_changes_depend_on_seed_epoch_and_image_only() -> None:
    first = {key: data()[key][0].item() for key in [(0, 1), (0, 2), (1, 1)]}
    assert len(set(first.values())) == 3
    torch.rand(7)
    assert {key: data()[key][0].item() for key in reversed(first)} == first
    assert data(seed=1)[0, 1][0].item() != first[0, 1]


def test_random_changes_are_the_same_in_worker_processes() -> None:
    sampler = EpochSampler(6, seed=0)
    here, there = (next(iter(DataLoader(data(), 6, sampler=sampler, num_workers=workers))) for workers in (0, 1))
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])


def test_the_global_random_numbers_go_on_undisturbed() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), np.random.rand(), random.random()]  # noqa: NPY002

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    expected = draw()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
    with random_state(5):
        inside = draw()
    assert draw() == expected
    with random_state(5):
        assert draw() == inside
