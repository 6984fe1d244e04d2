"""Methods that search over noisy trainings: bamsearch and its rivals (train_rivals.py names them).

A method is a pair of functions: the first proposes the row of the next design to train, the second
recommends a design. ``regrets`` runs a method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import torch
from noisy_search import Search, Table, design_features
from rivals import fitted, spread_of
from sklearn.linear_model import BayesianRidge

from bamsearch.evidence.audit.sample import stratified_by_site_set
from bamsearch.sampler.kernel import Floats
from bamsearch.sampler.noisy import FIRST, NoisySampler
from bamsearch.sampler.posterior import log_expected_improvement

AFTER, STARTS, TOP_TWO = (10, 20, 40), 10, 50
Sampler = Callable[[Search], Callable[[], int]]
"""Maps a search to a function that returns the row of the next design."""


def uniform(search: Search) -> Callable[[], int]:
    order = iter(search.rng.permutation(len(search.table.accuracies)).tolist())
    return lambda: next(order)


def stratified(search: Search) -> Callable[[], int]:
    rows = search.table.feasible.table
    order = stratified_by_site_set(search.table.feasible, rows, search.rng)
    return lambda: search.row(next(order))


def ours(search: Search) -> Callable[[], int]:
    sampler = NoisySampler(search.table.feasible, search.seed)
    rows = search.table.feasible.table

    def suggest() -> int:
        full = {tuple(rows[row].tolist()) for row in search.full()}
        encoding = sampler.suggest(search.observed(), full)
        assert encoding is not None
        return search.row(encoding)

    return suggest


def tpe(search: Search, *, replicate: bool = False) -> Callable[[], int]:
    rows = search.table.feasible.table
    options = [len(choice.options) for choice in search.table.feasible.space.choices]
    spaces = {
        f"c{i}": optuna.distributions.CategoricalDistribution(list(range(n)))
        for i, n in enumerate(options)
    }
    sampler = optuna.samplers.TPESampler(
        seed=search.seed, multivariate=True, n_startup_trials=STARTS
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    reported: list[int] = []

    def tell() -> None:
        for row, value in zip(
            search.rows[len(reported) :], search.values[len(reported) :], strict=True
        ):
            params = {f"c{i}": int(n) for i, n in enumerate(rows[row])}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=spaces, value=value)
            )
            reported.append(row)

    def suggest() -> int:
        tell()
        repeatable = set(search.rows) - search.full()
        if replicate and repeatable and len(reported) >= STARTS and len(reported) % 3 == 0:
            means = search.means()
            return max(repeatable, key=lambda row: means[row][0])
        for _ in range(20 if len(reported) >= STARTS else 0):
            trial = study.ask(spaces)
            encoding = tuple(trial.params[name] for name in spaces)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if search.table.feasible.fits(encoding) and search.known(encoding) not in {
                None,
                *reported,
            }:
                return search.row(encoding)
        return int(search.rng.choice(sorted(set(range(len(rows))) - set(reported))))

    return suggest


def stock_gp(search: Search, *, noisy: bool = False) -> Callable[[], int]:
    """scikit-learn's regression, as in rivals.py."""
    x = design_features(search.table.feasible)
    kernel = None

    def suggest() -> int:
        nonlocal kernel
        if len(search.rows) < FIRST:
            return int(search.rng.integers(len(x)))
        y = np.array(search.values)
        model = fitted(None if len(y) % 5 == 0 else kernel, x[search.rows], y)
        kernel = model.kernel_
        rows = search.candidates()
        mean, deviation = model.predict(x[rows], return_std=True)
        best = model.predict(x[search.rows]).max() if noisy else y.max()
        worth = log_expected_improvement(mean, spread_of(model, deviation, y), best)
        excluded = search.full() if noisy else set(search.rows)
        worth[np.isin(rows, list(excluded))] = -np.inf
        return int(rows[np.argmax(worth)])

    return suggest


def by_expectation(search: Search) -> int:
    """Recommend by the Gaussian process, fitted to all trainings."""
    x, rows = design_features(search.table.feasible), sorted(set(search.rows))
    model = fitted(None, x[search.rows], np.array(search.values))
    return rows[int(np.argmax(model.predict(x[rows])))]


def botorch_gp(search: Search) -> Callable[[], int]:
    """BoTorch's model and noisy expected improvement."""
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.sampling import SobolQMCNormalSampler

    x = torch.from_numpy(design_features(search.table.feasible))
    sampler = SobolQMCNormalSampler(torch.Size([128]), seed=search.seed)
    state = None

    def suggest() -> int:
        nonlocal state
        if len(search.rows) < FIRST:
            return int(search.rng.integers(len(x)))
        model = botorch_model(search, None if len(search.rows) % 5 == 0 else state)
        state = model.state_dict()
        rows = search.candidates()
        rows = rows[~np.isin(rows, list(search.full()))]
        improvement = qLogNoisyExpectedImprovement(model, x[search.rows], sampler)
        with torch.no_grad():
            return int(rows[improvement(x[rows][:, None]).argmax()])

    return suggest


def botorch_model(search: Search, state: dict[str, Any] | None) -> Any:
    """SingleTaskGP with its priors; parameters from ``state``, or fitted to all trainings."""
    from botorch.exceptions.warnings import OptimizationWarning
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    y = torch.tensor(search.values, dtype=torch.float64)[:, None]
    x = torch.from_numpy(design_features(search.table.feasible))[search.rows]
    model = SingleTaskGP(x, (y - y.mean()) / y.std(), outcome_transform=None)
    if state is None:
        # After 50 steps the evidence of 20 trainings is within 0.1 of its maximum.
        steps = {"options": {"maxiter": 50}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizationWarning)
            likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
            fit_gpytorch_mll(likelihood, optimizer_kwargs=steps)
    else:
        model.load_state_dict(state)
    return model.eval()


