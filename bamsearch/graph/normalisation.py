"""Normalisation of a MODEL's input, as used to train its published weights."""

from __future__ import annotations

import importlib

from bamsearch.graph.models import default_input_shape, published_weights, split_model

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalisation(
    model: str, weights: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per RGB channel, for pixels in 0..1, that a MODEL expects.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        weights: name of torchvision's published weights; None is the default.

    Returns:
        The values of torchvision or timm; ImageNet's for factories. Detectors normalise inside:
        means of 0 and deviations of 1.

    Raises:
        ModelError, WeightsError: unknown model or weights.
    """
    default_input_shape(model)  # raises ModelError for an unknown model
    source, name = split_model(model)
    if source == "torchvision":
        transforms = published_weights(name, weights or "DEFAULT").transforms()
        if not hasattr(transforms, "mean"):
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return tuple(transforms.mean), tuple(transforms.std)
    if source == "timm":
        config = importlib.import_module("timm").get_pretrained_cfg(name)
        return tuple(config.mean), tuple(config.std)
    return IMAGENET_MEAN, IMAGENET_STD
