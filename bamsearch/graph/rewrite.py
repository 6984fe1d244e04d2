"""The rewriting pass: insert BAM into the graph of a network after its sites.

Sites come from a deep trace; the rewrite traces again with all modules without a site as leaves. A
ResNet with three BAMs is then its usual forward with ``layer1`` to ``layer4`` intact: hooks fire,
and stochastic depth and attention keep their train and eval behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from bamsearch.graph.attach import Bams
from bamsearch.graph.bams import key_of
from bamsearch.graph.inserted import InsertedModel
from bamsearch.graph.tracing.coarse import (
    adopt_constants,
    check_same_in_both,
    code_of,
    modules_bound_to_root,
    opened_by,
    refuse_unsafe,
    trace_coarsely,
)
from bamsearch.graph.tracing.tracer import Trace
from bamsearch.records import Site


def rewrite(
    part: nn.Module, names: Sequence[str], chosen: Sequence[Site], bams: Bams
) -> InsertedModel:
    """Rewrite a feature network so that each site's map passes through its BAM.

    Args:
        part: the feature network; modified, and moved into the result.
        names: names of the sites relative to part.
        chosen: the sites.
        bams: one BAM per site, in the same order.

    Raises:
        ModelError: part cannot be traced, or has hooks or parametrizations that tracing would drop.
    """
    refuse_unsafe(part, opened_by(names))
    # Trace before adding BAM: nn.Sequential and torchvision's feature getters run all children.
    coarse = [trace_coarsely(part, names, training=training) for training in (True, False)]
    check_same_in_both(chosen, names, *coarse)
    bound = modules_bound_to_root(part, names, *(code_of(traced.graph) for traced in coarse))
    for traced in coarse:
        adopt_constants(part, traced)
    # Add BAM before creating the GraphModule: fx may lose later additions (pytorch #66197).
    part.add_module("bam", bams)
    train_graph, eval_graph = (_rewritten(traced, names, chosen) for traced in coarse)
    if code_of(train_graph) == code_of(eval_graph):
        train_graph = eval_graph
    inserted = InsertedModel(part, train_graph, eval_graph, bound)
    for graph in {id(graph): graph for graph in (train_graph, eval_graph)}.values():
        graph.owning_module = inserted
        graph.lint()
    return inserted


def _rewritten(coarse: Trace, names: Sequence[str], chosen: Sequence[Site]) -> fx.Graph:
    """The coarse graph with a BAM after each site."""
    nodes = {name: node for node, name in coarse.site_names().items()}
    for name, site in zip(names, chosen, strict=True):
        node = nodes[name]
        with coarse.graph.inserting_after(node):
            bam = coarse.graph.call_module(f"bam.{key_of(site)}", (node,))
        node.replace_all_uses_with(bam)
        bam.args = (node,)  # replace_all_uses_with replaced BAM's input too
    return coarse.graph
