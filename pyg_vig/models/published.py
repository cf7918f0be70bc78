"""Figures reported in the papers (ImageNet-1K, 224 pixels), not measured by us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of a table in a paper.

    Args:
        params_m: parameters in millions.
        flops_g: "FLOPs" in billions, meaning multiply-adds.
        top1: top-1 accuracy in percent.
        top5: top-5 accuracy in percent, if reported.
    """

    params_m: float | None
    flops_g: float
    top1: float
    top5: float | None = None


# "Vision GNN" (arXiv 2206.00272), tables 4 and 5.
PUBLISHED: dict[str, Published] = {
    "vig_ti": Published(7.1, 1.3, 73.9, 92.0),
    "vig_s": Published(22.7, 4.5, 80.4, 95.2),
    "vig_b": Published(86.8, 17.7, 82.3, 95.9),
    "pvig_ti": Published(10.7, 1.7, 78.2, 94.2),
    "pvig_s": Published(27.3, 4.6, 82.1, 96.0),
    "pvig_m": Published(51.7, 8.9, 83.1, 96.4),
    "pvig_b": Published(92.6, 16.8, 83.7, 96.5),
    # MobileViG (arXiv 2307.00395) and GreedyViG (arXiv 2405.06849), both distilled from RegNetY-16GF.
    "mobilevig_ti": Published(5.2, 0.7, 75.7),
    "mobilevig_s": Published(7.2, 1.0, 78.2),
    "mobilevig_m": Published(14.0, 1.5, 80.6),
    "mobilevig_b": Published(26.7, 2.8, 82.6),
    "greedyvig_s": Published(12.0, 1.6, 81.1),
    "greedyvig_m": Published(21.9, 3.2, 82.9),
    "greedyvig_b": Published(30.9, 5.2, 83.9),
    # AttentionViG (arXiv 2509.25570), distilled from RegNetY-16GF. The authors' sizes are not public: ours only match
    # the FLOPs.
    "attention_vig_s": Published(None, 1.6, 81.3),
    "attention_vig_m": Published(None, 3.2, 83.1),
    "attention_vig_b": Published(None, 4.8, 83.9),
}

# "Vision GNN", table 6: ViG-Ti with other graph convolutions.
PUBLISHED_CONVS: dict[str, Published] = {
    "edge": Published(7.2, 2.4, 74.3),
    "gin": Published(7.0, 1.3, 72.8),
    "sage": Published(7.3, 1.6, 74.0),
    "max_relative": Published(7.1, 1.3, 73.9),
}
