"""Tables of noisy trainings, and the observations of a search over one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import nb201
import numpy as np
from coverage_search import Cell, Simulator
from rivals import encoder
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from bamsearch.sampler.kernel import Floats
from bamsearch.sampler.training_analysis import TrainingModel
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Listed

CANDIDATES = 1_500


@dataclass(frozen=True)
class Table:
    """Designs, their trainings by seed, and their true worth.

    Attributes:
        feasible: the designs, in the order of the other fields.
        accuracies: accuracies of each design by seed.
        worth: true accuracy of each design, (designs,).
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
        self.values: list[float] = []
        self._encodings = [tuple(row) for row in table.feasible.table.tolist()]
        self._row = {encoding: row for row, encoding in enumerate(self._encodings)}

    def train(self, row: int) -> None:
        """Observe the next training of a design."""
        accuracies = self.table.accuracies[row]
        order = [seed for seed in self._order if seed < len(accuracies)]
        self.values.append(float(accuracies[order[self.rows.count(row)]]))
        self.rows.append(row)

    def full(self) -> set[int]:
        """Designs whose trainings are used up."""
        return {r for r in set(self.rows) if self.rows.count(r) == len(self.table.accuracies[r])}

    def means(self) -> dict[int, tuple[float, int]]:
        """Mean and number of the trainings of each design."""
        scores = np.array(self.values)
        indices = {row: [n for n, r in enumerate(self.rows) if r == row] for row in set(self.rows)}
        return {row: (float(scores[at].mean()), len(at)) for row, at in indices.items()}

    def observed(self) -> list[tuple[Encoding, float]]:
        return [(self._encodings[row], y) for row, y in zip(self.rows, self.values, strict=True)]

    def best_score(self) -> int:
        return self.rows[int(np.argmax(self.values))]

    def best_mean(self, least: int) -> int:
        """The best mean of at least ``least`` trainings, or of all in the table; else any mean."""
        means = self.means()
        table = self.table.accuracies
        enough = {row for row, (_, n) in means.items() if n >= min(least, len(table[row]))}
        return max(enough or means, key=lambda row: means[row][0])

    def best_by_model(self) -> int:
        model = self.model()
        return self._row[model.encodings[model.best]]

    def model(self, more: Sequence[int] = ()) -> TrainingModel:
        """The model of bamsearch, fitted to the trainings so far, with more designs to predict."""
        nth = [self.rows[:n].count(row) for n, row in enumerate(self.rows)]
        trainings = [
            (encoding, y, n) for (encoding, y), n in zip(self.observed(), nth, strict=True)
        ]
        return TrainingModel(self.table.feasible, trainings, [self._encodings[row] for row in more])

    def best_by_ridge(self) -> int:
        model = RidgeCV(np.logspace(-2, 3, 11)).fit(self.table.effects[self.rows], self.values)
        rows = sorted(set(self.rows))
        return rows[int(np.argmax(model.predict(self.table.effects[rows])))]

    def row(self, encoding: Encoding) -> int:
        return self._row[encoding]

    def known(self, encoding: Encoding) -> int | None:
        return self._row.get(encoding)

    def candidates(self) -> np.ndarray:
        """All designs if they are few; else random, trained and neighbouring ones."""
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
        """Posterior mean and variance of designs in normal scores, for a known covariance."""
        y = ndtri((rankdata(self.values) - 0.5) / len(self.values))
        seen = covariance[np.ix_(self.rows, self.rows)] + noise * np.eye(len(y))
        new = covariance[np.ix_(rows, self.rows)]
        solved = np.linalg.solve(seen, np.column_stack([y, new.T]))
        variance = covariance[rows, rows] - (new * solved[:, 1:].T).sum(axis=1)
        return new @ solved[:, 0], np.maximum(variance, 1e-9)


def design_features(designs: Listed) -> Floats:
    return encoder(designs)(designs.table)


def nb201_table(name: str) -> Table:
    table = nb201.read_table(name)
    x = design_features(table.feasible)
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
    common, rest = simulator.noise(cell, worth, rng)
    accuracy = 70 + worth[:, None] + common + rest
    has_bam = simulator.has_bam.astype(float)
    effects = np.column_stack([has_bam, *np.nan_to_num(simulator.logs)])
    return Table(simulator.feasible, list(accuracy), worth, effects)