def by_botorch(search: Search) -> int:
    rows = sorted(set(search.rows))
    x = torch.from_numpy(design_features(search.table.feasible))[rows]
    model = botorch_model(search, None)
    with torch.no_grad():
        return rows[int(model.posterior(x).mean.argmax())]


def top_two(search: Search) -> Callable[[], int]:
    """Top-two sampling on a Bayesian linear model of the effects, over all designs."""
    x = search.table.effects

    def draws() -> tuple[np.ndarray, Floats]:
        model = BayesianRidge().fit(x[search.rows], np.array(search.values))
        root = np.linalg.cholesky(model.sigma_ + 1e-9 * np.eye(len(model.sigma_)))
        effects = model.coef_ + search.rng.normal(size=(TOP_TWO, x.shape[1])) @ root.T
        return np.arange(len(x)), effects @ x.T

    return lambda: _leader_or_challenger(search, draws)


def top_two_of_model(search: Search) -> Callable[[], int]:
    """Top-two sampling on bamsearch's model, over the trained designs and 64 others."""

    def draws() -> tuple[np.ndarray, Floats]:
        near = search.candidates()
        more = search.rng.choice(near, min(64, len(near)), replace=False).tolist()
        model = search.model(more)
        rows = np.array([search.row(encoding) for encoding in model.encodings])
        return rows, model.draw(TOP_TWO, int(search.rng.integers(2**31)))

    return lambda: _leader_or_challenger(search, draws)


def _leader_or_challenger(search: Search, draws: Callable[[], tuple[np.ndarray, Floats]]) -> int:
    """Thompson sampling; with a probability of a half the best design of another draw."""
    if len(search.rows) < FIRST:
        return int(search.rng.integers(len(search.table.worth)))
    rows, worths = draws()
    worths[:, np.isin(rows, list(search.full()))] = -np.inf
    best = rows[worths.argmax(axis=1)]
    challengers = best[best != best[0]]
    return int(challengers[0] if len(challengers) and search.rng.random() < 0.5 else best[0])


def oracle(search: Search) -> Callable[[], int]:
    """Augmented EI with the true covariance, after the first designs of bamsearch."""
    assert search.table.oracle is not None
    covariance, noise = search.table.oracle
    first = ours(search)

    def suggest() -> int:
        if len(search.rows) < FIRST:
            return first()
        rows = search.candidates()
        mean, variance = search.posterior(covariance, noise, rows)
        best = search.posterior(covariance, noise, np.unique(search.rows))[0].max()
        worth = log_expected_improvement(mean, np.sqrt(variance), best)
        worth += np.log(np.maximum(1 - np.sqrt(noise / (variance + noise)), 1e-12))
        worth[np.isin(rows, list(search.full()))] = -np.inf
        return int(rows[np.argmax(worth)])

    return suggest


def by_oracle(search: Search) -> int:
    assert search.table.oracle is not None
    rows = np.unique(search.rows)
    return int(rows[np.argmax(search.posterior(*search.table.oracle, rows)[0])])


def halving(search: Search) -> list[int]:
    """One search per horizon; a design whose trainings are used up stays in the race."""
    recommended = []
    for horizon in AFTER:
        part = Search(search.table, search.seed)
        survivors = part.rng.permutation(len(part.table.accuracies))[: horizon // 2].tolist()
        while len(part.rows) < horizon:
            for row in [row for row in survivors if row not in part.full()][
                : horizon - len(part.rows)
            ]:
                part.train(row)
            means = part.means()
            order = sorted(means, key=lambda row: -means[row][0])
            survivors = [row for row in order if row in survivors][: max(len(survivors) // 2, 1)]
            if part.full().issuperset(survivors):
                survivors = [row for row in order if row not in part.full()][:1]
            if not survivors:
                break
        recommended.append(part.best_mean(max(n for _, n in part.means().values())))
    return recommended


METHODS: dict[str, tuple[Sampler, Callable[[Search], int]]] = {
    "bamsearch": (ours, Search.best_by_model),
    "random": (uniform, Search.best_score),
    "random, model": (uniform, Search.best_by_model),
    "random, ridge": (uniform, Search.best_by_ridge),
    "stratified, model": (stratified, Search.best_by_model),
    "stratified, ridge": (stratified, Search.best_by_ridge),
    "tpe": (tpe, Search.best_score),
    "tpe, replicated": (lambda search: tpe(search, replicate=True), lambda s: s.best_mean(2)),
    "gp, EI": (stock_gp, by_expectation),
    "gp, noisy EI": (lambda search: stock_gp(search, noisy=True), by_expectation),
    "gp, BoTorch": (botorch_gp, by_botorch),
    "top-two": (top_two, Search.best_by_ridge),
    "top-two, model": (top_two_of_model, Search.best_by_model),
    "oracle": (oracle, by_oracle),
}
ONLY = {"stratified, model": "planted", "stratified, ridge": "planted", "oracle": "nb201"}


def regrets(table: Table, name: str, seed: int) -> list[float]:
    """Regret after 10, 20 and 40 trainings, in points."""
    search = Search(table, seed)
    if name == "halving":
        rows = halving(search)
    else:
        suggest, recommend = METHODS[name][0](search), METHODS[name][1]
        rows = []
        for number in range(1, AFTER[-1] + 1):
            search.train(suggest())
            if number in AFTER:
                rows.append(recommend(search))
    return [round(float(table.worth.max() - table.worth[row]), 4) for row in rows]
