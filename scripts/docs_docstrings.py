"""Convert docstrings from reStructuredText, which they are written in as PyG's are, to Markdown for the site."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod):`(~?)([^`<>]+)`")
_MATH = re.compile(r":math:`([^`]+)`")
_LINK = re.compile(r'`"?([^`<>]+?)"?\s+<(https?://[^>\s]+)>`_+', re.DOTALL)
_DISPLAY_MATH = re.compile(r"^( *)\.\. math::[ ]*\n+((?:\1 +.*\n|\s*\n)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Griffe extension that converts every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Convert the docstring of one object."""
        if obj.docstring is not None:
            parts = obj.path.split(".")
            depth = 3 if parts[1:2] in (["integrations"], ["tasks"]) else 2  # their subpackages have pages of their own
            obj.docstring.value = to_markdown(obj.docstring.value, ".".join(parts[:depth]))


def to_markdown(text: str, package: str) -> str:
    """Convert roles, links, formulas and the heading of examples to Markdown.

    Args:
        text: the docstring.
        package: the subpackage of the docstring, such as ``pyg_vig.nn``; names without a dot are looked up there.
    """
    text = _DISPLAY_MATH.sub(_display_math, text + "\n").rstrip()
    text = _MATH.sub(lambda match: f"\\({' '.join(match[1].split())}\\)", text)
    text = _LINK.sub(lambda match: f"[{' '.join(match[1].split())}]({match[2]})", text)
    text = _ROLE.sub(lambda match: _reference(match, package), text)
    return re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)


def _display_math(match: re.Match[str]) -> str:
    indent, formula = match[1], textwrap.dedent(match[2]).strip()
    return f"{indent}$$\n{textwrap.indent(formula, indent)}\n{indent}$$\n\n"


def _reference(match: re.Match[str], package: str) -> str:
    """Return a link if the site documents the name, otherwise the plain name."""
    name = match[2].strip()
    label = name.rpartition(".")[2] if match[1] else name
    target = name if "." in name else f"{package}.{name}"
    return f'<autoref identifier="{target}" optional><code>{label}</code></autoref>'
