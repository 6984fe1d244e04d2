"""BAM, the Bottleneck Attention Module (arXiv 1807.06514), in any network, at a known cost.

Names are loaded when first used, so that ``import bamsearch`` alone does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bamsearch.api.attention import show_attention
    from bamsearch.api.audit import audit
    from bamsearch.api.insertion import insert
    from bamsearch.api.profile import profile
    from bamsearch.api.result import SearchResult
    from bamsearch.api.search import search
    from bamsearch.api.train import train
    from bamsearch.api.verify import verify
    from bamsearch.api.view import SearchView
    from bamsearch.attention.bam import BAM
    from bamsearch.attention.maps import attention_maps
    from bamsearch.errors import BamsearchError
    from bamsearch.export.network import export_network
    from bamsearch.graph.bams import bam_parameters, freeze_bam_bn
    from bamsearch.graph.designs import build, load, save
    from bamsearch.graph.insertion import insert_bam
    from bamsearch.graph.sites import find_sites
    from bamsearch.profiling.counting import count
    from bamsearch.profiling.latency import measure_latency
    from bamsearch.profiling.memory import peak_memory
    from bamsearch.profiling.timing import time_model, time_pair
    from bamsearch.records import Cost, Design, Insertion, Site, Trial
    from bamsearch.reporting.documents import report
    from bamsearch.training.progress import TrainingView

    __version__: str

HOMES = {
    "BAM": "bamsearch.attention.bam",
    "BamsearchError": "bamsearch.errors",
    "Cost": "bamsearch.records",
    "Design": "bamsearch.records",
    "Insertion": "bamsearch.records",
    "SearchResult": "bamsearch.api.result",
    "SearchView": "bamsearch.api.view",
    "Site": "bamsearch.records",
    "TrainingView": "bamsearch.training.progress",
    "Trial": "bamsearch.records",
    "attention_maps": "bamsearch.attention.maps",
    "audit": "bamsearch.api.audit",
    "bam_parameters": "bamsearch.graph.bams",
    "build": "bamsearch.graph.designs",
    "count": "bamsearch.profiling.counting",
    "export_network": "bamsearch.export.network",
    "find_sites": "bamsearch.graph.sites",
    "freeze_bam_bn": "bamsearch.graph.bams",
    "insert": "bamsearch.api.insertion",
    "insert_bam": "bamsearch.graph.insertion",
    "load": "bamsearch.graph.designs",
    "measure_latency": "bamsearch.profiling.latency",
    "peak_memory": "bamsearch.profiling.memory",
    "profile": "bamsearch.api.profile",
    "report": "bamsearch.reporting.documents",
    "save": "bamsearch.graph.designs",
    "search": "bamsearch.api.search",
    "show_attention": "bamsearch.api.attention",
    "time_model": "bamsearch.profiling.timing",
    "time_pair": "bamsearch.profiling.timing",
    "train": "bamsearch.api.train",
    "verify": "bamsearch.api.verify",
}
"""Public name → the module that defines it."""

__all__ = [
    "BAM",
    "BamsearchError",
    "Cost",
    "Design",
    "Insertion",
    "SearchResult",
    "SearchView",
    "Site",
    "TrainingView",
    "Trial",
    "__version__",
    "attention_maps",
    "audit",
    "bam_parameters",
    "build",
    "count",
    "export_network",
    "find_sites",
    "freeze_bam_bn",
    "insert",
    "insert_bam",
    "load",
    "measure_latency",
    "peak_memory",
    "profile",
    "report",
    "save",
    "search",
    "show_attention",
    "time_model",
    "time_pair",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("bamsearch")
    elif name in HOMES:
        value = getattr(import_module(HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for tab completion."""
    return sorted([*globals(), *__all__])
