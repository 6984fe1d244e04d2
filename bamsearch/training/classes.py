"""What a network says of images: the loss of it, and how many it gets right."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from bamsearch.errors import DesignError, ModelError, NothingToDoError
from bamsearch.records import DataFacts

AUXILIARY_WEIGHT = 0.3
"""Weight of an auxiliary head's loss: GoogLeNet's and Inception's in train mode (arXiv 1409.4842).
"""

OWN_LOOP = "the README, 'Your own training loop', shows how it is trained"


def class_scores(output: object) -> list[Tensor]:
    """The logits (N, K) in a network's output: the main head's, then those of auxiliary heads.

    Args:
        output: a tensor, or a tuple of them; anything else has none.
    """
    if isinstance(output, dict | list):
        return []
    leaves = pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() == 2]


def total_loss(output: object, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over images, with auxiliary heads at their weight.

    Args:
        output: what the network returned.
        labels: (N,) int64.
        smoothing: share of the target that goes to all classes evenly.
    """
    main, *auxiliary = (
        F.cross_entropy(scores.float(), labels, reduction="sum", label_smoothing=smoothing)
        for scores in class_scores(output)
    )
    return main + AUXILIARY_WEIGHT * sum(auxiliary, torch.zeros_like(main))


def right(output: object, labels: Tensor) -> Tensor:
    """How many images have their label's score as the highest, a tensor of no axes."""
    return correct(output, labels).sum()


def correct(output: object, labels: Tensor) -> Tensor:
    """Whether each image has its label's score as the highest, (N,) bool."""
    return class_scores(output)[0].argmax(1) == labels


def check_gives_classes(module: nn.Module, name: str, facts: DataFacts) -> None:
    """Raise an error unless the network gives each image a score for each class of the data.

    Args:
        module: the network; its mode is left as it was, its parameters and buffers too.
        name: what to call it.
        facts: of the data.

    Raises:
        NothingToDoError: it gives something else, such as boxes.
        ModelError: it does not take such images.
        DesignError: it has other classes.
    """
    like = next(module.parameters())
    images = torch.zeros(2, *facts.input_shape, device=like.device, dtype=like.dtype)
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            output = module(images)
    except Exception as error:  # A user's forward can raise anything at all.
        size = "x".join(map(str, facts.input_shape))
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name} does not take images of {size}: {reason}") from error
    finally:
        module.train(was)
    scores = class_scores(output)
    if not scores or len(scores[0]) != 2:
        raise NothingToDoError(
            f"{name} gives no score for each class, so it is no classifier: {OWN_LOOP}"
        )
    if scores[0].shape[1] != facts.classes:
        raise DesignError(
            f"{name} has {scores[0].shape[1]} classes, and {facts.name} has {facts.classes}: "
            f"'bamsearch insert {name} --data {facts.name} -o DIR' makes a design that fits"
        )
