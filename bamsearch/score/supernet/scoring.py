"""A supernet as a score: what a design reaches with the shared weights, on validation images.

Everything happens on a copy of the design's network, so that the shared weights and statistics are
as they were, and the order of scores changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice

import torch

from bamsearch.data.splits import Data
from bamsearch.errors import DataError, DivergedError
from bamsearch.profile.conditions import caller_kept
from bamsearch.profile.devices import resolve_device
from bamsearch.records import Design
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.statistics import recalibrate
from bamsearch.score.supernet.trained import Supernet
from bamsearch.training.fabric import make_fabric
from bamsearch.training.loop import Live, evaluate, take_step
from bamsearch.training.parts import Batch, training_batches
from bamsearch.training.run import make_live
from bamsearch.training.start import Start


def supernet_scorer(
    supernet: Supernet,
    data: Data,
    *,
    options: SupernetOptions | None = None,
    device: str = "auto",
) -> Callable[[Design], float]:
    """Make a trained supernet a function of its designs; higher is better.

    A copy of the design's network is fine-tuned, where the options say so, gets the statistics of
    its batch norms from training images, and classifies the validation images. On a CPU with one
    thread a design has the same score whenever and after whatever it is scored; on a GPU its last
    digits can differ. The caller's random state is left as it was.

    Args:
        supernet: is not changed.
        data: the data that it was trained on.
        options: whose ``recalibration``, ``fine_tune`` and ``fine_tune_lr`` are taken; None: those
            that it was trained with.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The function: validation accuracy in per cent, 0..100. It raises InvalidValueError for a
        design that the supernet has not, and DivergedError where the fine-tuning gives no number.

    Raises:
        DataError: other data.
        DeviceError: no such device.
    """
    if data.facts.hash != supernet.data_hash:
        raise DataError(
            f"the supernet was trained on data with hash {supernet.data_hash}, and "
            f"{data.facts.name} has {data.facts.hash}: give the same data"
        )
    where = resolve_device(device)
    chosen = supernet.options if options is None else options

    # At one rate, that of the fine-tuning.
    recipe = replace(
        supernet.recipe,
        lr=chosen.fine_tune_lr,
        schedule="step",
        milestones=(),
        warmup=0.0,
        new_lr_factor=1.0,
    )

    def score(design: Design) -> float:
        with caller_kept(where, torch.get_num_threads()):
            start = Start(design, supernet.network.standalone(design), supernet.mean, supernet.std)
            # A new one each time: the scaler of 16-mixed remembers.
            fabric, scaler = make_fabric(device, recipe)
            live = make_live(start, data, recipe, supernet.seed, fabric, scaler, None)
            _fine_tune(live, chosen.fine_tune)
            recalibrate(live, chosen.recalibration)
            _, hits = evaluate(live, data.validation)
        return 100 * hits / len(data.validation)

    return score


def _fine_tune(live: Live, steps: int) -> None:
    """Take steps on the epochs after those of the supernet's training."""
    live.module.train()
    for epoch, step, batch in islice(_later_batches(live), steps):
        loss = take_step(live, epoch, step, batch)[0]
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss.item()} in step {step + 1} of a fine-tuning at a learning rate "
                f"of {live.recipe.lr:.4g}: give a lower one"
            )


def _later_batches(live: Live) -> Iterator[tuple[int, int, Batch]]:
    for epoch in count(live.recipe.epochs):
        batches = training_batches(
            live.data.train,
            live.recipe.batch_size,
            seed=live.seed,
            epoch=epoch,
            device=live.fabric.device,
        )
        for step, batch in enumerate(batches):
            yield epoch, step, batch
