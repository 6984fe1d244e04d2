"""Rivals of the default sampler: random, Optuna's TPE, and scikit-learn's GP.

Each sampler is a generator: it yields a design to score and is sent the score; it yields None for
a trial that was spent on an infeasible design.

Optuna's samplers get a suitable encoding: static parameters, for each site a flag for BAM, and the
indices of r and d in their lists as integers, so that the order is known and the steps are even.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel

from bamsearch.sampler.gp import GPSampler, candidates
from bamsearch.sampler.kernel import Floats
from bamsearch.sampler.posterior import log_expected_improvement
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Rows

Trials = Generator[Encoding | None, float, None]

STOCK = "scikit-learn GP, feasible only"
STARTUP, STOCK_STARTUP = 10, 4
MAX_SUGGESTIONS = 6


def ours(feasible: Feasible, seed: int) -> Trials:
    """The default sampler, without the baselines that a search scores first."""
    sampler = GPSampler(feasible, seed=seed)
    observed: list[tuple[Encoding, float]] = []
    while (encoding := sampler.suggest(observed, {design for design, _ in observed})) is not None:
        observed.append((encoding, (yield encoding)))


def random(feasible: Feasible, seed: int) -> Trials:
    """Draw feasible designs uniformly without replacement."""
    rng = np.random.default_rng([seed, 1])
    seen: set[Encoding] = set()
    while True:
        yield _uniform(feasible, rng, seen)


def tpe_constrained(feasible: Feasible, seed: int) -> Trials:
    """TPE with the excess over the budget as a constraint."""
    return _constrained(feasible, TPESampler(multivariate=True, seed=seed))


def stock_gp(feasible: Feasible, seed: int) -> Trials:
    """A stock Gaussian process over the same designs, maximised like ours.

    The kernel has linear, Matern 5/2 and white-noise terms on BAM or not, log2 r and log2 d of each
    site; it is fitted after every fifth score. The acquisition is log expected improvement over
    the best score; no design is repeated.
    """
    rng = np.random.default_rng([seed, 4])
    observed: list[tuple[Encoding, float]] = []
    encode = encoder(feasible)
    model = None
    while True:
        if len(observed) < STOCK_STARTUP:
            encoding = _uniform(feasible, rng, {design for design, _ in observed})
        else:
            x = encode(np.array([design for design, _ in observed], dtype=np.int8))
            y = np.array([score for _, score in observed])
            refit = model is None or len(observed) % 5 == 0
            model = fitted(None if refit else model.kernel_, x, y)
            encoding = _stock_proposal(feasible, rng, model, encode, observed)
        observed.append((encoding, (yield encoding)))


def fitted(kernel: Kernel | None, x: Floats, y: Floats) -> GaussianProcessRegressor:
    """The regression with ``kernel``, or with a kernel fitted by maximum likelihood."""
    shape = (
        ConstantKernel() * DotProduct()
        + ConstantKernel() * Matern(np.sqrt(x.shape[1]), (0.1, 100), nu=2.5)
        + WhiteKernel(0.1, (1e-5, 10))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(
            kernel or shape,
            normalize_y=True,
            optimizer=None if kernel else "fmin_l_bfgs_b",
            random_state=0,
        ).fit(x, y)


def spread_of(model: GaussianProcessRegressor, deviation: Floats, y: Floats) -> Floats:
    """Standard deviation of the objective, without the noise of a score."""
    white = model.kernel_.k2.noise_level * y.var()
    return np.sqrt(np.maximum(deviation**2 - white, 1e-9))


def encoder(feasible: Feasible) -> Callable[[Rows], Floats]:
    """Encode designs: BAM or not, log2 r and log2 d, or one-hot kinds per site: (n, columns)."""
    tables = []
    for choice in feasible.space.choices:
        options = choice.options
        if any(option.kind for option in options):
            tables.append(np.eye(len(options)))
        else:
            numbers = [(not o.off, max(o.reduction, 1), max(o.dilation, 1)) for o in options]
            tables.append(np.array([(on, np.log2(r) / 5, np.log2(d) / 3) for on, r, d in numbers]))
    return lambda rows: np.column_stack([t[rows[:, i]] for i, t in enumerate(tables)])


def _stock_proposal(
    feasible: Feasible,
    rng: np.random.Generator,
    model: GaussianProcessRegressor,
    encode: Callable[[Rows], Floats],
    observed: list[tuple[Encoding, float]],
) -> Encoding:
    y = np.array([score for _, score in observed])

    def value(rows: Rows) -> Floats:
        mean, deviation = model.predict(encode(rows), return_std=True)
        return log_expected_improvement(mean, spread_of(model, deviation, y), float(y.max()))

    best = sorted(observed, key=lambda pair: -pair[1])[:4]
    starts = np.array([encoding for encoding, _ in best], dtype=np.int8)
    rows, values = candidates(feasible, rng, starts, value)
    seen = {encoding for encoding, _ in observed}
    order = (tuple(rows[at].tolist()) for at in np.argsort(-values, kind="stable"))
    new = (encoding for encoding in order if encoding not in seen and any(encoding))
    return next(new, None) or _uniform(feasible, rng, seen)


def tpe_feasible(feasible: Feasible, seed: int) -> Trials:
    """TPE with rejection of infeasible and repeated designs; after some tries, a uniform draw.

    Its first designs are uniform draws of feasible designs, which equals rejection with a random
    sampler.
    """
    rng = np.random.default_rng([seed, 2])
    space = _Encoded(feasible)
    study = _study(TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP))
    seen: set[Encoding] = set()
    while True:
        encoding, trial = None, None
        for _ in range(MAX_SUGGESTIONS if len(seen) >= STARTUP else 0):
            trial = study.ask(space.distributions)
            suggested = space.encoding(trial.params)
            if any(suggested) and suggested not in seen and feasible.fits(suggested):
                encoding = suggested
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if encoding is None or trial is None:
            encoding = _uniform(feasible, rng, seen)
            study.enqueue_trial(space.params(encoding))
            trial = study.ask(space.distributions)
        seen.add(encoding)
        study.tell(trial, (yield encoding))


SAMPLERS = {
    "bamsearch": ours,
    "random": random,
    "TPE, constrained": tpe_constrained,
    "TPE, feasible only": tpe_feasible,
    STOCK: stock_gp,
}


def _constrained(feasible: Feasible, sampler: BaseSampler) -> Trials:
    space = _Encoded(feasible)
    study = _study(sampler)
    slack = float(feasible.slacks[0])
    while True:
        trial = study.ask(space.distributions)
        encoding = space.encoding(trial.params)
        over = feasible.space.added(encoding, feasible.budgets[0].quantity) / slack - 1
        trial.set_constraint("gflops", over)
        if over > 0:
            yield None
            # Optuna requires a value; for infeasible trials it only uses the constraint.
            study.tell(trial, 0.0)
        else:
            study.tell(trial, (yield encoding))


def _study(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler)


def _uniform(feasible: Feasible, rng: np.random.Generator, seen: set[Encoding]) -> Encoding:
    """Draw a new design with BAM, and add it to ``seen``."""
    while True:
        encoding = tuple(feasible.sample(rng, 1)[0].tolist())
        if any(encoding) and encoding not in seen:
            seen.add(encoding)
            return encoding


class _Encoded:
    """Picks as Optuna's parameters; the first option of each choice is off."""

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        self._levels = [
            (
                sorted({o.reduction for o in choice.options if not o.off}),
                sorted({o.dilation for o in choice.options if not o.off}),
            )
            for choice in choices
        ]
        self._options = [
            {(o.reduction, o.dilation): number for number, o in enumerate(choice.options)}
            for choice in choices
        ]
        self._pairs = [[(o.reduction, o.dilation) for o in choice.options] for choice in choices]
        self.distributions: dict[str, BaseDistribution] = {}
        for i, (r, d) in enumerate(self._levels):
            self.distributions[f"on{i}"] = CategoricalDistribution([False, True])
            self.distributions[f"r{i}"] = IntDistribution(0, len(r) - 1)
            self.distributions[f"d{i}"] = IntDistribution(0, len(d) - 1)

    def encoding(self, params: dict[str, Any]) -> Encoding:
        return tuple(
            options[r[params[f"r{i}"]], d[params[f"d{i}"]]] if params[f"on{i}"] else 0
            for i, (options, (r, d)) in enumerate(zip(self._options, self._levels, strict=True))
        )

    def params(self, encoding: Encoding) -> dict[str, Any]:
        """Optuna's parameters of a design; r and d are mid-list at sites without BAM."""
        params: dict[str, Any] = {}
        for i, ((r, d), number) in enumerate(zip(self._levels, encoding, strict=True)):
            reduction, dilation = self._pairs[i][number]
            params[f"on{i}"] = number > 0
            params[f"r{i}"] = r.index(reduction) if number else len(r) // 2
            params[f"d{i}"] = d.index(dilation) if number else len(d) // 2
        return params
