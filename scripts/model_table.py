"""Write the tables of networks into README.md, between <!-- models --> and <!-- /models -->.

Our columns are computed, those of the papers are quoted. Without the markers, the tables go to standard output.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyg_vig.models import build_model, count_macs, count_parameters, get_config, list_models
from pyg_vig.models.published import PUBLISHED, PUBLISHED_CONVS, Published

MARKERS = "<!-- models -->", "<!-- /models -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).parents[1] / "README.md")
    path = parser.parse_args().file
    text = path.read_text() if path.exists() else ""
    if all(marker in text for marker in MARKERS):
        path.write_text(replace_section(text, tables()))
    else:
        print(tables())


def replace_section(text: str, content: str) -> str:
    """Replace the text between the markers with the content."""
    between = re.compile(f"{MARKERS[0]}.*?{MARKERS[1]}", re.DOTALL)
    return between.sub(lambda _: f"{MARKERS[0]}\n{content}\n{MARKERS[1]}", text)


def tables() -> str:
    """Return both tables as Markdown."""
    note = (
        "Multiply-adds of convolutions and matrix products for one 224 x 224 image (vig_nano: 32 x 32). The paper "
        "columns are quoted, not measured here: parameters and FLOPs (which are multiply-adds) as printed, and top-1 "
        "accuracy on ImageNet-1K. AttentionViG's figures belong to the authors' unpublished sizes; ours have the same "
        "FLOPs.\n"
    )
    convs = (
        "ViG-Ti with other convs (Table 6 of the ViG paper). Multiply-adds are given for the definition, which works "
        "edge by edge, and for the fused path.\n"
    )
    return "\n".join([note, networks(), "", convs, graph_convs()])


def networks() -> str:
    """Return the table of networks, one per line."""
    lines = []
    for name in list_models():
        model = build_model(get_config(name))
        macs = count_macs(model, model.config.image_size)
        lines.append([f"`{name}`", f"{count_parameters(model):,}", giga(macs), *quoted(PUBLISHED.get(name))])
    header = ["network", "parameters", "multiply-adds", "paper: parameters", "paper: FLOPs", "paper: top-1"]
    return table(header, lines)


def graph_convs() -> str:
    """Return the table of ViG-Ti's convs, one per line."""
    lines = []
    for conv, paper in PUBLISHED_CONVS.items():
        model = build_model(get_config("vig_ti", conv=conv))
        counts = [giga(count_macs(model, definition=definition)) for definition in (True, False)]
        lines.append([f"`{conv}`", f"{count_parameters(model):,}", *counts, *quoted(paper)])
    header = ["conv", "parameters", "edge by edge", "fused", "paper: parameters", "paper: FLOPs", "paper: top-1"]
    return table(header, lines)


def quoted(paper: Published | None) -> list[str]:
    """Return the cells with a paper's figures."""
    if paper is None:
        return ["", "", ""]
    return [f"{paper.params_m} M" if paper.params_m else "", f"{paper.flops_g} G", f"{paper.top1} %"]


def giga(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e8 else f"{count / 1e9:.4f} G"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *lines])


if __name__ == "__main__":
    main()
