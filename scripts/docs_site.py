"""MkDocs hooks that generate pages of the documentation site from the package and the notebooks.

A reference page for every public part of the package, a page for every notebook, the changelog, and formulas as MathML,
which browsers render without JavaScript.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyg_vig"
_REEXPORTING_PACKAGES = {PACKAGE / "nn", PACKAGE / "graph"}  # they re-export the public names of their subpackages

_OUTSIDE_LINK = re.compile(r"\]\(((?:\.\./)+)((?:benchmarks|examples|notebooks|pyg_vig|scripts)/[\w./-]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add notebooks and reference pages to the navigation."""
    for section in config.nav or []:
        if "Tutorials" in section:
            section["Tutorials"] += notebooks()
    config.nav.insert(-3, {"Reference": [{name: _page_path(name)} for name in public_modules()]})
    return config


@event_priority(50)  # before the plugin that converts notebooks to pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and linked files that are not in the folder ``docs``."""
    for path in sorted({*notebooks(), *_linked_files(Path(config.docs_dir))}):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    for name in public_modules():
        content = f"# {name}\n\n::: {name}\n"
        files.append(File.generated(config, _page_path(name), content=content))
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of the folder ``docs`` to the copies next to the pages."""
    return _OUTSIDE_LINK.sub(lambda match: f"]({match[1][len('../') :]}{match[2]}", markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert formulas to MathML."""
    if page.file.src_uri.startswith("notebooks/"):  # mkdocs-jupyter leaves formulas as they are
        content = re.sub(r"\$\$(.+?)\$\$", r'<div class="arithmatex">\\[\1\\]</div>', content, flags=re.DOTALL)
    return _FORMULA.sub(_to_mathml, content)


def public_modules() -> list[str]:
    """List the package, its modules and subpackages with ``__all__``, and the integrations with other packages.

    ``pyg_vig.cli`` is left out, as it has no Python interface, and so are the subpackages of ``_REEXPORTING_PACKAGES``.
    """
    packages = [path.parent for path in PACKAGE.rglob("__init__.py") if "__all__" in path.read_text()]
    packages = [path for path in packages if path.name != "cli" and path.parent not in _REEXPORTING_PACKAGES]
    modules = [path.with_suffix("") for path in PACKAGE.glob("[a-z]*.py") if "__all__" in path.read_text()]
    integrations = [path.with_suffix("") for path in (PACKAGE / "integrations").glob("[a-z]*.py")]
    return sorted(".".join(path.relative_to(ROOT).parts) for path in [*packages, *modules, *integrations])


def notebooks() -> list[str]:
    """List the notebooks."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))


def _linked_files(docs: Path) -> list[str]:
    """List the files of the repository that pages link to."""
    links = [link for page in docs.rglob("*.md") for link in _OUTSIDE_LINK.findall(page.read_text())]
    return [path for _, path in links]


def _page_path(name: str) -> str:
    return f"reference/{name}.md"


def _to_mathml(match: re.Match[str]) -> str:
    formula, display = html.unescape(match[2]).strip(), "block" if match[1] == "div" else "inline"
    formula = re.sub(r"\\[bB]igg?[lr]?(?![a-z])", "", formula)  # MathML stretches brackets by itself
    if display == "block":  # set the index range below the operator
        formula = re.sub(r"\\(max|min|sum)_", r"\\\1\\limits_", formula)
    return convert(formula, display=display)
