"""What may be true of the score before it is seen: draws from a prior over covariances.

Effects of options may be smooth in log2 r and log2 d or have no pattern, be shared between choices
or not, depend on the size of the design, and interact: in pairs of choices (an additive Gaussian
process of order 2) or all at once. Each draw is one mixture of these, the same in every search;
scores then say which of them to believe (:mod:`~bamsearch.searching.posterior`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from bamsearch.searching.codes import Floats
from bamsearch.searching.kernel import Kernel

DRAWN = 256

# Shares of the variance of a smooth effect, about which draws spread.
_SMOOTH = {"on": 0.4, "r": 0.2, "d": 0.2, "rd": 0.1}
_SPREAD_SMOOTH, _SPREAD_LINKS = 0.7, 1.0
# Greatest shares of the variance; a fifth of all draws have none.
_SHARED, _SIZE, _INTERACTING = 0.9, 0.6, 0.8
_NONE = 0.2
_REACH = (1.0, 3.0)
# Greatest weight of r, and of d, where that of BAM or none is 1; and of what is alike at all sites.
_R_OR_D, _ALIKE = 1.5, 0.5
QUIET = (1e-4, 0.3)
"""Range of the noise's variance, in units of the scores', where a score is the same each time."""

NOISY = (0.03, 4.0)
"""Where a score is of one training: of two trainings of a design, the first may say little of the
second (docs/decisions.md has a pilot where their correlation was 0.31, which is a noise of 2.2)."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A covariance between designs, of variance about 1.

    With B_i the likeness of two designs at choice i, of variance 1, and c choices, it is::

        sum over components + pairs sum_{i<j} B_i B_j / (c (c - 1) / 2)
                            + joint exp(reach (sum_i B_i / c - 1))

    Attributes:
        components: a weight for each component of the kernel.
        options: of each kind in B, (kinds,).
        pairs: the weight of interactions of two choices.
        joint: the weight of interactions of all.
        reach: how strongly many interact; near 0, the sum is all that counts.
        noise: its variance.
    """

    components: Floats
    options: Floats
    pairs: float
    joint: float
    reach: float
    noise: float


def hypotheses(
    kernel: Kernel, number: int = DRAWN, noise: tuple[float, float] = QUIET
) -> list[Hypothesis]:
    """Draws from the prior, the same each time.

    Args:
        kernel: over the feasible set.
        number: of draws.
        noise: range of its variance.
    """
    links = sorted({one.which for one in kernel.components if one.which != "own"})
    uniform = np.random.default_rng(0).random((number, 8 + len(_SMOOTH) + len(links)))
    return [_hypothesis(kernel, links, row, noise) for row in uniform]


def noisy_hypotheses(kernel: Kernel) -> list[Hypothesis]:
    """What may be true of a noisy score: anything, or what is plain.

    Where one training says little, few of them can only tell what is plain: an effect of BAM at
    each site, and one of r and of d that is alike at all sites. Half of what is weighed is that.
    """
    return [*hypotheses(kernel, noise=NOISY), *_plain(kernel, DRAWN)]


def _plain(kernel: Kernel, number: int) -> list[Hypothesis]:
    """Draws in which each site has its effect, r and d have the same at all, and nothing else."""
    links = {one.which for one in kernel.components}
    there = [what for what in ("on", "kind") if what in kernel.kinds]
    shared = "all" if "all" in links else "own"
    uniform = np.random.default_rng(1).random((number, 4))
    found = []
    for r, d, alike, noise in uniform * [_R_OR_D, _R_OR_D, _ALIKE, 1.0]:
        weights = {("r", shared): r, ("d", shared): d}
        for what in there:
            weights[what, "own"] = 1.0 - alike
            # BAM, or a kind, anywhere may have an effect too, whatever its site.
            weights[what, shared] = weights.get((what, shared), 0.0) + alike
        all_of = np.array([weights.get((c.what, c.which), 0.0) for c in kernel.components])
        variance = float(np.exp(np.interp(noise, [0, 1], np.log(NOISY))))
        none = np.zeros(len(kernel.kinds))
        found.append(Hypothesis(all_of / all_of.sum(), none, 0.0, 0.0, _REACH[0], variance))
    return found


def _hypothesis(
    kernel: Kernel, links: list[str], uniform: Floats, noises: tuple[float, float]
) -> Hypothesis:
    """One draw, of uniform numbers."""
    rough, joint = np.sin(0.5 * np.pi * uniform[:2]) ** 2
    shared, sized, interacting = _share(uniform[2:5]) * [_SHARED, _SIZE, _INTERACTING]
    reach = np.interp(uniform[5], [0, 1], _REACH)
    noise = np.exp(np.interp(uniform[6], [0, 1], np.log(noises)))
    macs, normal = uniform[7], ndtri(uniform[8:])
    options = _options(kernel, rough, normal[: len(_SMOOTH)])
    by_link = np.exp(_SPREAD_LINKS * normal[len(_SMOOTH) :])
    which = {"own": 1 - shared if links else 1.0}
    which |= dict(zip(links, shared * by_link / by_link.sum(), strict=True)) if links else {}
    additive = (1 - sized) * (1 - interacting)
    weights = {
        (kind, link): additive * option * (share if kind != "cell" else 1.0)
        for kind, option in zip(kernel.kinds, options, strict=True)
        for link, share in which.items()
    }
    weights |= {("macs", "own"): sized * macs, ("params", "own"): sized * (1 - macs)}
    return Hypothesis(
        np.array([weights[one.what, one.which] for one in kernel.components]),
        options,
        pairs=float((1 - sized) * interacting * (1 - joint)),
        joint=float((1 - sized) * interacting * joint),
        reach=float(reach),
        noise=float(noise),
    )


def _options(kernel: Kernel, rough: float, normal: Floats) -> Floats:
    """Shares of each kind in the effects of options: (kinds,), their sum 1."""
    drawn = dict(zip(_SMOOTH, normal, strict=True))
    smooth = [
        _SMOOTH.get(kind, _SMOOTH["on"]) * np.exp(_SPREAD_SMOOTH * drawn.get(kind, drawn["on"]))
        for kind in kernel.kinds
        if kind != "cell"
    ]
    return np.append((1 - rough) * np.array(smooth) / sum(smooth), rough)


def _share(uniform: Floats) -> Floats:
    """Mostly small, and none for the least fifth."""
    found: Floats = (np.maximum(uniform - _NONE, 0) / (1 - _NONE)) ** 2
    return found
