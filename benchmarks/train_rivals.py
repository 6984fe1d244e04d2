"""Searches over noisy trainings: the sampler of ``--score train`` beside strong rivals.

Tables: NAS-Bench-201's three sets (nb201.py, designs of at most the median size), and planted
truths among the 1,361 designs of the committed audit's space (coverage_search.py: additive and
interacting, noise 0.5, 1 and 1.5 points, a third of its variance common to a seed). A search asks
for a design and is given the next of its trainings, whose seeds are in an order drawn for each
search; after 10, 20 and 40 trainings it recommends one. Regret is what the best feasible design is
worth more than that, in points.

No method knows the table, but for the oracle. Settings were fixed on seeds 1000 and above; seeds
from 0 on are reported. ``model`` is bamsearch's own recommending model (TrainingModel).

- ``bamsearch``: the sampler, recommending by model.
- ``random``: designs once each; recommends the best score. ``random, model``; ``stratified,
  model``: evenly over sets of sites (planted only). ``random, ridge``: scikit-learn's RidgeCV on
  one effect per operation and place, or per site and of mean log2 r and log2 d.
- ``tpe``: Optuna's multivariate TPE, 10 random starts, asked up to 20 times for a new feasible
  design; the best score. ``tpe, replicated``: from the tenth on each third training is another seed
  of the design with the best mean; the best mean of two trainings or more.
- ``halving``: sequential halving over seeds, for each horizon: half of the trainings on as many
  random designs, then another seed for the better half, and so on; the best mean of the last.
- ``gp, EI`` and ``gp, noisy EI``: scikit-learn's GaussianProcessRegressor as in rivals.py (linear,
  Matern 5/2 and white-noise terms, fitted each fifth training, normalised scores); log expected
  improvement over the best score among new designs, or over the best expectation among all. They
  start with 5 random designs and recommend the best expectation.
- ``top-two``: top-two Thompson sampling (Russo 2020) on a Bayesian linear model of the effects of
  ridge; it knows the form of the additive truths.
- ``oracle`` (NAS-Bench-201 only): a Gaussian process with the covariance of all operations and
  pairs of operations that the whole table has, and its noise; the same first designs and
  acquisition as bamsearch. What one step ahead can reach, if the covariance were known.

BoTorch is not run: its noisy EI is that of ``gp, noisy EI`` with another optimiser.

Run: ``OMP_NUM_THREADS=1 python benchmarks/train_rivals.py``. Finished searches are lines of
train_rivals.jsonl; delete it to start anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import click
import machine
import nb201
import numpy as np
import optuna
from coverage_search import Cell, Simulator
from rivals import encoder, fitted, spread_of
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, RidgeCV

from bamsearch.searching.acquire import log_expected_improvement
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Floats
from bamsearch.searching.feasible import Listed
from bamsearch.searching.noisy import FIRST, NoisyProposer
from bamsearch.searching.strata import evenly
from bamsearch.searching.training_model import TrainingModel

AFTER, STARTS, CANDIDATES = (10, 20, 40), 10, 1_500
RUNS = machine.HERE / "train_rivals.jsonl"
PLANTED = tuple(
    Cell(kind, noise) for kind in ("additive", "interacting") for noise in (0.5, 1, 1.5)
)


@dataclass(frozen=True)
class Table:
    """Designs, their trainings by seed, and what they are worth.

    Attributes:
        feasible: the designs, in the order of the other fields.
        accuracies: of each design, by seed.
        worth: (designs,).
        effects: encoding for linear models, (designs, effects).
        oracle: covariance between designs and the variance of the noise, if known.
    """

    feasible: Listed
    accuracies: list[Floats]
    worth: Floats
    effects: Floats
    oracle: tuple[Floats, float] | None = None


class Search:
    """The trainings of one search so far."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.seed = table, seed
        self.rng = np.random.default_rng([seed, 1])
        most = max(map(len, table.accuracies))
        self._order = np.random.default_rng([seed, 3]).permutation(most)
        self.rows: list[int] = []
        self.model: GaussianProcessRegressor | None = None
        self.values: list[float] = []
        self._picks = [tuple(row) for row in table.feasible.table.tolist()]
        self._row = {picks: row for row, picks in enumerate(self._picks)}

    def train(self, row: int) -> None:
        """The next training of a design."""
        known = self.table.accuracies[row]
        order = [seed for seed in self._order if seed < len(known)]
        self.values.append(float(known[order[self.rows.count(row)]]))
        self.rows.append(row)

    def full(self) -> set[int]:
        """Designs without a training that is left."""
        return {r for r in set(self.rows) if self.rows.count(r) == len(self.table.accuracies[r])}

    def means(self) -> dict[int, tuple[float, int]]:
        """Mean and number of the trainings of each design."""
        scores = np.array(self.values)
        places = {row: [n for n, r in enumerate(self.rows) if r == row] for row in set(self.rows)}
        return {row: (float(scores[at].mean()), len(at)) for row, at in places.items()}

    def observed(self) -> list[tuple[Picks, float]]:
        return [(self._picks[row], y) for row, y in zip(self.rows, self.values, strict=True)]

    def best_score(self) -> int:
        return self.rows[int(np.argmax(self.values))]

    def best_mean(self, least: int = 1) -> int:
        """The best mean of so many trainings; of any number where no design has as many."""
        means = self.means()
        enough = {row: mean for row, (mean, n) in means.items() if n >= least}
        some = enough or {row: mean for row, (mean, _) in means.items()}
        return max(some, key=some.__getitem__)

    def best_by_model(self) -> int:
        nth = [self.rows[:n].count(row) for n, row in enumerate(self.rows)]
        trainings = [(picks, y, n) for (picks, y), n in zip(self.observed(), nth, strict=True)]
        model = TrainingModel(self.table.feasible, trainings)
        return self._row[model.picks[model.best]]

    def best_by_ridge(self) -> int:
        model = RidgeCV(np.logspace(-2, 3, 11)).fit(self.table.effects[self.rows], self.values)
        some = sorted(set(self.rows))
        return some[int(np.argmax(model.predict(self.table.effects[some])))]

    def row(self, picks: Picks) -> int:
        return self._row[picks]

    def known(self, picks: Picks) -> int | None:
        return self._row.get(picks)

    def candidates(self) -> np.ndarray:
        """All designs where they are few; else drawn ones, those trained and their neighbours."""
        table = self.table.feasible.table
        if len(table) <= 2 * CANDIDATES:
            return np.arange(len(table))
        means = self.means()
        best = sorted(means, key=lambda row: -means[row][0])[:6]
        near = (table[:, None] != table[best]).sum(axis=2).min(axis=1) <= 1
        drawn = self.rng.choice(len(table), CANDIDATES, replace=False)
        return np.union1d(np.union1d(np.flatnonzero(near), drawn), self.rows)

    def posterior(
        self, covariance: Floats, noise: float, rows: np.ndarray
    ) -> tuple[Floats, Floats]:
        """Mean and variance of designs, of normal scores by a covariance that is known."""
        y = ndtri((rankdata(self.values) - 0.5) / len(self.values))
        seen = covariance[np.ix_(self.rows, self.rows)] + noise * np.eye(len(y))
        new = covariance[np.ix_(rows, self.rows)]
        solved = np.linalg.solve(seen, np.column_stack([y, new.T]))
        variance = covariance[rows, rows] - (new * solved[:, 1:].T).sum(axis=1)
        return new @ solved[:, 0], np.maximum(variance, 1e-9)


