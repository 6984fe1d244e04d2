"""Data of the HTML page's script: all scored designs, and each BAM's row of the site table.

A run has up to 10,000 trials and as many random ones, each with up to about 60 sites, so a design
is encoded as text with one letter per site that occurs: ``.`` without BAM, otherwise the letter of
its r and d among those that occur at the site. Numbers are stored as columns.
"""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from bamsearch.records import Design, Insertion, Trial
from bamsearch.reporting.charts.data import KINDS, UNITS, cost_axis, drawn, pareto_data
from bamsearch.reporting.charts.pareto_and_ranking import pareto_spec
from bamsearch.reporting.content import Report
from bamsearch.reporting.differences import differences
from bamsearch.reporting.sites import SiteRow, site_rows
from bamsearch.reporting.tables import Table, sites_table
from bamsearch.text import printable

NONE = "."
# Accented Latin letters follow, for custom spaces with more than 62 options per site.
LETTERS = string.ascii_letters + string.digits + "".join(map(chr, range(0x100, 0x2000)))


class DesignCodes:
    """Codes of a report's designs: short texts, one letter per site."""

    def __init__(self, report: Report) -> None:
        self._run = report.record.run
        used: dict[str, list[Insertion]] = defaultdict(list)
        for insertion in {i for design in _designs(report) for i in design.insertions}:
            used[insertion.site].append(insertion)
        self.options: dict[str, list[Insertion]] = {
            site.name: sorted(used[site.name], key=lambda i: (i.reduction, i.dilation))
            for site in self._run.summary.sites
            if site.name in used
        }
        self._letters = {
            insertion: letter
            for options in self.options.values()
            for insertion, letter in zip(options, LETTERS, strict=False)
        }

    def code(self, design: Design) -> str:
        """The design's code."""
        letters = {
            insertion.site: self._letters[insertion]
            for insertion in design.insertions
            if insertion in self._letters
        }
        return "".join(letters.get(site, NONE) for site in self.options)

    @cached_property
    def rows(self) -> list[SiteRow]:
        """Rows of the site table for all BAMs that occur, site by site."""
        most = max((len(options) for options in self.options.values()), default=0)
        by_insertion: dict[Insertion, SiteRow] = {}
        for at in range(most):
            layer = [options[at] for options in self.options.values() if at < len(options)]
            by_insertion |= {
                row.insertion: row for row in site_rows(self._run, self._run.design(layer))
            }
        return [
            by_insertion[insertion] for options in self.options.values() for insertion in options
        ]


def option_table(report: Report, codes: DesignCodes) -> Table:
    """The site table with one row per BAM that occurs in the run."""
    return sites_table(replace(report, sites=tuple(codes.rows)))


def page_data(report: Report, codes: DesignCodes) -> dict[str, Any]:
    """The page's data as JSON values."""
    rows = iter(option_table(report, codes).rows)
    data = pareto_data(report)
    cost = cost_axis(report)
    column = {"gflops": "macs", "params": "params", "ms": "ms"}[cost]
    return {
        "model": printable(report.record.run.model),
        "letters": LETTERS[: max((len(o) for o in codes.options.values()), default=0)],
        "sites": [
            {
                "name": printable(site),
                "options": [
                    {"r": o.reduction, "d": o.dilation, "cells": next(rows)} for o in options
                ],
            }
            for site, options in codes.options.items()
        ],
        "x": {"column": column, "unit": UNITS[cost]},
        "designs": _columns(report, codes),
        "chart": None if data is None else pareto_spec(data),
        "differences": {
            other.role: [asdict(differences(row, other)) for row in report.comparison]
            for other in report.comparison
        },
    }


def _columns(report: Report, codes: DesignCodes) -> dict[str, list[Any]]:
    """All points of the chart in drawing order: random search, search, baselines."""
    record, cost = report.record, cost_axis(report)
    random = [trial for kind, trial in record.baselines if kind == "random"]
    named = [
        (KINDS[kind], trial)
        for kind in ("base", "paper", "largest")
        if (trial := record.baseline(kind)) is not None
    ]
    points = [
        *(("random search", trial) for trial in drawn(record.designs(random), cost)),
        *(("search", trial) for trial in drawn(record.designs(record.trials), cost)),
        *((kind, trial) for kind, trial in named if drawn([trial], cost)),
    ]
    trials = [trial for _, trial in points]
    columns: dict[str, list[Any]] = {
        "kind": _runs([kind for kind, _ in points]),
        "code": [codes.code(trial.design) for trial in trials],
        "score": [trial.score for trial in trials],
        "macs": [trial.macs for trial in trials],
        "params": [trial.params for trial in trials],
    }
    if cost == "ms":
        columns["ms"] = [trial.ms for trial in trials]
    return columns


def _runs(kinds: Sequence[str]) -> list[tuple[str, int]]:
    """``[("search", 100), …]``: each kind and its number of points."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return list(counts.items())


def _designs(report: Report) -> Iterable[Design]:
    record = report.record
    trials: list[Trial] = [*record.trials, *(trial for _, trial in record.baselines)]
    yield from (trial.design for trial in trials)
    yield from (row.design for row in report.comparison if row.design is not None)
