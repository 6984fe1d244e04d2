"""What every 95% interval of bamsearch holds, on truths that are known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py          # an hour on one core
    OMP_NUM_THREADS=1 python benchmarks/coverage.py --quick  # minutes; writes nothing

``coverage_verify.py`` has the verifications: fixed and in looks, over seeds and over images.
``coverage_audit.py`` has the audits, whose scores are drawn anew. ``coverage_search.py`` has the
searches that train: base, recommended design, gain, all designs, effects. ``coverage_latency.py``
has the paired latency. All go through the product's own functions.

A row is too low where it lies below 0.93 by more than two of its Monte Carlo errors. Rows that show
what an interval is *not* (shared seeds, over seeds where images vary, one draw of a score, designs
resampled alone) are named as such.
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
"""Parts of the names of rows that show what an interval does not hold."""


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A twentieth of the repetitions; write nothing.")
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
    """Whether an interval that is meant to hold 95% holds too little."""
    meant = "coverage" in row.name and not any(part in row.name for part in NOT_MEANT)
    return meant and row.value + 2 * row.error < NEEDED


def describe(parts: dict[str, list[Row]]) -> str:
    """The page."""
    low = [row.name for rows in parts.values() for row in rows if too_low(row)]
    verdict = f"Too low: {'; '.join(low)}." if low else "None is too low."
    lines = [
        "# What the intervals hold",
        "",
        "Share of simulations whose 95% interval holds the truth, ± its Monte Carlo standard "
        f"error; other rows say what they are. {verdict}",
        "",
    ]
    for name, rows in parts.items():
        lines += [f"## {name}", "", "| | value | ± | repetitions |", "| --- | --: | --: | --: |"]
        lines += [f"| {r.name} | {r.value:.3f} | {r.error:.3f} | {r.repetitions:,} |" for r in rows]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
