"""Makes a score, by name, a function of a design.

torch is not imported at the top, because params and macs do not need it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING

from bamsearch.errors import ModelError, ScoreError, failure_text
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import Design, Init, ModelSummary, Variant
from bamsearch.records.hints import MOST_FLOAT
from bamsearch.records.sources import split_model
from bamsearch.score.table import SCORES

if TYPE_CHECKING:
    from torch import nn

_SITES_SHOWN = 3


def make_scorer(
    score: str | Callable[..., float],
    summary: ModelSummary,
    *,
    module: nn.Module | None = None,
    seed: int = 0,
    num_classes: int | None = None,
    device: str = "cpu",
) -> Callable[[Design], float]:
    """Make a score a function of the designs of one model; higher is better.

    The base network is built and traced once, and every design is inserted into a copy of it. On a
    CPU, the score of a design depends only on the seed and the number of threads, not on when it is
    scored; on a GPU its last digits can differ. The caller's random state, gradient mode and thread
    count are preserved.

    Args:
        score: name in :data:`~bamsearch.score.table.SCORES`; or a function, or its name
            ``package.module:function`` or ``path/file.py:function``, see :func:`takes_network`.
        summary: summary of the model. For a detector, its ``part`` is scored, but a user's function
            gets the whole network.
        module: base network, which is copied; None builds the summary's model.
        seed: random seed of weights, images and labels.
        num_classes: classes of the head; None is the model's default.
        device: device to score on.

    Returns:
        The function. It raises ScoreError if a score fails or is not finite, and the errors of
        inserting BAM.

    Raises:
        ScoreError: no such score.
        ModelError: the model cannot be built or traced.
        DeviceError: no such device.
    """
    zero = None if callable(score) else SCORES.get(score)
    if zero is not None and not zero.needs_module:
        return _checked(zero.name, _of_costs(zero.name, summary))
    if callable(score):
        name, function = _called(score), score
    else:
        name, function = score, _loaded(score)
    if zero is None and not takes_network(function):
        return _checked(name, lambda design: partial(function, design))
    # Imported here because it loads torch.
    from bamsearch.score.networks import Networks

    networks = Networks(summary, module=module, seed=seed, num_classes=num_classes, device=device)
    if zero is None:

        def prepare(design: Design) -> Callable[[], object]:
            return networks.seeded(partial(function, networks.network(design).train(), design))

        return _checked(name, prepare)
    networks.share_weights()
    batch = networks.batch(zero.batch)

    def prepare_part(design: Design) -> Callable[[], object]:
        # Behind the gate of init="identity", which starts at 0, BAM has no effect for any r and d.
        network = networks.network(replace(design, init="paper"))
        return networks.seeded(partial(function, network.get_submodule(summary.part), batch))

    return _checked(name, prepare_part)


def takes_network(score: Callable[..., float]) -> bool:
    """Whether a score is a function of the network in train mode and the design.

    With one required positional parameter, it is a function of the design alone.

    Raises:
        ScoreError: it is neither.
    """
    try:
        parameters = signature(score)
    except ValueError:  # some builtin functions
        raise ScoreError(f"{_called(score)} has no signature: wrap it in a function") from None
    required = [
        p
        for p in parameters.parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    for number in (1,) if len(required) == 1 else (2, 1):
        with suppress(TypeError):
            parameters.bind(*[None] * number)
            return number == 2
    raise ScoreError(
        f"{_called(score)}{parameters} is not a score: a score takes (design) or (module, design)"
    )


def _called(score: Callable[..., float]) -> str:
    return getattr(score, "__name__", type(score).__name__)


def _loaded(score: str) -> Callable[..., float]:
    """The function of a zero-cost score or a user's."""
    # Imported here because they load torch.
    from bamsearch.graph.models import load_function
    from bamsearch.score import zero_cost

    if score in SCORES:
        function: Callable[..., float] = getattr(zero_cost, score)
        return function
    try:
        return load_function(*split_model(_home_of_user(score)), "score")
    except ModelError as error:
        raise ScoreError(str(error)) from error


def check_score(score: str) -> None:
    """Raise ScoreError for a name that cannot be a score; a user's function is not loaded."""
    if score not in ("train", *SCORES):
        _home_of_user(score)


def _home_of_user(score: str) -> str:
    """The name itself if it is ``module:function``; else raise ScoreError with a suggestion."""
    if ":" in score:
        return score
    names = ("train", *SCORES)
    near = difflib.get_close_matches(score.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(names)}"
    raise ScoreError(f"no score is called {score!r} (your own is FILE.py:function): {hint}")


def _of_costs(name: str, summary: ModelSummary) -> Callable[[Design], Callable[[], object]]:
    """Prepare ``params`` or ``macs``, which are computed in closed form."""

    @cache
    def costs(variant: Variant, init: Init) -> DesignCosts:
        return DesignCosts(summary, variant=variant, init=init)

    def prepare(design: Design) -> Callable[[], object]:
        cost = costs(design.variant, design.init).cost(design.insertions)
        return partial(getattr, cost, name)

    return prepare


def _checked(
    name: str, prepare: Callable[[Design], Callable[[], object]]
) -> Callable[[Design], float]:
    """Wrap a score to return a finite float, or raise a ScoreError that names the design."""

    def score(design: Design) -> float:
        call = prepare(design)
        try:
            # A user's function can raise anything.
            value = call()
        except (Exception, SystemExit) as error:
            raise ScoreError(f"{name} failed on {_text(design)}: {failure_text(error)}") from error
        number = _number(value)
        if number is None or not abs(number) <= MOST_FLOAT:
            raise ScoreError(
                f"{name} of {_text(design)} is {_short(value)}, not a finite number: "
                "a score must return a float, higher is better"
            )
        return number

    return score


def _number(value: object) -> float | None:
    """The value as a float, also of a one-element tensor; None if it is not a number."""
    try:
        plain = value.item() if hasattr(value, "item") else value
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if isinstance(plain, bool) or not isinstance(plain, Real) else float(plain)


def _text(design: Design) -> str:
    """A design in a message: ``resnet18 with BAM after layer1 (r=16, d=4)``."""
    shown = [f"{i.site} (r={i.reduction}, d={i.dilation})" for i in design.insertions]
    if not shown:
        return f"{design.model} without BAM"
    more = len(shown) - _SITES_SHOWN
    rest = f" and {more} more sites" if more > 0 else ""
    return f"{design.model} with BAM after {', '.join(shown[:_SITES_SHOWN])}{rest}"


def _short(value: object) -> str:
    lines = repr(value).splitlines() or [""]
    return lines[0] if len(lines) == 1 and len(lines[0]) <= 60 else f"{lines[0][:60]}…"
