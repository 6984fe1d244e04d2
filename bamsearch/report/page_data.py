"""What the HTML page's script needs: all scored designs, and each BAM's row of the site table.

A run has up to 10,000 trials and as many random ones, each with up to some 60 sites, so a design is
a text with a letter for each site that occurs: ``.`` where there is no BAM, else the letter of its
r and d among those that occur there. Numbers are columns.
"""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from bamsearch.records import Design, Insertion, Trial
from bamsearch.report.chart_data import KINDS, UNITS, cost_axis, drawn, pareto_data
from bamsearch.report.charts import pareto_spec
from bamsearch.report.content import Report
from bamsearch.report.differences import differences
from bamsearch.report.sites import SiteRow, site_rows
from bamsearch.report.tables import Table, sites_table
from bamsearch.text import printable

NONE = "."
# Latin letters with marks follow, for a space of the user's own with more than 62 choices a site.
LETTERS = string.ascii_letters + string.digits + "".join(map(chr, range(0x100, 0x2000)))


class DesignCodes:
    """Designs as short texts.

    Args:
        report: whose designs they are.
    """

    def __init__(self, report: Report) -> None:
        self._run = report.record.run
        used: dict[str, list[Insertion]] = defaultdict(list)
        for one in {one for design in _designs(report) for one in design.insertions}:
            used[one.site].append(one)
        self.options: dict[str, list[Insertion]] = {
            site.name: sorted(used[site.name], key=lambda one: (one.reduction, one.dilation))
            for site in self._run.summary.sites
            if site.name in used
        }
        self._letters = {
            one: letter
            for options in self.options.values()
            for one, letter in zip(options, LETTERS, strict=False)
        }

    def code(self, design: Design) -> str:
        """The design's text, a letter a site."""
        there = {one.site: self._letters[one] for one in design.insertions if one in self._letters}
        return "".join(there.get(site, NONE) for site in self.options)

    @cached_property
    def rows(self) -> list[SiteRow]:
        """A row of the site table for each BAM that occurs, site by site."""
        most = max((len(options) for options in self.options.values()), default=0)
        found: dict[Insertion, SiteRow] = {}
        for at in range(most):
            layer = [options[at] for options in self.options.values() if at < len(options)]
            found |= {row.insertion: row for row in site_rows(self._run, self._run.design(layer))}
        return [found[one] for options in self.options.values() for one in options]


def option_table(report: Report, codes: DesignCodes) -> Table:
    """The site table with a row for each BAM that occurs in the run."""
    return sites_table(replace(report, sites=tuple(codes.rows)))


def page_data(report: Report, codes: DesignCodes) -> dict[str, Any]:
    """The page's data, as JSON values.

    Args:
        report: of a run.
        codes: of its designs.
    """
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
    """All points of the chart in the order of drawing: random ones, the search's, references."""
    record, cost = report.record, cost_axis(report)
    random = [trial for kind, trial in record.references if kind == "random"]
    named = [
        (KINDS[kind], trial)
        for kind in ("base", "paper", "largest")
        if (trial := record.reference(kind)) is not None
    ]
    found = [
        *(("random search", trial) for trial in drawn(record.designs(random), cost)),
        *(("search", trial) for trial in drawn(record.designs(record.trials), cost)),
        *((kind, trial) for kind, trial in named if drawn([trial], cost)),
    ]
    trials = [trial for _, trial in found]
    columns: dict[str, list[Any]] = {
        "kind": _runs([kind for kind, _ in found]),
        "code": [codes.code(trial.design) for trial in trials],
        "score": [trial.score for trial in trials],
        "macs": [trial.macs for trial in trials],
        "params": [trial.params for trial in trials],
    }
    if cost == "ms":
        columns["ms"] = [trial.ms for trial in trials]
    return columns


def _runs(kinds: Sequence[str]) -> list[tuple[str, int]]:
    """``[("search", 100), …]``: each kind and how many in a row."""
    found: dict[str, int] = {}
    for kind in kinds:
        found[kind] = found.get(kind, 0) + 1
    return list(found.items())


def _designs(report: Report) -> Iterable[Design]:
    record = report.record
    trials: list[Trial] = [*record.trials, *(trial for _, trial in record.references)]
    yield from (trial.design for trial in trials)
    yield from (row.design for row in report.comparison if row.design is not None)
