"""The public function ``train``."""

from __future__ import annotations

import os

from bamsearch.records.arguments import parameters_of
from bamsearch.training import engine
from bamsearch.training.engine import Trained
from bamsearch.training.progress import Progress
from bamsearch.training.request import TrainingRequest, plan_training


@parameters_of(TrainingRequest)
def train(request: TrainingRequest) -> Trained:
    """Train a network with a recipe, as ``bamsearch train`` does.

    After Ctrl-C, output has a checkpoint, and the same call or resume=True continues.

    Returns:
        The trained network, its validation accuracy and the metrics of each epoch.

    Raises:
        InvalidValueError: resume without output, or an option out of range.
        KeyboardInterrupt: Ctrl-C.
        BamsearchError: see :func:`bamsearch.training.request.plan_training` and
            :func:`bamsearch.training.engine.train`.
    """
    view = request.follower
    source = request.output if request.resume else request.network
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the network"
    with view.work(f"loading {name} and its data"):
        plan = plan_training(request)
    view.plan(plan, None)
    if request.dry_run:
        return Trained(plan.initial.module, plan.initial.design, (), 0, len(plan.data.validation))
    with view.train(f"training {plan.design.model}", plan.recipe) as watch:

        def follow(progress: Progress) -> None:
            for each in (watch, request.callback):
                if each is not None:
                    each(progress)

        return engine.train(plan, plan.folder, resume=plan.resumes, watch=follow)
