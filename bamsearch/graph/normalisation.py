"""How the pixels of a MODEL's input are normalised: as its published weights were trained."""

from __future__ import annotations

import importlib

from bamsearch.graph.models import default_input_shape, published_weights, split_model

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalisation(
    model: str, weights: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of red, green and blue in 0..1 that a MODEL expects.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        weights: name of published weights of torchvision; None is the default ones.

    Returns:
        What torchvision or timm publishes; ImageNet's for factories. Detectors normalise inside:
        means of 0 and deviations of 1.

    Raises:
        ModelError, WeightsError: no such model, or no such weights.
    """
    default_input_shape(model)  # raises where there is no such model
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
