"""What a supernet is worth as a score, and what it costs: on the designs of an audit.

An audit has trained a sample of designs with several seeds. Here supernets are trained on the same
data, each by another of the remedies known for supernets that rank badly, and asked for every
design of the sample. Each answer is held against the mean accuracy over the seeds: Kendall's tau
and Spearman's rho, with bootstrap intervals over designs, as the audit's own page has them.

Beside each supernet stands ``train`` at **equal compute**: as many ordinary trainings of one seed
as the supernet's seconds would buy (its training and its answers), of random designs of the sample;
the models of ``--score train`` then say what to expect of every design. That is drawn 50 times, and
held against the mean over the seeds that were not used. Supernet and ``params`` in that table are
held against the same means. No more trainings are bought than there are designs.

Seconds are of this process's CPU, with one thread. So are those of an ordinary training: one epoch
of the sample's median design is trained beside each supernet, under the same conditions.

Each variant is a line of ``supernet.jsonl`` beside this file, and is skipped where it is there.

Run: ``OMP_NUM_THREADS=1 python benchmarks/supernet.py AUDIT [--variant NAME] [--report]``
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import machine
import numpy as np
import torch
from numpy.typing import NDArray
from train_replay import read_space

from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.errors import BamsearchError
from bamsearch.evidence.audit.agreement import Comparison, agreements, resamples
from bamsearch.evidence.audit.correlation import tau_b
from bamsearch.evidence.audit.folder import AuditFolder
from bamsearch.records import Design
from bamsearch.records.audit_files import read_trainings
from bamsearch.records.audits import Agreement, Audit
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.scoring import supernet_scorer
from bamsearch.score.supernet.train import train_supernet
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import feasible
from bamsearch.searching.strata import even_draws
from bamsearch.searching.supernet import slot_space
from bamsearch.searching.training_model import TrainingModel
from bamsearch.training.engine import train
from bamsearch.training.parts import steps_of
from bamsearch.training.recipe import Recipe

Floats = NDArray[np.float64]
HERE = Path(__file__).parent
LINES = HERE / "supernet.jsonl"
SUBSETS, RESAMPLES, FEWEST = 50, 2_000, 4
SETTINGS = ("space", "band", "size")


@dataclass(frozen=True)
class Variant:
    """A supernet: what is tried, its options, its epochs, its rate as a multiple of the audit's."""

    words: str
    options: SupernetOptions
    epochs: int = 6
    rate: float = 1.0


ONE = SupernetOptions(paths=1)
VARIANTS = {
    "plain": Variant("the largest, the base and one random design a step", ONE),
    "warmup": Variant("an epoch of the base alone first", replace(ONE, warmup=1)),
    "distil": Variant("half of the loss against the largest design", replace(ONE, distil=0.5)),
    "dilation": Variant("3x3 weights of its own for each d", replace(ONE, share="dilation")),
    "fine-tune": Variant("40 steps before each score", replace(ONE, fine_tune=40)),
    "slow": Variant("a third of the rate, as three gradients are summed", ONE, rate=1 / 3),
    "random": Variant(
        "three random designs a step, no sandwich", SupernetOptions(paths=3, sandwich=False)
    ),
    "longer": Variant(
        "two random designs a step, 10 epochs: a search's default", SupernetOptions(), 10
    ),
}


@dataclass(frozen=True)
class Sample:
    """The designs of an audit that were trained with all seeds, and what fits.

    Attributes:
        audit: the audit.
        feasible: what fits its budgets.
        designs: those designs.
        accuracies: (designs, seeds), in per cent.
        size: (designs,), parameters.
        bam: which have BAM.
        band: which of them are in the audit's band.
    """

    audit: Audit
    feasible: Feasible
    designs: list[Design]
    accuracies: Floats
    size: Floats
    bam: NDArray[np.bool_]
    band: NDArray[np.bool_]

    def where(self, setting: str) -> NDArray[np.bool_]:
        return self.band & self.bam if setting == "band" else self.bam


def read_sample(folder: Path) -> Sample:
    audit, space = read_space(folder)
    known = {(one.insertions, one.seed): one.per_cent for one in read_trainings(folder)[0]}
    rows = [[known.get((one.insertions, seed)) for seed in audit.seeds] for one in audit.designs]
    whole = [n for n, row in enumerate(rows) if None not in row]
    chosen = [audit.designs[n] for n in whole]
    return Sample(
        audit,
        feasible(space, audit.budgets),
        [audit.design(one) for one in chosen],
        np.array([rows[n] for n in whole], dtype=np.float64),
        np.array([one.params for one in chosen], dtype=np.float64),
        np.array([bool(one.insertions) for one in chosen]),
        np.array([one.in_band for one in chosen]),
    )


