"""``verify``: train what was found and what it is compared with, and say what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache

from bamsearch.errors import DivergedError, TrainingError
from bamsearch.evidence.verify.networks import LABELS, Network
from bamsearch.evidence.verify.request import Planned
from bamsearch.evidence.verify.statistics import CONFIDENCE, WANTED, interval, level, seeds_needed
from bamsearch.evidence.verify.trainings import Reached, evaluate_one, train_one
from bamsearch.records import Accuracy, Difference, Evidence, Role
from bamsearch.training.progress import Progress

Watch = Callable[[Progress], None]
Follow = Callable[[str], AbstractContextManager[Watch | None]]
"""Given the title of a training, what follows it."""

Results = Mapping[tuple[str, int], Reached]
"""(name of the network, seed) → what it reached; trainings that diverged are not in it."""

# Hundredths of a hundredth of a point: a test split has fewer images.
_DIGITS = 4


def run_verify(planned: Planned, follow: Follow = lambda title: nullcontext()) -> Evidence:
    """Train what is not trained yet, test each network once, and write ``evidence.json``.

    A training that was interrupted goes on; one that is finished is not repeated. On a CPU with one
    thread the numbers are those of a run that was not interrupted, bit for bit.

    Args:
        planned: what is done.
        follow: see :data:`Follow`.

    Raises:
        RunError: a search, or another verify, works on the run.
        TrainingError: so many trainings diverged that nothing can be compared with the base, or
            one of another kind is in the folder.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    with planned.folder.locked():
        planned.folder.log(f"verify: {planned.request.command}")
        diverged = set()
        for number, (seed, network) in enumerate(planned.trainings, start=1):
            title = f"training {number} of {len(planned.trainings)}: {network.label}, seed {seed}"
            try:
                with follow(title) as watch:
                    train_one(planned, seed, network, watch)
            except DivergedError as error:
                planned.folder.log(f"verify: {network.name}, seed {seed}: {error}")
                diverged.add((network.name, seed))
        # Read once, and not at all where every result is there.
        test = cache(planned.data.test)
        results = {
            (network.name, seed): evaluate_one(planned, seed, network, test)
            for seed, network in planned.trainings
            if (network.name, seed) not in diverged
        }
        evidence = evidence_of(planned, results)
        planned.folder.write_evidence(evidence)
        planned.folder.log("verify: evidence.json is written")
    return evidence


def evidence_of(planned: Planned, results: Results) -> Evidence:
    """What the trainings say.

    Raises:
        TrainingError: fewer than two pairs with the base.
    """
    accuracies: dict[Role, Accuracy] = {}
    differences: list[Difference] = []
    for network in planned.chosen.networks:
        accuracy = _accuracy(planned, results, network)
        if accuracy is not None:
            accuracies |= dict.fromkeys(network.roles, accuracy)
        if network.name != "found":
            differences += _differences(planned, results, network)
    if not differences or differences[0].against != "base":
        raise TrainingError(
            f"{len(planned.trainings) - len(results)} of {len(planned.trainings)} trainings "
            "diverged, and fewer than two pairs with the base are left: give another --recipe, "
            "or --precision 32"
        )
    roles: list[Role] = list(planned.chosen.designs)
    facts = planned.data.facts
    return Evidence(
        data=facts.name,
        data_hash=facts.hash,
        confidence=CONFIDENCE,
        accuracies={role: accuracies[role] for role in roles if role in accuracies},
        differences=tuple(sorted(differences, key=lambda one: roles.index(one.against))),
        command=planned.request.command,
        margin=planned.request.margin,
        designs={role: one.insertions for role, one in planned.chosen.designs.items()},
        remarks=(_how(planned), *planned.chosen.remarks, *_left_out(planned, results)),
        seeds=tuple(planned.seeds),
    )


def _accuracy(planned: Planned, results: Results, network: Network) -> Accuracy | None:
    found = [results[key] for s in planned.seeds if (key := (network.name, s)) in results]
    if len(found) < 2:
        return None
    made = interval([one.per_cent for one in found], CONFIDENCE, 100 / found[0].images)
    mean, low, high = (round(value, _DIGITS) for value in (made.mean, made.low, made.high))
    return Accuracy(mean, low, high, len(found))


def _differences(planned: Planned, results: Results, network: Network) -> list[Difference]:
    """What was found less this network, once for each of its roles; none of fewer than two pairs.

    Only seeds with both networks are pairs.
    """
    pairs = [
        (results["found", seed], results[network.name, seed])
        for seed in planned.seeds
        if ("found", seed) in results and (network.name, seed) in results
    ]
    if len(pairs) < 2:
        return []
    comparisons = planned.chosen.comparisons
    values = [found.per_cent - other.per_cent for found, other in pairs]
    made = interval(values, level(comparisons), 100 / pairs[0][0].images)
    points, low, high = (round(value, _DIGITS) for value in (made.mean, made.low, made.high))
    needed, equivalent = seeds_needed(made.sd, comparisons), made.inside(planned.request.margin)
    return [
        Difference(role, points, low, high, len(pairs), needed, WANTED, equivalent)
        for role in network.roles
    ]


def _how(planned: Planned) -> str:
    recipe, seeds = planned.recipe, planned.seeds
    weights = planned.request.weights
    epochs = f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
    start = "" if weights is None else f", fine-tuned from weights {weights}"
    return (
        f"Recipe {recipe.name}, {epochs}{start}, seeds {seeds[0]} to {seeds[-1]}; "
        f"tested once, on {planned.data.facts.test:,} images."
    )


def _left_out(planned: Planned, results: Results) -> list[str]:
    """Trainings that diverged, a sentence a network."""
    found = []
    for network in planned.chosen.networks:
        seeds = [str(s) for s in planned.seeds if (network.name, s) not in results]
        if seeds:
            names = ", ".join(LABELS[role] for role in network.roles)
            found.append(f"Diverged, and in no pair: {names}, seed {', '.join(seeds)}.")
    return found
