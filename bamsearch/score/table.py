"""The table of zero-cost scores, with their sources, costs and known failures.

torch is not imported here: the command line lists and checks scores without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import Quantity


@dataclass(frozen=True, slots=True)
class ZeroCost:
    """A score that needs neither training nor data; higher is better, according to its paper.

    Attributes:
        name: value of ``--score``, and of its function in :mod:`.zero_cost`.
        paper: source, with the arXiv number.
        batch: number of random images; 0 if it is a cost, for which no network is built.
        passes: cost in forward and backward passes.
        failure: known failure.
    """

    name: str
    paper: str
    batch: int
    passes: str
    failure: str

    @property
    def needs_module(self) -> bool:
        """Whether a network is built for each design."""
        return self.batch > 0


_ABDELFATTAH = "Abdelfattah et al. 2021, arXiv 2101.08134"

_ALL = (
    ZeroCost(
        "synflow",
        f"Tanaka et al. 2020, arXiv 2006.05467; for architectures {_ABDELFATTAH}",
        1,
        "1 forward + 1 backward of 1 image of ones, in float64",
        "with absolute weights BAM's sigmoid saturates at 1: a BAM doubles the map for any r and "
        "d, so designs with the same sites tie or nearly tie",
    ),
    ZeroCost(
        "grad_norm",
        _ABDELFATTAH,
        4,  # of 2, the batch norm in BAM's channel branch returns ±1, and has no gradient
        "1 forward + 1 backward of 4 images",
        "its correlation with accuracy drops from +0.62 over NAS-Bench-201 to -0.57 among networks "
        "of equal size: it also rewards badly scaled networks",
    ),
    ZeroCost(
        "snip",
        f"Lee et al. 2019, arXiv 1810.02340; for architectures {_ABDELFATTAH}",
        4,
        "1 forward + 1 backward of 4 images",
        "a sum over all weights: it grows with their number and with the scale of the gradients",
    ),
    ZeroCost(
        "jacob_cov",
        f"Mellor et al. 2020, arXiv 2006.04647v1, as in {_ABDELFATTAH}",
        4,
        "1 forward + 1 backward to the images, of 4 images",
        "with batch norm the gradients of images hardly correlate in any design: scores differ in "
        "the fifth digit, and another seed orders the designs differently",
    ),
    ZeroCost(
        "naswot",
        "Mellor et al. 2021, arXiv 2006.04647",
        8,
        "1 forward of 8 images",
        "the kernel sums over all activations, so it grows with their number; "
        "undefined for networks without ReLU-like activations",
    ),
    ZeroCost(
        "zico",
        "Li et al. 2023, arXiv 2301.11300",
        4,
        "2 forwards + 2 backwards, of 2 images each",
        "a sum of one positive term per layer, so it counts layers, six for every BAM; "
        "with two mini-batches each term has a heavy tail",
    ),
    ZeroCost(
        "params",
        "none: the number of parameters, the score to beat",
        0,
        "a lookup, nothing is built",
        "sees size only: it ignores d, and its best design is always the largest feasible one",
    ),
    ZeroCost(
        "macs",
        "none: multiply-adds as fvcore counts them, the score to beat",
        0,
        "a lookup, nothing is built",
        "sees cost only: it ignores d, and its best design is always the costliest feasible one",
    ),
)

SCORES: dict[str, ZeroCost] = {score.name: score for score in _ALL}
"""The zero-cost scores by name."""

DEFAULT_SCORE = "params"
"""The default score of a search without data: in the committed audit (reports/audit) no zero-cost
score, averaged over 24 draws, ordered designs significantly better than the parameter count."""

DEFAULT_REASON = (
    "no zero-cost score ordered designs significantly better in bamsearch's own audit "
    "(reports/audit)"
)
"""The justification of the default score in all outputs."""

COSTS: dict[str, Quantity] = {"params": "params", "macs": "gflops"}
"""Scores that are a cost of the design: in closed form, independent of the seed and of d."""


def is_drawn(score: str) -> bool:
    """Whether a score depends on a seed, through initial weights, images or a user's function."""
    return score not in COSTS
