"""What ``bamsearch verify`` says: what it is about to train, and what came out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.report.text import count_text, design_text, duration_text, shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.evidence.verify.estimate import Estimate
    from bamsearch.evidence.verify.request import Planned
    from bamsearch.report.content import Report


def print_plan(console: Console, planned: Planned, known: Estimate) -> None:
    """The networks, how many trainings, and what so many seeds can tell; stderr has the time."""
    run, facts, recipe = planned.record.run, planned.data.facts, planned.recipe
    console.print(
        f"{printable(run.name)} · {printable(run.model)} · {shape_text(facts.input_shape)}"
    )
    console.print(
        f"{facts.name} · {facts.train:,} images to train, {facts.validation:,} to validate, "
        f"{facts.test:,} to test · hash {facts.hash}\n"
    )
    networks = planned.chosen.networks
    rows = [[one.label, design_text(one.design)] for one in networks]
    console.table(["network", "design"], rows, "ll")
    weights = planned.request.weights
    start = "random weights" if weights is None else f"all fine-tuned from weights {weights}"
    seeds = planned.seeds
    console.print(
        f"\nrecipe {recipe.name}: {count_text(recipe.epochs, 'epoch')}, batch "
        f"{recipe.batch_size}, lr {recipe.lr:g} · {start} · seeds from {seeds[0]}"
    )
    console.print(
        f"{count_text(len(networks), 'network')} × {count_text(len(seeds), 'seed')} = "
        f"{known.trainings} trainings at most, {_looks_text(planned)}"
    )
    for line in (_detectable_text(planned, known), *planned.chosen.remarks):
        console.print(line)
    done = f", {known.done} of {known.trainings} trainings are done" if known.done else ""
    console.note(f"\nat most {duration_text(known.seconds)} to train and test{done}\n")
    if planned.exploratory:
        console.warn(planned.exploratory)


def _detectable_text(planned: Planned, known: Estimate) -> str:
    from bamsearch.evidence.verify.statistics import SURE

    (least, most), (low, high) = known.detectable, known.run_sd
    source = "of a pilot and an audit on Fashion-MNIST"
    if known.measured:
        source = f"that the trainings of the search leave ({SURE:.0%} limits)"
    images = ""
    if planned.request.over == "images":
        images = "\n  the images' part comes on top: only test results can say how much"
    comparisons = count_text(planned.chosen.comparisons, "comparison")
    return (
        f"smallest difference detectable with 80% power: {least:.2f} to {most:.2f} points, "
        f"over seeds ({comparisons}, 95% together)\n"
        f"  with a spread of one training over seeds of {low:.2f} to {high:.2f} points, the range "
        f"{source}{images}"
    )


def _looks_text(planned: Planned) -> str:
    sizes = planned.plan.looks
    if len(sizes) == 1:
        return "one look at the test split"
    return f"looks at the test split after {', '.join(map(str, sizes))} seeds"


def plan_json(planned: Planned, known: Estimate) -> dict[str, Any]:
    """What ``verify --dry-run --json`` prints."""
    return {
        "run": planned.record.run.name,
        "networks": [
            {"roles": list(one.roles), "design": json.loads(one.design.to_json())}
            for one in planned.chosen.networks
        ],
        "recipe": planned.recipe.to_dict(),
        "seeds": list(planned.seeds),
        "looks": list(planned.plan.looks),
        "nominal_level": planned.plan.level,
        "over": planned.request.over,
        "exploratory": planned.exploratory or None,
        "trainings": known.trainings,
        "done": known.done,
        "seconds": round(known.seconds, 1),
        "smallest_detectable": [round(points, 4) for points in known.detectable],
        "assumed_sd_of_a_training": [round(sd, 4) for sd in known.run_sd],
        "sd_measured": known.measured,
        "remarks": list(planned.chosen.remarks),
    }


def print_answer(console: Console, report: Report) -> None:
    """The answer, as the report has it."""
    console.print(report.answer.headline)
    for line in report.answer.remarks:
        console.print(f"  {printable(line)}")


def answer_json(report: Report) -> dict[str, Any]:
    """What ``verify --json`` prints: the answer, and ``evidence.json``."""
    from bamsearch.report.as_json import json_value

    evidence = report.record.evidence
    shown = None if evidence is None else json.loads(evidence.to_json())
    return {"answer": json_value(report)["answer"], "evidence": shown}
