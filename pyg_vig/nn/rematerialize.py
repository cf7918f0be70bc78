"""Recompute matrices in the backward pass instead of storing them, from others that are stored anyway.

For the weight gradient, autograd stores the input of every product. Mostly that is the output of a batch norm and an
activation, which can be recomputed in one pass from the norm's input, and that is stored too. So code that produces
such a matrix registers a recipe for it (:func:`register_recipe`), and code that consumes the matrix lets autograd store
the recipe in its place (:func:`save_recipe`).

Recipes go through PyTorch's hooks for saved tensors, so the autograd graph, higher-order gradients and ``retain_graph``
work as usual. If other such hooks are active (gradient checkpointing, offloading), they decide what is stored; inside a
compiled region, the compiler does.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary


class _Recipe:
    """How to recompute a matrix from others, each of which has a recipe itself or is stored."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self.function = function
        self.inputs = [_get_recipe(x) or _SavedTensor(x) for x in inputs]

    def __call__(self) -> Tensor:
        return self.function(*(x() for x in self.inputs))


class _SavedTensor:
    """A stored matrix. As with all tensors saved by autograd, it is an error to use it after an in-place change."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.version = x.detach() if x.requires_grad else x, x._version

    def __call__(self) -> Tensor:
        if self.x._version != self.version:
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by an inplace operation: a "
                f"tensor of shape {tuple(self.x.shape)}, from which another one is recomputed. Modify a copy instead"
            )
        return self.x


# Weakly keyed by matrix: the recipe is freed with it. (torch.save would write an attribute of the tensor to the file.)
_RECIPES: MutableMapping[Tensor, tuple[_Recipe, int]] = WeakIdKeyDictionary()


def register_recipe(out: Tensor, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Register that ``function(*inputs)`` recomputes ``out`` bit for bit, if ``out`` requires gradients.

    Args:
        out: the matrix; it is returned.
        function: must reproduce the strides of ``out`` too. It runs without gradients.
        inputs: tensors that are stored instead, unless they are recomputed themselves.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.rematerialize import register_recipe, save_recipe
        >>> weight = torch.ones(4, 3, requires_grad=True)
        >>> double = register_recipe(weight * 2, lambda x: x * 2, weight)
        >>> out = save_recipe(double, double.square(), "self")  # which keeps the weight
        >>> out.sum().backward()
        >>> weight.grad[0]
        tensor([8., 8., 8.])
    """
    if out.requires_grad and not torch.compiler.is_compiling():
        _RECIPES[out] = _Recipe(function, inputs), out._version
    return out


def add_residual(shortcut: Tensor, branch: Tensor, scale: Tensor | None = None) -> Tensor:
    """Sum at the end of a residual branch, to be recomputed if the branch has a recipe and the shortcut has none.

    In a chain of blocks, this applies to every second sum: if it applied to all, each would be recomputed from all the
    earlier ones.

    Args:
        shortcut: input of the block.
        branch: output of the branch.
        scale: factors of the branch, which broadcast; applied in the same pass.
    """
    function, inputs = (torch.add, (branch,)) if scale is None else (torch.addcmul, (branch, scale))
    out = function(shortcut, *inputs)
    if torch.compiler.is_compiling() or _get_recipe(shortcut) is not None or _get_recipe(branch) is None:
        return out
    return register_recipe(out, function, shortcut, *inputs)


def save_recipe(x: Tensor, out: Tensor, name: str, index: int = 0) -> Tensor:
    """Let the autograd node of ``out`` store the recipe of ``x``, or of the tensor that ``x`` views, if there is one.

    Args:
        x: input of the function that computed ``out``.
        out: output of that function; it is returned.
        name: the node's name for ``x``, as in ``out.grad_fn._saved_self``; ``"tensors"`` for the tensors that a
            :class:`torch.autograd.Function` saves.
        index: index of ``x`` among these.
    """
    recipe = None if torch.compiler.is_compiling() else _get_recipe(x)
    if recipe is None or x.dtype != out.dtype:  # autocast has cast x
        return out
    saved: Any = getattr(out.grad_fn, f"_raw_saved_{name}", None)
    saved = saved[index] if isinstance(saved, tuple) else saved
    if saved is not None:
        with suppress(RuntimeError):  # there are other hooks, or the node does not need x
            saved.register_hooks(lambda _: recipe, _recompute)
    return out


def _get_recipe(x: Tensor) -> _Recipe | None:
    base = x if x._base is None else x._base
    entry = _RECIPES.get(base)
    if entry is None or entry[1] != base._version:  # changed in place: the recipe is invalid
        return None
    return entry[0] if base is x else _Recipe(partial(_view, x.size(), x.stride(), int(x.storage_offset())), (base,))


def _view(size: torch.Size, stride: tuple[int, ...], offset: int, x: Tensor) -> Tensor:
    return x.as_strided(size, stride, offset)


@torch.no_grad()
def _recompute(recipe: _Recipe) -> Tensor:
    return recipe()
