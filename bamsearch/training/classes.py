"""Loss and accuracy of a classifier's output."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from bamsearch.errors import DesignError, ModelError, NothingToDoError, first_line
from bamsearch.records import DataFacts
from bamsearch.text import size_text

AUXILIARY_WEIGHT = 0.3
"""Loss weight of auxiliary heads: GoogLeNet's and Inception's in train mode (arXiv 1409.4842)."""

OWN_LOOP = "see 'Your own training loop' in the README"


def class_scores(output: object) -> list[Tensor]:
    """The logits (N, K) in a network's output: the main head's, then those of auxiliary heads."""
    if isinstance(output, dict | list):
        return []
    leaves = pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() == 2]


def total_loss(output: object, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over images, plus that of auxiliary heads times their weight."""
    main, *auxiliary = (
        F.cross_entropy(scores.float(), labels, reduction="sum", label_smoothing=smoothing)
        for scores in class_scores(output)
    )
    return main + AUXILIARY_WEIGHT * sum(auxiliary, torch.zeros_like(main))


def right(output: object, labels: Tensor) -> Tensor:
    """Number of correctly classified images, as a scalar tensor."""
    return correct(output, labels).sum()


def correct(output: object, labels: Tensor) -> Tensor:
    """Whether each image is classified correctly, (N,) bool."""
    return class_scores(output)[0].argmax(1) == labels


def check_gives_classes(module: nn.Module, name: str, facts: DataFacts) -> None:
    """Raise an error unless the network outputs one score per class of the data.

    Its mode, parameters and buffers are preserved; messages call it by its name.

    Raises:
        NothingToDoError: it outputs something else, such as boxes.
        ModelError: it does not accept these images.
        DesignError: it has another number of classes.
    """
    like = next(module.parameters())
    images = torch.zeros(2, *facts.input_shape, device=like.device, dtype=like.dtype)
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            output = module(images)
    except Exception as error:  # A user's forward can raise any exception.
        size = size_text(facts.input_shape)
        raise ModelError(f"{name} does not accept images of {size}: {first_line(error)}") from error
    finally:
        module.train(was)
    scores = class_scores(output)
    if not scores or len(scores[0]) != 2:
        raise NothingToDoError(
            f"{name} does not output one score per class, so it is not a classifier: {OWN_LOOP}"
        )
    if scores[0].shape[1] != facts.classes:
        raise DesignError(
            f"{name} has {scores[0].shape[1]} classes, but {facts.name} has {facts.classes}: "
            f"create a matching design with 'bamsearch insert {name} --data {facts.name} -o DIR'"
        )