def data_of(audit: Audit) -> Data:
    facts = audit.data
    channels, height, width = facts.input_shape
    found = load_data(
        facts.name,
        input_size=(height, width),
        split_seed=facts.split_seed,
        channels=channels,
        recorded=facts.hash,
    )
    if found.facts.hash != facts.hash:
        raise click.UsageError(f"{facts.name} has hash {found.facts.hash}, the audit {facts.hash}")
    return found


def run_variant(name: str, sample: Sample, data: Data) -> dict[str, Any]:
    """Train and ask a supernet, and train an ordinary epoch beside it."""
    audit, variant = sample.audit, VARIANTS[name]
    usual = Recipe.from_dict(audit.recipe)
    recipe = usual.changed(epochs=variant.epochs, lr=usual.lr * variant.rate)
    plan = plan_of(sample, variant.options)
    seed, device = audit.seeds[0], audit.device
    clock = time.process_time if device == "cpu" else time.perf_counter
    middle = sorted(zip(sample.size, range(len(sample.size)), strict=True))[len(sample.size) // 2]
    one = clock()
    train(sample.designs[middle[1]], data, usual.changed(epochs=1), seed=seed, device=device)
    before, wall = clock(), time.perf_counter()
    supernet = train_supernet(plan, data, recipe, seed=seed, device=device)
    trained = clock()
    score = supernet_scorer(supernet, data, device=device)
    scores = [_answer(score, design) for design in sample.designs]
    steps, batch = steps_of(data.train, recipe.batch_size), recipe.batch_size
    later, warm = recipe.epochs - variant.options.warmup, variant.options.warmup
    passes = steps * batch * (warm + later * len(plan.designs(seed, warm, 0)))
    return {
        "variant": name,
        "audit": audit.name,
        "options": variant.options.to_dict(),
        "recipe": recipe.to_dict(),
        "train_seconds": round(trained - before, 2),
        "score_seconds": round(clock() - trained, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "ordinary_seconds": round((before - one) * usual.epochs, 2),
        "passes": passes,
        "ordinary_passes": steps * batch * usual.epochs,
        "designs": [_key(design) for design in sample.designs],
        "scores": scores,
    }


def plan_of(sample: Sample, options: SupernetOptions) -> SupernetPlan:
    """As a search has it."""
    fits, base = sample.feasible, replace(sample.designs[0], insertions=())
    draw = even_draws(fits, np.random.default_rng(sample.audit.seeds[0]))

    def design(picks: Picks) -> Design:
        return replace(base, insertions=fits.space.insertions(picks))

    return SupernetPlan(
        slot_space(fits), lambda rng: design(draw(rng)), design(fits.largest()), base, options
    )


def _answer(score: Callable[[Design], float], design: Design) -> float | None:
    try:
        return score(design)
    except BamsearchError:
        return None


def _key(design: Design) -> list[list[Any]]:
    return [[one.site, one.reduction, one.dilation] for one in design.insertions]


def subsets(sample: Sample, trainings: int) -> Iterator[tuple[Floats, int]]:
    """What so many trainings lead to expect of all designs, and the seed that they had."""
    picks = [sample.feasible.space.picks(one.insertions) for one in sample.designs]
    known = [n for n, one in enumerate(picks) if one is not None]
    wanted = [one for one in picks if one is not None]
    rng = np.random.default_rng(0)
    while True:
        column = int(rng.integers(sample.accuracies.shape[1]))
        chosen = rng.choice(len(known), size=min(trainings, len(known)), replace=False)
        observed = [(wanted[n], float(sample.accuracies[known[n], column]), 0) for n in chosen]
        values = np.full(len(picks), np.nan)
        model = TrainingModel(sample.feasible, observed, wanted)
        values[known] = [model.mean[model.picks.index(picks)] for picks in wanted]
        yield values, column


def correlations(sample: Sample, comparisons: list[Comparison]) -> list[Agreement]:
    """Over the designs with BAM, in the band, and with the size held fixed."""
    found: list[Agreement] = []
    for setting in SETTINGS:
        rows = sample.where(setting)
        cut = [
            Comparison(c.score, tuple((x[rows], y[rows]) for x, y in c.pairs)) for c in comparisons
        ]
        found += agreements(cut, sample.size[rows], setting, seed=0, number=RESAMPLES)
    return found


def less(sample: Sample, one: Comparison, other: Comparison) -> tuple[float, float, float]:
    """tau of one less that of another over the designs with BAM, and its 95 % interval."""
    values = np.array([x for x, _ in (*one.pairs, *other.pairs)])
    rows = sample.bam & np.isfinite(values).all(axis=0)
    number = int(rows.sum())
    # The first sample is all designs, once each.
    counts = np.concatenate([np.ones((1, number)), resamples(number, 0, RESAMPLES)])
    differences = np.mean(
        [
            tau_b(x[rows], truth[rows], counts) - tau_b(y[rows], truth[rows], counts)
            for (x, truth), (y, _) in zip(one.pairs, other.pairs, strict=True)
        ],
        axis=0,
    )
    low, high = np.nanquantile(differences[1:], [0.025, 0.975])
    return float(differences[0]), float(low), float(high)


@dataclass(frozen=True)
class Equal:
    """A supernet beside the trainings that its seconds buy."""

    trainings: int
    agreements: list[Agreement]
    less_train: tuple[float, float, float]


def equal_compute(sample: Sample, line: Mapping[str, Any]) -> Equal:
    """How many trainings a supernet's seconds buy, and how well these, it and the size do."""
    spent = line["train_seconds"] + line["score_seconds"]
    bought = max(round(spent / line["ordinary_seconds"]), FEWEST)
    trainings = min(bought, len(sample.designs))
    answers, by_model, by_size = np.array(line["scores"], dtype=np.float64), [], []
    asked = []
    for values, column in islice(subsets(sample, trainings), SUBSETS):
        truth = np.delete(sample.accuracies, column, axis=1).mean(axis=1)
        by_model.append((values, truth))
        by_size.append((sample.size, truth))
        asked.append((answers, truth))
    named = {"train": by_model, "supernet": asked, "params": by_size}
    found = {name: Comparison(name, tuple(pairs)) for name, pairs in named.items()}
    return Equal(
        trainings,
        correlations(sample, list(found.values())),
        less(sample, found["supernet"], found["train"]),
    )


def over_all(sample: Sample, lines: list[Mapping[str, Any]]) -> list[Agreement]:
    """Every variant, the size, and one seed against the mean of the others."""
    truth = sample.accuracies.mean(axis=1)
    seeds = range(sample.accuracies.shape[1])
    one_seed = [
        (sample.accuracies[:, n], np.delete(sample.accuracies, n, axis=1).mean(axis=1))
        for n in seeds
    ]
    found = [Comparison("params", ((sample.size, truth),))]
    if len(seeds) > 1:
        found.append(Comparison("one training each", tuple(one_seed)))
    for line in lines:
        answers = np.array(line["scores"], dtype=np.float64)
        found.append(Comparison(line["variant"], ((answers, truth),)))
    return correlations(sample, found)


def text_of(found: Agreement | None) -> str:
    if found is None or found.value is None:
        return "–"
    interval = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{interval}"


def describe(sample: Sample, lines: list[Mapping[str, Any]], results: dict[str, Any]) -> str:
    """The page."""
    audit, seeds = sample.audit, sample.accuracies.shape[1]
    page = [
        "# What a supernet is worth, and what it costs",
        "",
        f"Audit `{audit.name}`: {len(sample.designs)} designs of {audit.model} on "
        f"{audit.data.train:,} images, {seeds} seeds each. tau is Kendall's, rho Spearman's, with "
        "the mean accuracy over the seeds; 95 % bootstrap intervals over designs. Band: the most "
        "expensive quarter of what fits. Size fixed: partial correlation given parameters. Of "
        "`one training each` it is the mean over seeds, each against the mean of the others.",
        "",
        *(f"- `{line['variant']}`: {VARIANTS[line['variant']].words}" for line in lines),
        "",
    ]
    for measure in ("tau", "rho"):
        page += [
            f"| | {measure}, designs with BAM | less that of `params` | in the band | size fixed |",
            "|---|--:|--:|--:|--:|",
        ]
        known = {(a.score, a.setting): a for a in results["all"] if a.measure == measure}
        for name in dict.fromkeys(score for score, _ in known):
            first = known[name, "space"]
            more = replace(first, value=first.more, low=first.more_low, high=first.more_high)
            cells = [text_of(first), text_of(more)]
            cells += [text_of(known.get((name, setting))) for setting in ("band", "size")]
            page.append(f"| {name} | {' | '.join(cells)} |")
        page.append("")
    page += [
        "Cost: seconds of one CPU core. An ordinary training is one design with one seed; all are "
        f"the {len(sample.designs) * seeds} trainings of the audit. Passes: images that went "
        "forward and back in the training, over those of an ordinary one.",
        "",
        "| | epochs | training, s | asking all designs, s | both, ordinary trainings | of all | "
        "passes |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        ratio = (line["train_seconds"] + line["score_seconds"]) / line["ordinary_seconds"]
        page.append(
            f"| {line['variant']} | {line['recipe']['epochs']} | {line['train_seconds']:.0f} | "
            f"{line['score_seconds']:.0f} | {ratio:.1f} | "
            f"{ratio / (len(sample.designs) * seeds):.1%} | "
            f"{line['passes'] / line['ordinary_passes']:.1f} |"
        )
    page += [
        "",
        f"Equal compute: tau with the mean of the seeds that `train` did not use, mean of "
        f"{SUBSETS} draws.",
        "",
        "| | trainings | supernet | `train` | supernet less `train` | `params` | supernet, band | "
        "`train`, band | supernet, size fixed | `train`, size fixed |",
        "|---|" + "--:|" * 9,
    ]
    for name, one in results["equal"].items():
        known = {(a.score, a.setting): text_of(a) for a in one.agreements if a.measure == "tau"}
        value, low, high = one.less_train
        cells = [known[score, "space"] for score in ("supernet", "train", "params")]
        cells.insert(2, f"{value:+.2f} [{low:+.2f}, {high:+.2f}]")
        cells += [known[score, s] for s in ("band", "size") for score in ("supernet", "train")]
        page.append(f"| {name} | {one.trainings} | {' | '.join(cells)} |")
    return "\n".join(page) + "\n"


def read_lines(sample: Sample) -> list[Mapping[str, Any]]:
    """The variants of this audit that are done, in the order of the table above."""
    text = LINES.read_text(encoding="utf-8") if LINES.exists() else ""
    found = [json.loads(line) for line in text.splitlines()]
    designs = [_key(design) for design in sample.designs]
    ours = {
        one["variant"]: one
        for one in found
        if one["audit"] == sample.audit.name and one["designs"] == designs
    }
    return [ours[name] for name in VARIANTS if name in ours]


def give_to_audit(folder: Path, sample: Sample, line: Mapping[str, Any]) -> None:
    """Put a supernet's answers into the audit's ``scores.json``, where all scores are audited."""
    known = dict(zip((d.insertions for d in sample.designs), line["scores"], strict=True))
    there = AuditFolder(folder)
    scores = there.read_scores(sample.audit)
    scores["supernet"] = [[known.get(one.insertions) for one in sample.audit.designs]]
    there.write_scores(scores)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--variant", "names", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option(
    "--audited",
    type=click.Choice(list(VARIANTS)),
    help="Give this one's answers to the audit, as score supernet: then audit again.",
)
@click.option("--report", is_flag=True, help="Only write the page of what is there.")
def main(folder: Path, names: tuple[str, ...], audited: str | None, report: bool) -> None:
    torch.set_num_threads(1)
    sample = read_sample(folder)
    done = {line["variant"] for line in read_lines(sample)}
    left = [name for name in names or VARIANTS if name not in done and not report]
    if left:
        data = data_of(sample.audit)
        for name in left:
            line = run_variant(name, sample, data)
            with open(LINES, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{name}: {line['train_seconds']} s to train, {line['score_seconds']} s to ask")
    lines = read_lines(sample)
    if not lines:
        raise click.UsageError(f"no supernet of {sample.audit.name} yet: leave --report out")
    if audited is not None:
        give_to_audit(folder, sample, next(one for one in lines if one["variant"] == audited))
    results = {
        "all": over_all(sample, lines),
        "equal": {line["variant"]: equal_compute(sample, line) for line in lines},
    }
    content = {
        "audit": sample.audit.name,
        "agreements": [_plain(one) for one in results["all"]],
        "equal_compute": {
            name: {
                "trainings": equal.trainings,
                "supernet_less_train": equal.less_train,
                "agreements": [_plain(one) for one in equal.agreements],
            }
            for name, equal in results["equal"].items()
        },
        "costs": [
            {k: v for k, v in one.items() if k not in ("designs", "scores")} for one in lines
        ],
    }
    machine.write("supernet", content, describe(sample, lines, results))


def _plain(one: Agreement) -> dict[str, Any]:
    names = ("score", "setting", "measure", "designs", "value", "low", "high")
    return {name: getattr(one, name) for name in (*names, "more", "more_low", "more_high")}


if __name__ == "__main__":
    main()
