"""The zero-cost scores by name: what each is, what it costs and where it is known to fail.

No torch here: the command line lists and checks scores without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import Quantity


@dataclass(frozen=True, slots=True)
class ZeroCost:
    """A score that needs neither training nor data. Higher is better, says its paper.

    Attributes:
        name: as given to ``--score``.
        home: ``module:function`` that computes it; for params and macs, what looks them up.
        paper: where it is from, with the arXiv number.
        batch: random images that a network is given; 0 where none is built.
        passes: what it costs.
        failure: where it is known to mislead.
        needs_module: whether a network is built for each design.
    """

    name: str
    home: str
    paper: str
    batch: int
    passes: str
    failure: str
    needs_module: bool = True


_ABDELFATTAH = "Abdelfattah et al. 2021, arXiv 2101.08134"

_ALL = (
    ZeroCost(
        "synflow",
        "bamsearch.score.synflow:synflow",
        f"Tanaka et al. 2020, arXiv 2006.05467; for architectures {_ABDELFATTAH}",
        1,
        "1 forward + 1 backward of 1 image of ones, in float64",
        "with absolute weights BAM's sigmoid saturates at 1: a BAM doubles the map whatever its r "
        "and d, so that designs with the same sites tie or nearly so",
    ),
    ZeroCost(
        "grad_norm",
        "bamsearch.score.gradients:grad_norm",
        _ABDELFATTAH,
        4,
        "1 forward + 1 backward of 4 images",
        "turns from +0.62 over NAS-Bench-201 to -0.57 among networks of one size: it rewards "
        "badly scaled networks too",
    ),
    ZeroCost(
        "snip",
        "bamsearch.score.gradients:snip",
        f"Lee et al. 2019, arXiv 1810.02340; for architectures {_ABDELFATTAH}",
        4,
        "1 forward + 1 backward of 4 images",
        "a sum over all weights: it grows with their number and with the scale of the gradients",
    ),
    ZeroCost(
        "jacob_cov",
        "bamsearch.score.jacobian:jacob_cov",
        f"Mellor et al. 2020, arXiv 2006.04647v1, as in {_ABDELFATTAH}",
        4,
        "1 forward + 1 backward to the images, of 4 images",
        "with batch norm the images' gradients hardly correlate in any design: scores differ in "
        "the fifth digit, and another seed orders the designs otherwise",
    ),
    ZeroCost(
        "naswot",
        "bamsearch.score.naswot:naswot",
        "Mellor et al. 2021, arXiv 2006.04647",
        8,
        "1 forward of 8 images",
        "the kernel sums over all activations, so that it grows with their number; "
        "nothing to say of a network without ReLU-like activations",
    ),
    ZeroCost(
        "zico",
        "bamsearch.score.zico:zico",
        "Li et al. 2023, arXiv 2301.11300",
        4,
        "2 forwards + 2 backwards, of 2 images each",
        "a sum of one positive term a layer, so that it counts layers: six more with every BAM; "
        "with two mini-batches each term has a heavy tail",
    ),
    ZeroCost(
        "params",
        "bamsearch.profile.costs:DesignCosts",
        "none: the number of parameters, the score to beat",
        0,
        "a lookup, nothing is built",
        "knows size only: blind to d, and the best is always the largest that fits",
        needs_module=False,
    ),
    ZeroCost(
        "macs",
        "bamsearch.profile.costs:DesignCosts",
        "none: multiply-adds as fvcore counts them, the score to beat",
        0,
        "a lookup, nothing is built",
        "knows cost only: blind to d, and the best is always the most expensive that fits",
        needs_module=False,
    ),
)

SCORES: dict[str, ZeroCost] = {score.name: score for score in _ALL}
"""Every zero-cost score by its name."""

DEFAULT_SCORE = "params"
"""The score of a search without data. In the committed audit (reports/audit) no zero-cost score,
averaged over 24 draws, ordered designs significantly better than the number of parameters."""

DEFAULT_REASON = (
    "no zero-cost score ordered designs significantly better in bamsearch's own audit "
    "(reports/audit)"
)
"""What every output says of the default score."""

COSTS: dict[str, Quantity] = {"params": "params", "macs": "gflops"}
"""Scores that are a cost of the design: looked up, the same with every seed, blind to d."""


def is_drawn(score: str) -> bool:
    """Whether a score depends on a seed: initial weights, images, or a function of the user's."""
    return score not in COSTS
