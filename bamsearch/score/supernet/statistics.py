"""The batch norms' statistics of one design, where those at hand are of all designs together."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn

from bamsearch.score.weights import use_batch_statistics
from bamsearch.training.loop import Live
from bamsearch.training.parts import training_batches


def recalibrate(live: Live, batches: int) -> None:
    """Give every batch norm of a network, BAM's too, new statistics from training images.

    They are the mean over the batches of what each batch has, all batches counting the same. The
    images are not augmented, as those that are classified later are not; dropout is off.

    Args:
        live: its network is changed, and left in eval mode.
        batches: the first so many of the first epoch, at most all of it.
    """
    found = training_batches(
        live.data.train,
        live.recipe.batch_size,
        seed=live.seed,
        epoch=0,
        device=live.fabric.device,
    )
    use_batch_statistics(live.module)
    norms = [
        layer
        for layer in live.module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    with torch.no_grad(), live.fabric.autocast():
        for images, _ in islice(found, batches):
            live.module(live.normalise(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    live.module.eval()
