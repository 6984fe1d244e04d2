"""Parses budgets such as ``8``, ``45M``, ``200MiB`` and ``+2%`` into exact integers.

==========  =======================  ======================================================
quantity    typed as                 limits
==========  =======================  ======================================================
gflops      10^9 multiply-adds       one input, fvcore's total (1 multiply-add = 1 FLOP)
params      ``45M``, ``900k``        parameters of the base and all BAMs
memory      ``200MiB``, ``1.5GB``    bytes that autograd keeps for one input in a training step
ms          milliseconds             predicted by a latency table, then measured: not exact
==========  =======================  ======================================================

``+2%`` is 2% above the base; fractions are rounded down.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor, log10

from bamsearch.errors import InvalidValueError
from bamsearch.records import Budget, Quantity

_UNITS: dict[Quantity, dict[str, int]] = {
    "gflops": {"": 10**9, "m": 10**6, "g": 10**9, "t": 10**12},
    "params": {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9},
    "memory": {
        "": 1,
        "b": 1,
        **{f"{letter}b": 10 ** (3 * n) for n, letter in enumerate("kmg", start=1)},
        **{f"{letter}ib": 2 ** (10 * n) for n, letter in enumerate("kmg", start=1)},
    },
    "ms": {"": 10**6, "ms": 10**6},
}
_EXAMPLES: dict[Quantity, str] = {"gflops": "8", "params": "45M", "memory": "200MiB", "ms": "12"}
# Display units: (unit, its size, decimals; more if the number would have fewer than two digits).
_SHOWN: dict[Quantity, tuple[str, int, int]] = {
    "gflops": (" GFLOPs", 10**9, 3),
    "params": (" M params", 10**6, 3),
    "memory": (" MiB", 2**20, 1),
    "ms": (" ms", 10**6, 2),
}
_TYPED: dict[Quantity, tuple[str, int, int]] = {
    "gflops": ("", 10**9, 4),
    "params": ("", 1, 0),
    "memory": ("", 1, 0),
    "ms": ("", 10**6, 2),
}

_LONGEST = 40
"""Longest budget in characters: exact integers of unbounded length would be slow."""


def parse_budget(quantity: Quantity, text: str, base: int) -> Budget:
    """Parse a budget.

    Args:
        quantity: limited quantity.
        text: number with a unit, or ``+N%`` for N percent above the base.
        base: cost of the base, in the unit of :class:`bamsearch.records.Budget`.

    Raises:
        InvalidValueError: not a number, an unknown unit, or not positive.
    """
    match = re.fullmatch(r"\s*(\+?)((?:\d+(?:\.\d*)?|\.\d+)(?:[eE]\d\d?)?)\s*([a-zA-Z%]*)\s*", text)
    if len(text) > _LONGEST:
        match, text = None, f"{text[:_LONGEST]}…"
    units = _UNITS[quantity]
    relative = match is not None and match[3] == "%"
    if match is None or bool(match[1]) != relative or not (relative or match[3].lower() in units):
        raise InvalidValueError(
            f"invalid {option_name(quantity)} {text!r}: give a number such as "
            f"{_EXAMPLES[quantity]}, or +2% for 2% above the base"
        )
    number = Fraction(match[2])
    if relative:
        return Budget(quantity, text.strip(), floor(base * (1 + number / 100)), base)
    if number == 0:
        raise InvalidValueError(f"{option_name(quantity)} must be more than 0, not {text!r}")
    return Budget(quantity, text.strip(), floor(number * units[match[3].lower()]), base)


def option_name(quantity: Quantity) -> str:
    """The parameter that sets the budget, as messages name it: ```budget_gflops```."""
    return f"`budget_{quantity}`"


def amount_text(quantity: Quantity, amount: int) -> str:
    """An amount with its unit: ``7.834 GFLOPs``."""
    unit, size, decimals = _SHOWN[quantity]
    return f"{amount / size:.{_at_least(decimals, amount / size)}f}{unit}"


def typed_up(quantity: Quantity, amount: int) -> str:
    """The smallest value of the option that admits the amount, rounded up to its digits."""
    unit, size, decimals = _TYPED[quantity]
    decimals = _at_least(decimals, amount / size)
    steps = ceil(Fraction(amount, size) * 10**decimals)
    return f"{steps / 10**decimals:.{decimals}f}{unit}"


def _at_least(decimals: int, value: float) -> int:
    """Decimals, raised where needed to show two significant digits."""
    return decimals if value <= 0 else max(decimals, 1 - floor(log10(value)))
