"""Convert docstrings from reStructuredText, which they are written in as PyG's are, to Markdown for the site."""

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
    """Griffe extension that converts every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Convert the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value, ".".join(obj.path.split(".")[:2]))


def to_markdown(text: str, part: str) -> str:
    """Convert roles, links, formulas and the heading of examples to Markdown.

    Args:
        text: the docstring.
        part: the subpackage of the docstring, such as ``pyg_vig.nn``; names without a dot are looked up there.
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
    """Return a link if the site documents the name, otherwise the plain name."""
    name = found[2].strip()
    shown = name.rpartition(".")[2] if found[1] else name
    target = name if "." in name else f"{part}.{name}"
    return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'
