"""What mattered: what trainings say of sites, r and d, and of the designs, together."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import Design, Effect, Estimate, Learned, RunRecord
from bamsearch.report.comparison import LABELS
from bamsearch.report.text import count_text
from bamsearch.text import printable


@dataclass(frozen=True, slots=True)
class Ranked:
    """A design of the ranking.

    Attributes:
        rank: among all designs that were trained, from 1 on.
        role: ``found``, ``base``, ``paper default``, ``largest that fits``, the first that holds;
            empty for others.
        design: which.
        estimate: what is expected of it.
    """

    rank: int
    role: str
    design: Design
    estimate: Estimate

    @property
    def label(self) -> str:
        """``3``, or ``3 found``."""
        return f"{self.rank} {self.role}".rstrip()


@dataclass(frozen=True, slots=True)
class Mattered:
    """What a search learnt from its trainings, as reports show it.

    Attributes:
        learned: all of it.
        effects: the largest first, whatever their sign.
        ranking: of all designs trained.
    """

    learned: Learned
    effects: tuple[Effect, ...]
    ranking: tuple[Ranked, ...]

    def top(self, number: int) -> tuple[Ranked, ...]:
        """The first so many, and, wherever they are, those that have a role."""
        return tuple(one for one in self.ranking if one.rank <= number or one.role)

    @property
    def sentence(self) -> str:
        """How many trainings it rests on, and how far one of them spreads."""
        trainings = count_text(self.learned.trainings, "training")
        designs = count_text(len(self.ranking), "design")
        spread = f"{self.learned.noise:.2f} points"
        return f"{trainings} of {designs}; the standard deviation of one training is {spread}."


def mattered(record: RunRecord) -> Mattered | None:
    """What mattered in a run; None where nothing was trained, or not yet."""
    learned = record.learned
    if record.run.score != "train" or learned is None or not learned.ranking:
        return None
    roles = {} if record.best is None else {record.best.design.insertions: "found"}
    for kind in ("base", "paper", "largest"):
        reference = record.reference(kind)
        if reference is not None:
            label = LABELS[kind].replace(" (r16 d4)", "")
            roles.setdefault(reference.design.insertions, label)
    ranking = tuple(
        Ranked(rank, roles.get(one.insertions, ""), record.run.design(one.insertions), one)
        for rank, one in enumerate(learned.ranking, start=1)
    )
    effects = sorted(learned.effects, key=lambda one: -abs(one.points))
    return Mattered(learned, tuple(effects), ranking)


def effect_text(effect: Effect) -> str:
    """``BAM at layer3``, ``r doubled``."""
    if effect.aspect == "site":
        return f"BAM at {' and '.join(map(printable, effect.sites))}"
    return f"{effect.aspect} doubled"


def interval_text(low: float, high: float, *, signed: bool = False) -> str:
    """``[90.12, 91.30]``, or ``[-0.10, +0.30]``."""
    form = "+.2f" if signed else ".2f"
    return f"[{low:{form}}, {high:{form}}]"


def chance_text(chance: float) -> str:
    """``63%``; never none or all, as a model's chances are no certainties."""
    if chance < 0.01:
        return "<1%"
    if chance > 0.99:
        return ">99%"
    return f"{chance:.0%}"
