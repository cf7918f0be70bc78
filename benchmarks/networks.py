"""The subjects of a comparison: a network in all its forms, and what it is held against."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyg_vig
from benchmarks.case import Case
from benchmarks.products import record_products
from benchmarks.reference import build_official
from benchmarks.timing import Subject
from pyg_vig.nn import Grapher

OFFICIAL, EAGER, FUSED, COMPILED, PRODUCTS = "official", "eager", "fused", "compiled", "products"

# networks of timm with about as many multiply-adds (G, at 224)
TIMM = {
    "vig_ti": ("deit_tiny_patch16_224", "resnet18"),  # 1.3 | 1.3, 1.8
    "pvig_ti": ("deit_tiny_patch16_224", "resnet18"),  # 1.7
    "vig_s": ("deit_small_patch16_224", "resnet50"),  # 4.5 | 4.6, 4.1
    "pvig_s": ("deit_small_patch16_224", "resnet50"),  # 4.6
    "pvig_m": ("resnet101",),  # 8.9 | 7.8
    "vig_b": ("deit_base_patch16_224",),  # 17.7 | 17.6
    "pvig_b": ("deit_base_patch16_224",),  # 16.8
}


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """One subject, on its device, in its mode; random weights, the same for ours and the official network.

    For inference the network is in the case's dtype; training keeps its weights in float32.
    """
    torch.manual_seed(0)
    network = _build(case, subject).to(case.device)
    return network.train() if training else network.eval().to(case.torch_dtype)


def _build(case: Case, subject: str) -> nn.Module:
    if subject in sum(TIMM.values(), ()):
        import timm

        extra = {"img_size": case.size} if subject.startswith("deit") else {}
        return timm.create_model(subject, **extra)
    ours = pyg_vig.create_model(case.model, conv=case.conv)
    if subject == OFFICIAL:
        if case.reference is None:
            raise ValueError("the official network needs --reference DIR")
        return build_official(ours, case.reference, case.size)
    if subject == EAGER:
        return ours
    fused = ours.fuse()
    return fused if subject == FUSED else torch.compile(fused, fullgraph=True)


def inference(case: Case, names: Sequence[str]) -> dict[str, Subject]:
    """Forward passes without gradients, and last the network's bare products."""
    images = case.images().to(case.torch_dtype)
    networks = {name: build(case, name) for name in names}
    subjects: dict[str, Subject] = {name: partial(infer, network, images) for name, network in networks.items()}
    fused = build(case, FUSED)
    tracked = images.clone().requires_grad_()  # linear layers then run as the plain products, not in packed form
    subjects[PRODUCTS] = record_products(lambda: fused(tracked), fused.parameters(), graph_builders(fused))
    return subjects


def training(case: Case, names: Sequence[str]) -> dict[str, Subject]:
    """Training steps (forward, cross-entropy, backward), and last the bare products of ours."""
    images = case.images()
    labels = torch.randint(10, (case.batch,), device=case.device)  # every network has so many classes
    subjects: dict[str, Subject] = {
        name: partial(training_step, build(case, name, training=True), images, labels, case.torch_dtype)
        for name in names
    }
    ours = build(case, EAGER, training=True)
    step = partial(training_step, ours, images, labels, case.torch_dtype)
    subjects[PRODUCTS] = record_products(step, ours.parameters(), graph_builders(ours))
    return subjects


MODES: dict[str, Callable[[Case, Sequence[str]], dict[str, Subject]]] = {"inference": inference, "training": training}


@torch.inference_mode()
def infer(network: nn.Module, images: Tensor) -> Tensor:
    """One forward pass."""
    return network(images)


def training_step(network: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
    """New gradients of the cross-entropy; no optimizer, whose time does not depend on the network's code."""
    network.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        loss = F.cross_entropy(network(images).float(), labels)
    loss.backward()


def disagreement(case: Case) -> float:
    """Largest difference between our logits and the official ones, relative to the largest logit, in float64.

    (In float32 a near-tie between two neighbours may fall either way, in the official code itself as well.)
    """
    ours = build(case, EAGER).double()
    official = copy.deepcopy(build(case, OFFICIAL)).double()
    images = case.images(batch=1).double()
    with torch.no_grad():
        expected = official(images)
        return float((ours(images) - expected).abs().max() / expected.abs().max())


def graph_builders(network: nn.Module) -> list[nn.Module]:
    """The modules that choose the neighbours, in our network or the official one."""
    return [builder for builder, _ in graphers(network)]


def graphers(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Graph builder and conv of every block, in our network or the official one."""
    for module in network.modules():
        if isinstance(module, Grapher):
            yield module.graph, module.conv
        elif hasattr(module, "dilated_knn_graph"):
            yield module.dilated_knn_graph, module.gconv
