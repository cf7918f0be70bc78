"""Matrices that the backward pass recomputes, since what they are made of is stored anyway.

For the gradient of a weight, autograd keeps the input of every product. Mostly that is what a batch norm and an
activation make of a matrix which the norm keeps too, in one pass. So the code that makes such a matrix notes how
(:func:`note_recipe`), and the code that computes with it lets autograd keep the note in its place
(:func:`save_recipe`).

The note goes through PyTorch's hooks for saved tensors, so that all else is PyTorch's own: the edges of the graph,
gradients of gradients, ``retain_graph``. Where hooks are at work already (gradient checkpointing, offloading), these
decide what is kept, and where a compiler is, the compiler does.
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
    """How a matrix is made again: of others, each by its own recipe or, without one, kept."""

    def __init__(self, make: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> None:
        self.make = make
        self.parts = [_recipe_of(part) or _Kept(part) for part in parts]

    def __call__(self) -> Tensor:
        return self.make(*(part() for part in self.parts))


class _Kept:
    """A matrix itself; changed in place since, it is an error, as for all that autograd keeps."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.version = x.detach(), x._version

    def __call__(self) -> Tensor:
        if self.x._version != self.version:
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by an inplace operation: a "
                f"matrix of shape {tuple(self.x.shape)}, of which another is made again. Change a copy of it instead"
            )
        return self.x


# By matrix, whose end ends the note. (No attributes of tensors, which torch.save would write.)
_RECIPES: MutableMapping[Tensor, tuple[_Recipe, int]] = WeakIdKeyDictionary()


def note_recipe(out: Tensor, make: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """Note that ``make`` makes ``out`` of ``parts``, to the bit, if gradients will pass it.

    Args:
        out: the matrix, which is returned.
        make: function of the parts; with ``out`` all strides come again. It runs without gradients.
        parts: what stays in memory instead, unless it is made again itself.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.rematerialize import save_recipe, note_recipe
        >>> weight = torch.ones(4, 3, requires_grad=True)
        >>> double = note_recipe(weight * 2, lambda kept: kept * 2, weight)
        >>> out = save_recipe(double, double.square(), "self")  # which keeps the weight
        >>> out.sum().backward()
        >>> weight.grad[0]
        tensor([8., 8., 8.])
    """
    if out.requires_grad and not torch.compiler.is_compiling():
        _RECIPES[out] = _Recipe(make, parts), out._version
    return out


def add_residual(shortcut: Tensor, branch: Tensor) -> Tensor:
    """The sum at the end of a residual branch, made again where the shortcut is kept and the branch remade.

    So every second sum of a chain is: were all of them, each would be made of all before.
    """
    out = shortcut + branch
    if torch.compiler.is_compiling() or _recipe_of(shortcut) is not None or _recipe_of(branch) is None:
        return out
    return note_recipe(out, torch.add, shortcut, branch)


def save_recipe(x: Tensor, out: Tensor, name: str, number: int = 0) -> Tensor:
    """Let the autograd node of ``out`` keep how ``x``, or what it is a view of, is made, if that was noted.

    Args:
        x: input of the function that made ``out``.
        out: its output, which is returned.
        name: the node's name for ``x``, as in ``out.grad_fn._saved_self``; ``"tensors"`` for what a
            :class:`torch.autograd.Function` saves.
        number: which of these ``x`` is.
    """
    recipe = None if torch.compiler.is_compiling() else _recipe_of(x)
    if recipe is None or x.dtype != out.dtype:  # cast, under autocast
        return out
    saved: Any = getattr(out.grad_fn, f"_raw_saved_{name}", None)
    saved = saved[number] if isinstance(saved, tuple) else saved
    if saved is not None:
        with suppress(RuntimeError):  # others have hooks on it, or this input is not needed
            saved.register_hooks(lambda _: recipe, _make)
    return out


def _recipe_of(x: Tensor) -> _Recipe | None:
    base = x if x._base is None else x._base
    noted = _RECIPES.get(base)
    if noted is None or noted[1] != base._version:  # changed in place, it is not what was noted
        return None
    return noted[0] if base is x else _Recipe(partial(_view, x.size(), x.stride(), int(x.storage_offset())), (base,))


def _view(size: torch.Size, stride: tuple[int, ...], offset: int, x: Tensor) -> Tensor:
    return x.as_strided(size, stride, offset)


@torch.no_grad()
def _make(recipe: _Recipe) -> Tensor:
    return recipe()