Proposer = Callable[[Search], Callable[[], int]]
"""Of a search, which gives the next design by its row."""


def uniform(search: Search) -> Callable[[], int]:
    order = iter(search.rng.permutation(len(search.table.accuracies)).tolist())
    return lambda: next(order)


def stratified(search: Search) -> Callable[[], int]:
    rows = search.table.feasible.table
    order = evenly(search.table.feasible, rows, search.rng)
    return lambda: search.row(next(order))


def ours(search: Search) -> Callable[[], int]:
    proposer = NoisyProposer(search.table.feasible, search.seed)
    rows = search.table.feasible.table

    def propose() -> int:
        full = {tuple(rows[row].tolist()) for row in search.full()}
        picks = proposer.propose(search.observed(), full)
        assert picks is not None
        return search.row(picks)

    return propose


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
    told: list[int] = []

    def tell() -> None:
        for row, value in zip(search.rows[len(told) :], search.values[len(told) :], strict=True):
            params = {f"c{i}": int(n) for i, n in enumerate(rows[row])}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=spaces, value=value)
            )
            told.append(row)

    def propose() -> int:
        tell()
        left = set(search.rows) - search.full()
        if replicate and left and len(told) >= STARTS and len(told) % 3 == 0:
            means = search.means()
            return max(left, key=lambda row: means[row][0])
        for _ in range(20 if len(told) >= STARTS else 0):
            trial = study.ask(spaces)
            picks = tuple(trial.params[name] for name in spaces)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if search.table.feasible.fits(picks) and search.known(picks) not in {None, *told}:
                return search.row(picks)
        return int(search.rng.choice(sorted(set(range(len(rows))) - set(told))))

    return propose


