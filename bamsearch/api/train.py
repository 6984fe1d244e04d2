"""The public function ``train``."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.errors import InvalidValueError
from bamsearch.records import Design
from bamsearch.records.arguments import checked
from bamsearch.training.progress import Progress as TrainingProgress
from bamsearch.training.recipe import DEFAULT_RECIPE, find_recipe

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.data.datasets import Datasets
    from bamsearch.training.engine import Trained
else:
    Datasets = Any  # checked when the data are opened, so that this module does not load torch


@checked
def train(
    network: str | os.PathLike[str] | Design | nn.Module,
    data: str | Datasets,
    *,
    output: str | os.PathLike[str] | None = None,
    device: str = "auto",
    resume: bool = False,
    callback: Callable[[TrainingProgress], None] | None = None,
    **options: Any,
) -> Trained:
    """Train a network with a recipe, as ``bamsearch train`` does.

    Args:
        network: a design, its file or folder, a run, a MODEL, or a module, of which a copy is
            trained.
        data: the data, as in :func:`search`.
        output: folder of the training; None keeps nothing on disk.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        resume: continue the training in output; other options may be left out.
        callback: called with the progress every few steps and after every epoch.
        options: fields of :class:`bamsearch.training.request.TrainingRequest`, such as recipe,
            epochs, batch_size, lr, precision, weights and seed.

    Returns:
        The trained network, its validation accuracy and the metrics of each epoch.

    Raises:
        InvalidValueError: resume without output, or an option out of range.
        BamsearchError: see :func:`bamsearch.training.engine.train`.
    """
    from torch import nn

    from bamsearch.training.engine import train as run
    from bamsearch.training.folder import TrainingFolder
    from bamsearch.training.request import TrainingRequest, load_for, plan_resumed, plan_training

    if resume and output is None:
        raise InvalidValueError("resume=True needs output: the folder of the training")
    folder = None if output is None else TrainingFolder(Path(output), command="bamsearch.train")
    start = partial(run, device=device, output=folder, resume=resume, watch=callback)
    if isinstance(network, nn.Module):
        request = checked(TrainingRequest)(None, data, **options)
        images = load_for(data, None, request.download, value_range=request.value_range)
        recipe = request.changed(find_recipe(request.recipe or DEFAULT_RECIPE))
        return start(network, images, recipe, seed=request.seed or 0)
    named = network if isinstance(network, Design) else os.fspath(network)
    request = checked(TrainingRequest)(named, data, **options)
    resumed = plan_resumed(request, folder) if resume and folder is not None else None
    planned = resumed or plan_training(request)
    return start(planned.initial, planned.data, planned.recipe, seed=planned.seed)
