"""Text and JSON output of ``bamsearch verify``: the plan and the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.reporting.text import count_text, design_text, duration_text, shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.evidence.verify.request import VerifyPlan
    from bamsearch.evidence.verify.trainings import VerifyEstimate
    from bamsearch.reporting.content import Report


def print_verify_plan(console: Console, planned: VerifyPlan, estimate: VerifyEstimate) -> None:
    """Print networks, trainings and detectable differences; the time goes to stderr."""
    run, facts, recipe = planned.record.run, planned.data.facts, planned.recipe
    console.print(
        f"{printable(run.name)} · {printable(run.model)} · {shape_text(facts.input_shape)}"
    )
    console.print(
        f"{facts.name} · {facts.train:,} images to train, {facts.validation:,} to validate, "
        f"{facts.test:,} to test · hash {facts.hash}\n"
    )
    networks = planned.chosen.networks
    rows = [[network.label, design_text(network.design)] for network in networks]
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
        f"{estimate.trainings} trainings at most, {_looks_text(planned)}"
    )
    for line in (_detectable_text(planned, estimate), *planned.chosen.remarks):
        console.print(line)
    done = f", {estimate.done} of {estimate.trainings} trainings done" if estimate.done else ""
    console.note(f"\nat most {duration_text(estimate.seconds)} of training and testing{done}\n")
    if planned.exploratory:
        console.warn(planned.exploratory)


def _detectable_text(planned: VerifyPlan, estimate: VerifyEstimate) -> str:
    from bamsearch.evidence.verify.statistics import SURE

    (least, most), (low, high) = estimate.detectable, estimate.run_sd
    source = "of a pilot and an audit on Fashion-MNIST"
    if estimate.measured:
        source = f"estimated from the trainings of the search ({SURE:.0%} limits)"
    images = ""
    if planned.request.over == "images":
        images = "\n  the variance over images comes on top; only test results can show it"
    comparisons = count_text(planned.chosen.comparisons, "comparison")
    return (
        f"smallest difference detectable with 80% power: {least:.2f} to {most:.2f} points, "
        f"over seeds ({comparisons}, 95% together)\n"
        f"  with a spread of one training over seeds of {low:.2f} to {high:.2f} points, the range "
        f"{source}{images}"
    )


def _looks_text(planned: VerifyPlan) -> str:
    sizes = planned.plan.looks
    if len(sizes) == 1:
        return "one look at the test split"
    return f"looks at the test split after {', '.join(map(str, sizes))} seeds"


def verify_plan_json(planned: VerifyPlan, estimate: VerifyEstimate) -> dict[str, Any]:
    """The output of ``verify --dry-run --json``."""
    return {
        "run": planned.record.run.name,
        "networks": [
            {"roles": list(network.roles), "design": json.loads(network.design.to_json())}
            for network in planned.chosen.networks
        ],
        "recipe": planned.recipe.to_dict(),
        "seeds": list(planned.seeds),
        "looks": list(planned.plan.looks),
        "nominal_level": planned.plan.level,
        "over": planned.request.over,
        "exploratory": planned.exploratory or None,
        "trainings": estimate.trainings,
        "done": estimate.done,
        "seconds": round(estimate.seconds, 1),
        "smallest_detectable": [round(points, 4) for points in estimate.detectable],
        "assumed_sd_of_a_training": [round(sd, 4) for sd in estimate.run_sd],
        "sd_measured": estimate.measured,
        "remarks": list(planned.chosen.remarks),
    }


def print_answer(console: Console, report: Report) -> None:
    """Print the answer of the report."""
    console.print(report.answer.headline)
    for line in report.answer.remarks:
        console.print(f"  {printable(line)}")


def answer_json(report: Report) -> dict[str, Any]:
    """The output of ``verify --json``: the answer, and ``evidence.json``."""
    from bamsearch.reporting.as_json import json_value

    evidence = report.record.evidence
    shown = None if evidence is None else json.loads(evidence.to_json())
    return {"answer": json_value(report)["answer"], "evidence": shown}
