"""Docstrings are in reStructuredText, as PyG's are; the documentation site reads Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod):`(~?)([^`<>]+)`")
_MATH = re.compile(r":math:`([^`]+)`")
_LINK = re.compile(r'`"?([^`<>]+?)"?\s+<(https?://[^>\s]+)>`_+', re.DOTALL)
_DISPLAY = re.compile(r"^( *)\.\. math::[ ]*\n+((?:\1 +.*\n|\s*\n)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value, ".".join(obj.path.split(".")[:2]))


def to_markdown(text: str, part: str) -> str:
    """Roles, links, formulas and the title of examples as Markdown has them.

    Args:
        text: the docstring.
        part: the part of the package that it is in, such as ``pyg_vig.nn``, where names without a dot belong.
    """
    text = _DISPLAY.sub(_display, text + "\n").rstrip()
    text = _MATH.sub(lambda found: f"\\({' '.join(found[1].split())}\\)", text)
    text = _LINK.sub(lambda found: f"[{' '.join(found[1].split())}]({found[2]})", text)
    text = _ROLE.sub(lambda found: _reference(found, part), text)
    return re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)


def _display(found: re.Match[str]) -> str:
    indent, formula = found[1], textwrap.dedent(found[2]).strip()
    return f"{indent}$$\n{textwrap.indent(formula, indent)}\n{indent}$$\n\n"


def _reference(found: re.Match[str], part: str) -> str:
    """A link where the site has such a page; the name alone, else."""
    name = found[2].strip()
    shown = name.rpartition(".")[2] if found[1] else name
    target = name if "." in name else f"{part}.{name}"
    return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'
