"""Budgets as typed: exact, rounded down, and shown so that what is shown can be typed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bamsearch.errors import InvalidValueError
from bamsearch.records import Budget
from bamsearch.space.budget import amount_text, option_name, parse_budget, typed_up


@pytest.mark.parametrize(
    ("quantity", "text", "limit"),
    [
        ("gflops", "8", 8 * 10**9),
        ("gflops", "7.9175", 7_917_500_000),
        ("gflops", ".5", 5 * 10**8),
        ("gflops", "8.", 8 * 10**9),
        ("gflops", "350M", 35 * 10**7),
        ("gflops", "1.2T", 12 * 10**11),
        # Not whole: down. In floating point 0.29 * 10**9 is a little less than it should be.
        ("gflops", "0.29", 290_000_000),
        ("gflops", "1.9999999999", 1_999_999_999),
        ("params", "45M", 45 * 10**6),
        ("params", " 900 k ", 900_000),
        ("params", "1.0005k", 1000),
        ("params", "44549160", 44_549_160),
        ("params", "2B", 2 * 10**9),
        ("memory", "200MiB", 200 * 2**20),
        ("memory", "1.5GB", 15 * 10**8),
        ("memory", "12kb", 12_000),
        ("memory", "12KiB", 12 * 1024),
        ("memory", "77", 77),
        ("ms", "12", 12 * 10**6),
        ("ms", "0.25ms", 250_000),
    ],
)
def test_absolute(quantity, text, limit) -> None:
    assert parse_budget(quantity, text, 50) == Budget(quantity, text.strip(), limit, 50)


@pytest.mark.parametrize(
    ("text", "base", "limit"),
    [
        ("+2%", 100, 102),
        ("+2%", 7_833_969_664, 7_990_649_057),  # 7,990,649,057.28
        ("+0.1%", 999, 999),  # 999.999
        ("+0%", 7, 7),
        (" +10 % ", 15, 16),  # 16.5
        ("+150%", 10**20 + 1, 25 * 10**19 + 2),  # exact far beyond floating point
    ],
)
def test_relative(text, base, limit) -> None:
    for quantity in ("gflops", "params", "memory", "ms"):
        budget = parse_budget(quantity, text, base)
        assert (budget.limit, budget.base, budget.slack) == (limit, base, limit - base)


def test_a_budget_below_the_base_has_negative_slack() -> None:
    assert parse_budget("params", "10", 25).slack == -15


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        ("gflops", ""),
        ("gflops", "eight"),
        ("gflops", "-8"),
        ("gflops", "1e"),
        ("gflops", "8 9"),
        ("gflops", "1,5"),
        ("gflops", "45MiB"),
        ("gflops", "nan"),
        ("params", "5MB"),
        ("memory", "5ms"),
        ("ms", "3M"),
        ("params", "2%"),  # of what? +2% is what there is
        ("params", "+2"),
        ("params", "+ 2%"),
        ("params", "+2M"),
        ("params", "-2%"),
    ],
)
def test_what_is_not_a_budget(quantity, text) -> None:
    with pytest.raises(InvalidValueError) as failure:
        parse_budget(quantity, text, 100)
    example = {"gflops": "8", "params": "45M", "memory": "200MiB", "ms": "12"}[quantity]
    assert str(failure.value) == (
        f"invalid `budget_{quantity}` {text!r}: give a number such as {example}, "
        "or +2% for 2% above the base"
    )


@pytest.mark.parametrize("text", ["0", "0.0", "0M"])
def test_nothing_at_all(text) -> None:
    with pytest.raises(InvalidValueError, match=r"^`budget_params` must be more than 0, not '0"):
        parse_budget("params", text, 100)


@pytest.mark.parametrize(
    ("quantity", "amount", "typed", "step"),
    [
        ("gflops", 7_917_412_345, "7.9175", 10**5),
        ("gflops", 7_917_500_000, "7.9175", 10**5),
        ("gflops", 7_917_500_001, "7.9176", 10**5),
        ("gflops", 290_000_000, "0.2900", 10**5),
        ("gflops", 714_001, "0.00072", 10**4),
        ("params", 44_549_161, "44549161", 1),
        ("memory", 123_456_789_012, "123456789012", 1),
        ("ms", 12_340_001, "12.35", 10**4),
    ],
)
def test_the_smallest_to_type(quantity, amount, typed, step) -> None:
    assert typed_up(quantity, amount) == typed
    limit = parse_budget(quantity, typed, 1).limit
    assert amount <= limit < amount + step
    assert Fraction(limit, step).denominator == 1


def test_as_people_read_it() -> None:
    assert amount_text("gflops", 7_833_969_664) == "7.834 GFLOPs"
    assert amount_text("params", 44_549_160) == "44.549 M params"
    assert amount_text("memory", 3 * 2**19) == "1.5 MiB"
    assert amount_text("ms", 12_344_000) == "12.34 ms"
    assert amount_text("gflops", 823_456) == "0.00082 GFLOPs"
    assert option_name("ms") == "`budget_ms`"
