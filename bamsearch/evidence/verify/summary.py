"""Results of ``verify`` as of a look: accuracies, differences and remarks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bamsearch.evidence.verify.looks import Conclusion, Rule, conclude, nominal_level
from bamsearch.evidence.verify.networks import LABELS, ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan
from bamsearch.evidence.verify.statistics import (
    CONFIDENCE,
    TARGET_DIFFERENCE,
    sd_limits,
    seeds_needed,
)
from bamsearch.evidence.verify.trainings import HeldOutResult
from bamsearch.records import Accuracy, Difference, Evidence, Role

Results = Mapping[tuple[str, int], HeldOutResult | None]
"""(name of the network, seed) → its result, None if the training diverged."""

# 10^-4 points, finer than one image of any test split.
_DIGITS = 4


def conclusion_of(
    planned: VerifyPlan, results: Results, network: ComparedNetwork, looks: int
) -> Conclusion | None:
    """The comparison of the best design with a network after a number of looks.

    A seed is a pair only if both networks have a result.
    """
    taken = planned.plan.looks[:looks]
    seeds = planned.seeds[: taken[-1]]
    rows, values = [], []
    for number, seed in enumerate(seeds):
        best, other = results.get(("found", seed)), results.get((network.name, seed))
        if best is not None and other is not None:
            rows.append(number)
            values.append(best.points - other.points)
    if not rows:
        return None
    resolution = 100 / len(values[0])
    rule = planned.rule(network)
    return conclude(np.stack(values), taken, rule, resolution=resolution, rows=rows)


def undecided_networks(
    planned: VerifyPlan, results: Results, looks: int
) -> tuple[ComparedNetwork, ...]:
    """The networks that the next look needs: undecided rivals, and the best design if any."""
    rivals = []
    for network in planned.chosen.networks[:-1]:
        conclusion = conclusion_of(planned, results, network, looks) if looks else None
        if conclusion is None or not conclusion.decided:
            rivals.append(network)
    return (*rivals, planned.chosen.networks[-1]) if rivals else ()


def evidence_of(planned: VerifyPlan, results: Results, looks: int | None = None) -> Evidence:
    """The evidence after a number of looks; None: all."""
    looks = len(planned.plan.looks) if looks is None else looks
    accuracies: dict[Role, Accuracy] = {}
    differences: list[Difference] = []
    for network in planned.chosen.networks:
        accuracy = _accuracy(planned, results, network)
        if accuracy is not None:
            accuracies |= dict.fromkeys(network.roles, accuracy)
        if network.name != "found":
            conclusion = conclusion_of(planned, results, network, looks)
            if conclusion is not None:
                differences += _differences(planned, network, conclusion)
    roles: list[Role] = list(planned.chosen.designs)
    seeds = planned.seeds[: planned.plan.looks[looks - 1]]
    facts = planned.data.facts
    return Evidence(
        data=facts.name,
        data_hash=facts.hash,
        confidence=CONFIDENCE,
        accuracies={role: accuracies[role] for role in roles if role in accuracies},
        differences=tuple(sorted(differences, key=lambda each: roles.index(each.against))),
        command=planned.request.command,
        margin=planned.request.margin,
        designs={role: design.insertions for role, design in planned.chosen.designs.items()},
        remarks=(
            _recipe(planned, seeds),
            _progress(planned, results, looks),
            *planned.chosen.remarks,
            *_diverged(planned, results),
        ),
        seeds=tuple(seeds),
        over=planned.request.over,
        exploratory=planned.exploratory,
    )


def has_base(evidence: Evidence) -> bool:
    """Whether there is a difference to the base: at least two pairs with it."""
    return bool(evidence.differences) and evidence.differences[0].against == "base"


def concluded_text(evidence: Evidence) -> str:
    """The conclusions of a look for its :class:`Opening`: ``base: better, +0.41 [...]; ...``."""
    return "; ".join(
        f"{LABELS[d.against]}: {d.verdict}, {d.points:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
        for d in evidence.differences
    )


def _accuracy(planned: VerifyPlan, results: Results, network: ComparedNetwork) -> Accuracy | None:
    stored = (results.get((network.name, seed)) for seed in planned.seeds)
    reached = [result for result in stored if result is not None]
    if len(reached) < 2:
        return None
    # Not simultaneous with the others, but valid at every look.
    rule = Rule(nominal_level(planned.plan.looks, 1), planned.request.margin, planned.request.over)
    values = np.stack([result.points for result in reached])
    bounds = rule.interval(values, 100 / reached[0].images)
    mean, low, high = (round(value, _DIGITS) for value in (bounds.mean, bounds.low, bounds.high))
    return Accuracy(mean, low, high, len(reached))


def _differences(
    planned: VerifyPlan, network: ComparedNetwork, conclusion: Conclusion
) -> list[Difference]:
    """The best design minus this network, once for each role of the network."""
    bounds, confidence = conclusion.interval, 1 - planned.plan.level
    points, low, high = (round(value, _DIGITS) for value in (bounds.mean, bounds.low, bounds.high))
    # More seeds do not narrow the images' part of an interval, so no number of them is given.
    least, most = (
        (None, None)
        if planned.request.over == "images"
        else (seeds_needed(sd, confidence) for sd in sd_limits(bounds.sd, conclusion.pairs - 1))
    )
    return [
        Difference(
            role,
            points,
            low,
            high,
            conclusion.pairs,
            seeds_needed=most,
            detectable=TARGET_DIFFERENCE,
            equivalent=bounds.inside(planned.request.margin),
            seeds_at_least=least,
        )
        for role in network.roles
    ]


def _recipe(planned: VerifyPlan, seeds: range) -> str:
    recipe, weights = planned.recipe, planned.request.weights
    epochs = f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
    start = "" if weights is None else f", fine-tuned from weights {weights}"
    if planned.request.module is not None:
        start = ", from the module's own weights"
    return f"Recipe {recipe.name}, {epochs}{start}, seeds {seeds[0]} to {seeds[-1]}."


def _progress(planned: VerifyPlan, results: Results, looks: int) -> str:
    """State of the looks: decided, exhausted, or unfinished."""
    images, number = planned.data.facts.test, len(planned.plan.looks)
    head = f"Look {looks} of {number} at {images:,} test images"
    undecided = len(undecided_networks(planned, results, looks)) - 1
    if undecided < 1:
        return f"{head}: every comparison is decided."
    remaining = "1 comparison is" if undecided == 1 else f"{undecided} comparisons are"
    if looks == number:
        return f"{head}: all seeds are used, but {remaining} undecided."
    return f"{head}: {remaining} undecided; not finished, the same command continues."


def _diverged(planned: VerifyPlan, results: Results) -> list[str]:
    """Trainings that diverged, one sentence per network."""
    sentences = []
    for network in planned.chosen.networks:
        lost = [str(s) for (name, s), it in results.items() if name == network.name and it is None]
        if lost:
            sentences.append(
                f"Diverged and excluded from the pairs: {network.label}, seed {', '.join(lost)}."
            )
    return sentences