def stock_gp(search: Search, *, noisy: bool = False) -> Callable[[], int]:
    """The regression of rivals.py."""
    x = encoding(search.table.feasible)

    def propose() -> int:
        if len(search.rows) < FIRST:
            return int(search.rng.integers(len(x)))
        y = np.array(search.values)
        refit = search.model is None or len(search.rows) % 5 == 0
        search.model = fitted(None if refit else search.model.kernel_, x[search.rows], y)
        rows = search.candidates()
        mean, deviation = search.model.predict(x[rows], return_std=True)
        best = search.model.predict(x[search.rows]).max() if noisy else y.max()
        worth = log_expected_improvement(mean, spread_of(search.model, deviation, y), best)
        shut = search.full() if noisy else set(search.rows)
        worth[np.isin(rows, list(shut))] = -np.inf
        return int(rows[np.argmax(worth)])

    return propose


def by_expectation(search: Search) -> int:
    x, some = encoding(search.table.feasible), sorted(set(search.rows))
    return some[int(np.argmax(search.model.predict(x[some])))] if search.model else some[0]


def top_two(search: Search) -> Callable[[], int]:
    """Thompson sampling; with a chance of a half the best design of another draw."""
    x = search.table.effects

    def propose() -> int:
        if len(search.rows) < FIRST:
            return int(search.rng.integers(len(x)))
        y = np.array(search.values)
        model = BayesianRidge().fit(x[search.rows], y)
        root = np.linalg.cholesky(model.sigma_ + 1e-9 * np.eye(len(model.sigma_)))
        shut, leader = list(search.full()), -1
        for _ in range(50):
            draw = x @ (model.coef_ + root @ search.rng.normal(size=x.shape[1]))
            draw[shut] = -np.inf
            best = int(np.argmax(draw))
            if leader < 0:
                leader = best
                if search.rng.random() < 0.5:
                    break
            elif best != leader:
                return best
        return leader

    return propose


def oracle(search: Search) -> Callable[[], int]:
    """Knows the covariance: the first designs are bamsearch's, the rest by augmented EI."""
    assert search.table.oracle is not None
    covariance, noise = search.table.oracle
    first = ours(search)

    def propose() -> int:
        if len(search.rows) < FIRST:
            return first()
        rows = search.candidates()
        mean, variance = search.posterior(covariance, noise, rows)
        best = search.posterior(covariance, noise, np.unique(search.rows))[0].max()
        worth = log_expected_improvement(mean, np.sqrt(variance), best)
        worth += np.log(np.maximum(1 - np.sqrt(noise / (variance + noise)), 1e-12))
        worth[np.isin(rows, list(search.full()))] = -np.inf
        return int(rows[np.argmax(worth)])

    return propose


def by_oracle(search: Search) -> int:
    assert search.table.oracle is not None
    some = np.unique(search.rows)
    return int(some[np.argmax(search.posterior(*search.table.oracle, some)[0])])


