"""A trained supernet, and how it is found again on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from bamsearch.errors import BamsearchError, TrainingError, WeightsError
from bamsearch.graph.designs import WEIGHTS_FILE, build
from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.plan import KIND
from bamsearch.score.supernet.space import SlotSpace
from bamsearch.training.about import ABOUT, FACTS_FILE, About
from bamsearch.training.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Supernet:
    """A network that shares its weights among all designs of a space, after its training.

    Attributes:
        network: chooses a design, or copies one out: ``supernet.network.standalone(design)``.
        options: how it was trained, and is scored.
        recipe: likewise.
        seed: of everything random.
        mean: taken from the pixels in 0..1, one number a channel.
        std: what they are then divided by.
        data_hash: of the data, see :class:`bamsearch.records.DataFacts`.
    """

    network: SlotNetwork
    options: SupernetOptions
    recipe: Recipe
    seed: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_hash: str


def load_supernet(folder: str | os.PathLike[str], *, base: nn.Module | None = None) -> Supernet:
    """The supernet that a folder holds, in eval mode, on the CPU.

    Args:
        folder: of :func:`bamsearch.score.supernet.train.train_supernet`.
        base: the network without BAM, for a supernet of a module of the caller's; None builds it
            by the name of its model.

    Raises:
        TrainingError: no supernet is there, or its training has not come to its end.
        WeightsError: weights that are not its own.
        ModelError: the model cannot be built.
    """
    place = Path(folder)
    about = _read(place)
    weights = place / WEIGHTS_FILE
    if not weights.is_file():
        raise TrainingError(f"{place} holds a supernet whose training has not ended: go on with it")
    try:
        space = SlotSpace.from_dict(about["task"])
        options = SupernetOptions.from_dict(about["task"].get("options"))
        recipe = Recipe.from_dict(about["recipe"])
    except BamsearchError as error:
        raise TrainingError(f"{place / FACTS_FILE} cannot be read ({error}): train anew") from error
    module = build(space.base) if base is None else base
    network = SlotNetwork(space, module, options.share, about["seed"])
    try:
        load_model(network.module, weights, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise WeightsError(f"{weights} is not the weights of this supernet: {reason}") from error
    network.module.eval()
    pixels = tuple(about["mean"]), tuple(about["std"])
    return Supernet(network, options, recipe, about["seed"], *pixels, about["data"]["hash"])


def _read(folder: Path) -> About:
    with suppress(OSError, TrainingError):
        about = ABOUT.read(folder / FACTS_FILE)
        if about.get("task", {}).get("kind") == KIND:
            return about
    raise TrainingError(f"no supernet in {folder}: train one there")
