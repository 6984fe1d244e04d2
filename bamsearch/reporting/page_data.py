"""Data of the HTML page's script: all scored designs, and each BAM's row of the site table.

A run has up to 10,000 trials and as many random ones, each with up to about 60 sites, so a design
is encoded as text with one letter per site that occurs: ``.`` without BAM, otherwise the letter of
its r and d among those that occur at the site. Numbers are stored as columns.
"""

from __future__ import annotations

import string
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from itertools import chain
from typing import Any

from bamsearch.records import Design, Insertion, Trial
from bamsearch.reporting.charts.curves import curve_spec
from bamsearch.reporting.charts.pareto import UNITS, pareto_data, pareto_spec, point_of
from bamsearch.reporting.comparison import SHORT_LABELS, differences, trial_of
from bamsearch.reporting.content import Report, site_rows
from bamsearch.reporting.run_statistics import all_trials, random_trials
from bamsearch.reporting.tables import Table, sites_table
from bamsearch.reporting.text import design_text, giga, mega, score_text
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
    def sites(self) -> Table:
        """The site table of all BAMs that occur."""
        return sites_table(site_rows(self._run, chain.from_iterable(self.options.values())))


def listed_designs(report: Report, codes: DesignCodes, front: int) -> list[dict[str, Any]]:
    """The designs that the page can show: the best design, the baselines and the front.

    Args:
        report: report of a run.
        codes: codes of its designs.
        front: number of designs of the front.

    Returns:
        Label, texts and code of each, and its point in the chart: None if it is not there.
    """
    offered: list[tuple[str, Trial, str]] = []
    for row in (report.best, *report.comparison[:-1]):
        if row.design is not None and row.params is not None and row.macs is not None:
            trial = Trial(-1, row.design, row.score, row.params, row.macs)
            offered.append((row.label, trial_of(report.record, row.role) or trial, row.note))
    for number, trial in enumerate(report.front[:front], start=1):
        offered.append((f"front {number}", trial, ""))
    return [
        {
            "label": label,
            "text": design_text(trial.design),
            "code": codes.code(trial.design),
            "score": note or score_text(trial.score),
            "gflops": giga(trial.macs),
            "params": mega(trial.params),
            "at": point_of(label, trial, report.cost),
        }
        for label, trial, note in offered
    ]


def page_data(report: Report, codes: DesignCodes) -> dict[str, Any]:
    """The page's data as JSON values."""
    rows = iter(codes.sites.rows)
    data, cost = pareto_data(report), report.cost
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
        "curve": curve_spec(report),
    }


def _columns(report: Report, codes: DesignCodes) -> dict[str, list[Any]]:
    """All points of the chart in drawing order: random search, search, baselines."""
    record, cost = report.record, report.cost
    points = [
        *(("random search", trial) for trial in record.designs(random_trials(record))),
        *(("search", trial) for trial in record.designs(record.trials)),
        *(
            (SHORT_LABELS[kind], trial)
            for kind in ("base", "paper", "largest")
            if (trial := record.baseline(kind)) is not None
        ),
    ]
    points = [(kind, trial) for kind, trial in points if point_of(kind, trial, cost)]
    trials = [trial for _, trial in points]
    columns: dict[str, list[Any]] = {
        "kind": list(Counter(kind for kind, _ in points).items()),
        "code": [codes.code(trial.design) for trial in trials],
        "score": [trial.score for trial in trials],
        "macs": [trial.macs for trial in trials],
        "params": [trial.params for trial in trials],
    }
    if cost == "ms":
        columns["ms"] = [trial.ms for trial in trials]
    return columns


def _designs(report: Report) -> Iterable[Design]:
    yield from (trial.design for trial in all_trials(report.record))
    yield from (row.design for row in report.comparison if row.design is not None)
