"""The bare matrix products of a network: its linear layers and convolutions with nothing between them.

They run as PyTorch operators, one call per layer, and so give the time of the network if all else were free: the
reference for its speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
_PRODUCT_OPS = {
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
}


class Products:
    """Matrix products recorded from a run; calling the object runs them again, one after the other.

    Example:
        >>> from pyg_vig.benchmark import Products
        >>> Products().flops
        0
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Sequence[Any], dict[str, Any]]] = []
        self.flops = 0  # 2 per multiply-add

    @torch.inference_mode()
    def __call__(self) -> None:
        for function, args, kwargs in self.calls:
            function(*args, **kwargs)


def record_products(
    run: Callable[[], object], weights: Iterable[Tensor] = (), skip: Iterable[nn.Module] = ()
) -> Products:
    """Record the matrix products of a run.

    Args:
        run: function to run; it may include a backward pass.
        weights: the parameters, to distinguish them from activations.
        skip: modules whose products are not recorded (graph builders).

    Example:
        >>> import torch
        >>> from pyg_vig.benchmark import record_products
        >>> layer = torch.nn.Linear(4, 6)
        >>> record_products(lambda: layer(torch.rand(10, 4)), layer.parameters()).flops  # two for a multiply-add
        480
    """
    mode, skip = _Recorder(weights), list(skip)
    handles = [module.register_forward_pre_hook(mode.pause) for module in skip]
    handles += [module.register_forward_hook(mode.resume) for module in skip]
    try:
        with mode:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return mode.products


class _Recorder(TorchDispatchMode):
    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.products = Products()
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.paused = 0
        self.buffers: dict[tuple[Any, ...], Tensor] = {}

    def pause(self, *_: Any) -> None:
        self.paused += 1

    def resume(self, *_: Any) -> None:
        self.paused -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in _PRODUCT_OPS and not self.paused:
            inputs = tree_map_only(Tensor, self._random_like, (args, kwargs))
            self.products.calls.append((func, *inputs))
            self.products.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        return out

    def _random_like(self, x: Tensor) -> Tensor:
        """Return a random tensor with the same shape, strides and dtype.

        Activations of the same shape share a buffer, as in a network, which reads them soon after writing them. Every
        weight has its own buffer, as a network reads all of them from memory.
        """
        storage = x.untyped_storage().data_ptr()
        key = (x.shape, x.stride(), x.dtype, storage if storage in self.weights else None)
        if key not in self.buffers:
            extent = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
            values = torch.randn(max(extent, 1), device=x.device).to(x.dtype)
            self.buffers[key] = values.as_strided(x.shape, x.stride())
        return self.buffers[key]
