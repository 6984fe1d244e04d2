"""A step of a supernet: several designs see the same images, and their gradients are summed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.statistics import recalibrate
from bamsearch.training.classes import class_scores, right, total_loss
from bamsearch.training.loop import Live, begin_step, end_step, evaluate
from bamsearch.training.parts import Batch


@dataclass(frozen=True, slots=True, eq=False)
class Sandwich:
    """How a supernet takes its steps, and is looked at after an epoch.

    Attributes:
        network: what is trained.
        plan: which designs, and how.
    """

    network: SlotNetwork
    plan: SupernetPlan

    def step(self, live: Live, epoch: int, step: int, batch: Batch) -> Tensor:
        """A step of the training; returns what :func:`end_step` does, of the first design."""
        images, labels = batch
        inputs = begin_step(live, epoch, step, images)
        first, *others = self.plan.designs(live.seed, epoch, step)
        self.network.choose(first)
        output = live.network(inputs)
        loss = total_loss(output, labels, live.recipe.label_smoothing)
        live.fabric.backward(loss / len(images))
        teacher = class_scores(output)[0].detach().float().softmax(1)
        hits = right(output, labels)
        for design in others:
            self.network.choose(design)
            one = self._loss(live, live.network(inputs), labels, teacher)
            live.fabric.backward(one / len(images))
        return end_step(live, loss, hits, len(images))

    def validate(self, live: Live, epoch: int) -> tuple[float, int]:
        """Mean cross-entropy and right images of the largest design, as a copy would be scored.

        In the warm-up it is the base. The fine-tuning is left out.
        """
        alone = replace(live, module=self.network.standalone(self.plan.shown(epoch)))
        recalibrate(alone, self.plan.options.recalibration)
        return evaluate(alone, live.data.validation)

    def _loss(self, live: Live, output: object, labels: Tensor, teacher: Tensor) -> Tensor:
        loss = total_loss(output, labels, live.recipe.label_smoothing)
        share = self.plan.options.distil
        if not share:
            return loss
        scores = class_scores(output)[0].float()
        return (1 - share) * loss + share * F.cross_entropy(scores, teacher, reduction="sum")
