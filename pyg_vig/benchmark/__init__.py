"""Measure the speed and memory of networks, and profile them; used by ``pyg-vig bench`` and ``benchmarks/``."""

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.memory import measure_memory, peak_beyond
from pyg_vig.benchmark.process import MALLOC, in_fresh_process
from pyg_vig.benchmark.products import Products, record_products
from pyg_vig.benchmark.profiling import measure_profile
from pyg_vig.benchmark.report import provenance, table, write
from pyg_vig.benchmark.speed import measure_speed
from pyg_vig.benchmark.timing import Timings, interleave

__all__ = [
    "MALLOC",
    "Case",
    "Products",
    "Timings",
    "in_fresh_process",
    "interleave",
    "measure_memory",
    "measure_profile",
    "measure_speed",
    "peak_beyond",
    "provenance",
    "record_products",
    "table",
    "write",
]
