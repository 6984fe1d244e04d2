"""The prior over kernels: seeded draws of component weights.

Notation: x, x' are designs with c choices; K_m the components of the kernel
(:mod:`~bamsearch.sampler.kernel`), including one per size measure; B_i the covariance of two
designs at choice i, a weighted sum over the kinds. Each draw is one covariance::

    k(x, x') = sum_m w_m K_m  +  p (2 / (c (c - 1))) sum_{i<j} B_i B_j
                              +  q exp(l (sum_i B_i / c - 1))

    w_m   main effects (additive in the choices) and size
    p     interactions of pairs of choices: an additive Gaussian process of order 2 (Duvenaud,
          Nickisch and Rasmussen, Additive Gaussian Processes, 2011)
    q, l  interactions of all choices, and how quickly they decay as designs differ

The draws cover effects that are smooth in log2 r and log2 d or have no pattern, that are shared
between choices or not, that depend on size, and that interact. They are the same in every search;
the posterior weights each by its evidence (:mod:`~bamsearch.sampler.posterior`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from bamsearch.sampler.codes import Floats
from bamsearch.sampler.kernel import Kernel

KERNEL_SAMPLES = 256
"""Number of draws."""

# Ranges of the prior. benchmarks/sampler_regret.md has the regret with these values.
# Median variance shares of the kinds of a smooth effect, and the log-normal spread about them.
# Whether a site has BAM comes first: r and d have an effect only where it does.
_SMOOTH = {"on": 0.4, "r": 0.2, "d": 0.2, "rd": 0.1}
_SPREAD_SMOOTH, _SPREAD_LINKS = 0.7, 1.0
# Largest variance shares; each is 0 in a fifth of the draws, so that simple kernels have weight.
_SHARED, _SIZE, _INTERACTING = 0.9, 0.6, 0.8
_NONE = 0.2
_REACH = (1.0, 3.0)  # range of l
# Largest weights in the plain draws: of r and d relative to BAM or not, and of the shared effect.
_R_OR_D, _ALIKE = 1.5, 0.5
QUIET = (1e-4, 0.3)
"""Range of the noise variance for deterministic scores, relative to the variance of the scores.

It is above 0 because the kernel explains even a deterministic score only in part."""

NOISY = (0.03, 4.0)
"""Range of the noise variance for scores of one training each.

A correlation rho between two trainings of a design means a noise variance of (1 - rho) / rho: 2.2
at the 0.31 measured in the pilot of docs/decisions.md, which lies inside the range."""


@dataclass(frozen=True, slots=True)
class KernelSample:
    """A covariance between designs, of variance about 1; see the module's docstring.

    Attributes:
        components: w, one weight per component of the kernel.
        options: weights of the kinds in B, (kinds,).
        pairs: p.
        joint: q.
        reach: l; near 0 the joint term is additive in the choices.
        noise: variance of the noise.
    """

    components: Floats
    options: Floats
    pairs: float
    joint: float
    reach: float
    noise: float


def draw_kernel_samples(
    kernel: Kernel, number: int = KERNEL_SAMPLES, noise: tuple[float, float] = QUIET
) -> list[KernelSample]:
    """Draw from the prior; equal calls give equal draws.

    Args:
        kernel: kernel over the feasible set.
        number: number of draws.
        noise: range of the noise variance.
    """
    links = sorted({c.which for c in kernel.components if c.which != "own"})
    uniform = np.random.default_rng(0).random((number, 8 + len(_SMOOTH) + len(links)))
    return [_kernel_sample(kernel, links, row, noise) for row in uniform]


def draw_noisy_kernel_samples(kernel: Kernel) -> list[KernelSample]:
    """Draw from the prior for noisy scores: half of the draws are plain.

    A few noisy trainings can identify plain effects only: one of BAM at each site, and one of r and
    one of d that are the same at all sites. Without the plain draws, the evidence spreads over
    kernels that the data cannot tell apart.
    """
    return [*draw_kernel_samples(kernel, noise=NOISY), *_plain(kernel, KERNEL_SAMPLES)]


def _plain(kernel: Kernel, number: int) -> list[KernelSample]:
    """Draws with one effect of BAM per site, one of r and one of d for all sites, nothing else."""
    links = {c.which for c in kernel.components}
    presence = [kind for kind in ("on", "kind") if kind in kernel.kinds]
    shared = "all" if "all" in links else "own"
    uniform = np.random.default_rng(1).random((number, 4))
    draws = []
    for r, d, alike, noise in uniform * [_R_OR_D, _R_OR_D, _ALIKE, 1.0]:
        weights = {("r", shared): r, ("d", shared): d}
        for kind in presence:
            weights[kind, "own"] = 1.0 - alike
            # BAM, or a kind, may also have the same effect at all sites.
            weights[kind, shared] = weights.get((kind, shared), 0.0) + alike
        w = np.array([weights.get((c.what, c.which), 0.0) for c in kernel.components])
        variance = float(np.exp(np.interp(noise, [0, 1], np.log(NOISY))))
        none = np.zeros(len(kernel.kinds))
        draws.append(KernelSample(w / w.sum(), none, 0.0, 0.0, _REACH[0], variance))
    return draws


def _kernel_sample(
    kernel: Kernel, links: list[str], uniform: Floats, noises: tuple[float, float]
) -> KernelSample:
    """One draw, from uniform numbers in 0..1."""
    # sin^2 of a uniform angle is Beta(1/2, 1/2): mostly near 0 or 1, so a draw is mostly one kind.
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
    return KernelSample(
        np.array([weights[c.what, c.which] for c in kernel.components]),
        options,
        pairs=float((1 - sized) * interacting * (1 - joint)),
        joint=float((1 - sized) * interacting * joint),
        reach=float(reach),
        noise=float(noise),
    )


def _options(kernel: Kernel, rough: float, normal: Floats) -> Floats:
    """Variance shares of the kinds, (kinds,), with sum 1; ``rough`` is that of ``cell``."""
    drawn = dict(zip(_SMOOTH, normal, strict=True))
    smooth = [
        _SMOOTH.get(kind, _SMOOTH["on"]) * np.exp(_SPREAD_SMOOTH * drawn.get(kind, drawn["on"]))
        for kind in kernel.kinds
        if kind != "cell"
    ]
    return np.append((1 - rough) * np.array(smooth) / sum(smooth), rough)


def _share(uniform: Floats) -> Floats:
    """Shares in 0..1, mostly small: squared, and 0 for the lowest fifth of the uniform numbers."""
    shares: Floats = (np.maximum(uniform - _NONE, 0) / (1 - _NONE)) ** 2
    return shares
