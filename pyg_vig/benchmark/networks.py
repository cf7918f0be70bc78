"""The subjects of a comparison: a network (eager, fused, compiled), and its bare matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.products import record_products
from pyg_vig.benchmark.timing import Subject
from pyg_vig.models import build_model, get_config
from pyg_vig.models.record import find_graphers

EAGER, FUSED, COMPILED, PRODUCTS = "eager", "fused", "compiled", "products"
MODES = ("inference", "training")

Build = Callable[[Case, str, bool], nn.Module]  # case, subject, whether for training


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """Build a subject on its device and in its mode, with the same random weights for all subjects.

    For inference, the network has the dtype of the case; for training, its weights stay in float32.

    Raises:
        ValueError: if the subject is unknown, or a fused network is to be trained.
    """
    if subject not in (EAGER, FUSED, COMPILED):
        raise ValueError(f"subject must be {EAGER}, {FUSED} or {COMPILED}, got {subject!r}")
    if training and subject == FUSED:
        raise ValueError(f"a fused network cannot be trained: use {EAGER} or {COMPILED}")
    torch.manual_seed(0)
    overrides = {} if case.conv is None else {"conv": case.conv}
    model = build_model(get_config(case.model, **overrides))
    network = prepare(model if training or subject == EAGER else model.fuse(), case, training)
    return torch.compile(network, fullgraph=True) if subject == COMPILED else network  # type: ignore[return-value]


def prepare(network: nn.Module, case: Case, training: bool) -> nn.Module:
    """Move a network to the device of the case (for inference, also to its dtype) and set its mode."""
    network = network.to(case.device)
    return network.train() if training else network.eval().to(case.torch_dtype)


def build_subjects(case: Case, mode: str, names: Sequence[str], build: Build = build) -> dict[str, Subject]:
    """Return a call for each named network in one of :data:`MODES`, and last the bare matrix products of ours."""
    images, training = case.images(), mode == "training"
    calls = {name: make_call(build(case, name, training), mode, images, case.torch_dtype) for name in names}
    model = build(case, EAGER if training else FUSED, training)
    if training:
        run = make_call(model, mode, images, case.torch_dtype)
    else:  # inference mode would dispatch whole layers, hiding their products
        run = partial(torch.no_grad()(model), images.to(case.torch_dtype))
    builders = [builder for builder, _ in block_parts(model)]
    return {**calls, PRODUCTS: record_products(run, model.parameters(), builders)}


def make_call(network: nn.Module, mode: str, images: Tensor, dtype: torch.dtype) -> Subject:
    """Return a call for a forward pass without gradients or a training step (forward, cross-entropy, backward)."""
    if mode == "inference":
        return partial(infer, network, images.to(dtype))
    labels = torch.randint(10, (len(images),), device=images.device)  # every network has at least 10 classes
    return partial(training_step, network, images, labels, dtype)


@torch.inference_mode()
def infer(network: nn.Module, images: Tensor) -> Tensor:
    """Run a forward pass."""
    return network(images)


def training_step(network: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
    """Compute the gradients of the cross-entropy; no optimizer step, as its time does not depend on our code."""
    network.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        scores = network(images)
        outputs = scores if isinstance(scores, tuple) else (scores,)  # distilled networks have two classifiers
        loss = torch.stack([F.cross_entropy(output.float(), labels) for output in outputs]).sum()
    loss.backward()


def block_parts(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield the graph builder and the conv of every block."""
    return ((grapher.graph, grapher.conv) for grapher in find_graphers(network).values())
