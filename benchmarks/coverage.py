"""Coverage of every 95% interval of bamsearch, on simulations with a known truth.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py          # an hour on one core
    OMP_NUM_THREADS=1 python benchmarks/coverage.py --quick  # minutes; writes nothing

``coverage_verify.py`` simulates verifications: with one look and several, over seeds and over
images. ``coverage_audit.py`` simulates audits whose scores vary between draws,
``coverage_search.py`` searches that train (base, recommended design, gain, all designs, effects),
``coverage_latency.py`` paired timings. All of them call the functions of bamsearch.

Coverage is too low if it is below 0.93 by more than two Monte Carlo standard errors. Some rows show
the limits of an interval (shared seeds, intervals over seeds when images vary, one draw of a score,
resampling designs only); their names say so.
"""

from __future__ import annotations

import click
import coverage_audit
import coverage_latency
import coverage_search
import coverage_verify
import machine
from coverage_verify import Row

PARTS = {
    "Verify": coverage_verify.rows,
    "Audit": coverage_audit.rows,
    "Search that trains": coverage_search.rows,
    "Latency": coverage_latency.rows,
}
NEEDED, QUICK = 0.93, 20
NOT_MEANT = (
    "shared",
    "over seeds: coverage",
    "1 draw:",
    "resampled alone",
)
"""Parts of the names of rows that show the limits of an interval."""


@click.command(help=__doc__)
@click.option(
    "--quick", is_flag=True, help="Run a twentieth of the repetitions, and write no files."
)
def main(quick: bool) -> None:
    divide = QUICK if quick else 1
    parts = {name: list(rows(divide)) for name, rows in PARTS.items()}
    text = describe(parts)
    if quick:
        print(text)
    else:
        record = {name: [list(row) for row in rows] for name, rows in parts.items()}
        machine.write("coverage", record, text)


def too_low(row: Row) -> bool:
    """Whether the coverage of an interval that should have 95% is too low."""
    meant = "coverage" in row.name and not any(part in row.name for part in NOT_MEANT)
    return meant and row.value + 2 * row.error < NEEDED


def describe(parts: dict[str, list[Row]]) -> str:
    """The page."""
    low = [row.name for rows in parts.values() for row in rows if too_low(row)]
    verdict = f"Too low: {'; '.join(low)}." if low else "No coverage is too low."
    lines = [
        "# Coverage of the intervals",
        "",
        "Share of simulations whose 95% interval contains the truth, ± its Monte Carlo standard "
        f"error; other rows are named. {verdict}",
        "",
    ]
    for name, rows in parts.items():
        lines += [f"## {name}", "", "| | value | ± | repetitions |", "| --- | --: | --: | --: |"]
        lines += [f"| {r.name} | {r.value:.3f} | {r.error:.3f} | {r.repetitions:,} |" for r in rows]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