def halving(search: Search) -> list[int]:
    """One search for each horizon."""
    recommended = []
    for horizon in AFTER:
        part = Search(search.table, search.seed)
        left = part.rng.permutation(len(part.table.accuracies))[: horizon // 2].tolist()
        while len(part.rows) < horizon:
            for row in left[: horizon - len(part.rows)]:
                if row not in part.full():
                    part.train(row)
            means = part.means()
            open_rows = [row for row in left if row not in part.full()]
            left = sorted(open_rows, key=lambda row: -means[row][0])[: max(len(left) // 2, 1)]
            if not left:
                break
        most = max(n for _, n in part.means().values())
        recommended.append(part.best_mean(most))
    return recommended


METHODS: dict[str, tuple[Proposer, Callable[[Search], int]]] = {
    "bamsearch": (ours, Search.best_by_model),
    "random": (uniform, Search.best_score),
    "random, model": (uniform, Search.best_by_model),
    "random, ridge": (uniform, Search.best_by_ridge),
    "stratified, model": (stratified, Search.best_by_model),
    "tpe": (tpe, Search.best_score),
    "tpe, replicated": (lambda search: tpe(search, replicate=True), lambda s: s.best_mean(2)),
    "gp, EI": (stock_gp, by_expectation),
    "gp, noisy EI": (lambda search: stock_gp(search, noisy=True), by_expectation),
    "top-two": (top_two, Search.best_by_ridge),
    "oracle": (oracle, by_oracle),
}
ONLY = {"stratified, model": "planted", "oracle": "nb201"}


def regrets(table: Table, name: str, seed: int) -> list[float]:
    """After 10, 20 and 40 trainings."""
    search = Search(table, seed)
    if name == "halving":
        rows = halving(search)
    else:
        propose, recommend = METHODS[name][0](search), METHODS[name][1]
        rows = []
        for number in range(1, AFTER[-1] + 1):
            search.train(propose())
            if number in AFTER:
                rows.append(recommend(search))
    return [round(float(table.worth.max() - table.worth[row]), 4) for row in rows]


def encoding(designs: Listed) -> Floats:
    return encoder(designs)(designs.table)


def nb201_table(name: str) -> Table:
    table = nb201.read_table(name)
    x = encoding(table.feasible)
    pairs = [
        x[:, 5 * i : 5 * i + 5, None] * x[:, None, 5 * j : 5 * j + 5]
        for i, j in combinations(range(nb201.PLACES), 2)
    ]
    both = np.column_stack([x, *(pair.reshape(len(x), -1) for pair in pairs)])
    # Size of each effect, from a ridge fit to all designs: its square is its prior variance.
    scores = ndtri((rankdata(table.worth) - 0.5) / len(x))
    effects = np.linalg.solve(both.T @ both + 5 * np.eye(both.shape[1]), both.T @ scores)
    rest = float((scores - both @ effects).var())
    covariance = 1 + (both * effects**2) @ both.T + rest * np.eye(len(x))
    return Table(table.feasible, table.accuracies, table.worth, x, (covariance, 0.05))


def planted_table(simulator: Simulator, cell: Cell, seed: int) -> Table:
    rng = np.random.default_rng([seed, 29])
    worth, _ = simulator.truth(cell.kind, rng)
    accuracy = simulator.trained(cell, worth, rng)
    there = simulator.there.astype(float)
    effects = np.column_stack([there, *np.nan_to_num(simulator.logs)])
    return Table(simulator.feasible, list(accuracy), worth, effects)


def jobs(searches: int) -> Iterator[tuple[str, str, int]]:
    """(where, method, seed) of all searches, seed by seed."""
    names = [*METHODS, "halving"]
    for seed in range(searches):
        for where in (*nb201.SETS, *(cell.name for cell in PLANTED)):
            kind = "nb201" if where in nb201.SETS else "planted"
            yield from ((where, name, seed) for name in names if ONLY.get(name, kind) == kind)


@click.command(help=__doc__)
@click.option(
    "--searches", type=click.IntRange(min=2), default=20, help="Of each method and table."
)
def main(searches: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done = [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []
    known = {(where, name, seed) for where, name, seed, _ in done}
    tables = {name: nb201_table(name) for name in nb201.SETS}
    simulator, cells = Simulator(), {cell.name: cell for cell in PLANTED}
    with RUNS.open("a") as file:
        for where, name, seed in jobs(searches):
            if (where, name, seed) in known:
                continue
            table = tables.get(where) or planted_table(simulator, cells[where], seed)
            done.append([where, name, seed, regrets(table, name, seed)])
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
    machine.write("train_rivals", {"searches": searches}, describe(done, searches))


def describe(done: list[list], searches: int) -> str:
    """The page: means over tables and searches; ratios with paired bootstrap intervals."""
    lines = ["# Searches over noisy trainings, beside rivals", ""]
    lines += [
        f"{searches} searches of each method and table; regret in points, and in brackets the "
        "ratio bamsearch / rival of the means with a 95% bootstrap interval over searches, paired.",
        "",
    ]
    titles = {"NAS-Bench-201, mean of three sets": nb201.SETS, **{s: (s,) for s in nb201.SETS}}
    for title, tables in {**titles, "Planted truths": tuple(c.name for c in PLANTED)}.items():
        found = {(where, name, seed): value for where, name, seed, value in done if seed < searches}
        names = [n for n in (*METHODS, "halving") if (tables[0], n, 0) in found]
        regret = {
            n: np.array([[found[where, n, s] for s in range(searches)] for where in tables])
            for n in names
        }
        lines += [
            f"## {title}",
            "",
            f"| | {' | '.join(map(str, AFTER))} |",
            "| --- |" + " --- |" * 3,
        ]
        for name in sorted(names, key=lambda n: float(regret[n][..., -1].mean())):
            cells = _cells(regret["bamsearch"], regret[name], name)
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cells(mine: Floats, theirs: Floats, name: str) -> list[str]:
    """Means over (tables, searches, AFTER), and the ratio of ours to them."""
    means = theirs.mean(axis=(0, 1))
    if name == "bamsearch":
        return [f"{mean:.2f}" for mean in means]
    rng = np.random.default_rng(0)
    drawn = rng.integers(mine.shape[1], size=(4_000, *mine.shape[:2]))
    at = np.arange(mine.shape[0])[:, None]
    ratios = np.array(
        [mine[at, d].mean(axis=(0, 1)) / theirs[at, d].mean(axis=(0, 1)) for d in drawn]
    )
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    ratio = mine.mean(axis=(0, 1)) / means
    return [
        f"{mean:.2f} ({r:.2f} [{a:.2f}, {b:.2f}])"
        for mean, r, a, b in zip(means, ratio, low, high, strict=True)
    ]


if __name__ == "__main__":
    main()
