"""Numbers, shapes, designs and budgets as readable texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from math import floor, log10
from typing import TypeVar

from bamsearch.records import Budget, Design, Insertion, Over, Quantity, Run, Site
from bamsearch.space.budget import amount_text
from bamsearch.text import printable

Value = TypeVar("Value")

EXPECTED = "expected accuracy, %"
"""Name of a design's score if designs are trained."""


@cache
def template_file(name: str) -> str:
    """A file of the folder ``templates``."""
    return (files("bamsearch.reporting") / "templates" / name).read_text(encoding="utf-8")


def shape_text(shape: Sequence[int]) -> str:
    """A shape: ``3×224×224``."""
    return "×".join(str(size) for size in shape)


def map_text(site: Site) -> str:
    """A site's feature map: ``256×56×56``, or ``64×16×56×56`` with frames."""
    frames = () if site.frames is None else (site.frames,)
    return shape_text((site.channels, *frames, site.height, site.width))


def giga(count: int) -> str:
    """A count in 10^9 with three decimals, or more to show two significant digits."""
    return bare_amount("gflops", count)


def mega(count: int) -> str:
    """A count in 10^6: ``44.549 M``."""
    return f"{count / 1e6:.3f} M"


def change(base: int, now: int) -> str:
    """A relative change: ``+0.81%``."""
    return f"{(now / base - 1) * 100:+.2f}%" if base else "new"


def design_text(design: Design) -> str:
    """``layer1 r16 d4, layer3 r8 d2``, or ``no BAM``."""
    return ", ".join(f"{printable(i.site)} {option_text(i)}" for i in design.insertions) or "no BAM"


def optional(format: Callable[[Value], str], value: Value | None, instead: str = "–") -> str:
    """The formatted value, or a dash for None."""
    return instead if value is None else format(value)


def interval_text(low: float, high: float, form: str = ".2f") -> str:
    """``[90.12, 91.30]``; with the form ``+.2f``, ``[-0.10, +0.30]``."""
    return f"[{low:{form}}, {high:{form}}]"


def estimate_text(value: float, low: float, high: float, form: str = ".2f") -> str:
    """A value and its interval: ``90.71 [90.12, 91.30]``."""
    return f"{value:{form}} {interval_text(low, high, form)}"


def option_text(insertion: Insertion | None) -> str:
    """``r16 d4``; a dash for None."""
    return "–" if insertion is None else f"r{insertion.reduction} d{insertion.dilation}"


def score_text(score: float | None) -> str:
    """A score with five significant digits; large integers in full."""
    if score is None:
        return "failed"
    if score == 0:
        return "0"
    digits = floor(log10(abs(score)))
    if digits >= 9 or digits < -4:
        return f"{score:.4e}"
    return f"{score:,.{max(0, 4 - digits)}f}"


def count_text(number: int, noun: str) -> str:
    """``1 site``, ``4 sites``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def over_text(over: Over | None) -> str:
    """What intervals cover, in words; empty if not recorded."""
    return "" if over is None else {"seeds": "seeds", "images": "seeds and images"}[over]


def duration_text(seconds: float) -> str:
    """``6 min 12 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def title(run: Run) -> str:
    """The first line: ``resnet101 · 3×224×224 · budget 8.000 GFLOPs, base 7.834``."""
    parts = [printable(run.model), shape_text(run.summary.input_shape)]
    parts += [f"budget {budget_text(run, b)}" for b in run.budgets] or ["no budget"]
    return " · ".join(parts)


def budget_text(run: Run, budget: Budget) -> str:
    """``8.000 GFLOPs, base 7.834``; a time budget has the measured base."""
    base = budget.base
    if budget.quantity == "ms" and run.latency is not None:
        base = round(run.latency["base_ms"] * 1e6)
    return (
        f"{amount_text(budget.quantity, budget.limit)}, base {bare_amount(budget.quantity, base)}"
    )


def budgets_text(run: Run) -> str:
    """All budgets: ``8.000 GFLOPs, base 7.834; …``, or ``none``."""
    return "; ".join(budget_text(run, budget) for budget in run.budgets) or "none"


def limits_text(budgets: Sequence[Budget]) -> str:
    """The limits of budgets: ``8.000 GFLOPs, 200 MiB``; empty without any."""
    return ", ".join(amount_text(budget.quantity, budget.limit) for budget in budgets)


def bare_amount(quantity: Quantity, amount: int) -> str:
    """The amount without its unit."""
    return amount_text(quantity, amount).split()[0]


def conditions_text(run: Run) -> str:
    """Conditions of a time budget: ``NAME, batch 1, float32, eager``."""
    about = run.latency or {}
    device = printable(about["device"])
    return f"{device}, batch {about['batch_size']}, {about['dtype']}, {about['mode']}"
