"""Builds the networks of a search's designs; the shared base is built and traced once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from bamsearch.graph.bams import fork_rng, initialise_bams, refuse_bam
from bamsearch.graph.base import Base, build_base
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.profiling.devices import resolve_device
from bamsearch.records import Design, ModelSummary
from bamsearch.score.batch import Batch, make_batch

T = TypeVar("T")


class Networks:
    """Builds the networks of designs of one model; the base is built and traced once.

    All networks have the same base weights, and the weights of a BAM depend only on the seed, its
    site and its hidden width. Designs that share a BAM share its weights, so their scores differ
    only by what differs between the designs.

    Args:
        summary: summary of the model.
        module: base network, which is copied; None builds the summary's model.
        seed: random seed of the weights.
        num_classes: classes of the head; None is the model's default.
        device: device of the networks.

    Raises:
        ModelError: the model cannot be built or traced, or has BAM already.
        DeviceError: no such device.
    """

    def __init__(
        self,
        summary: ModelSummary,
        *,
        module: nn.Module | None = None,
        seed: int = 0,
        num_classes: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = resolve_device(device)
        self.seed = seed
        self._summary = summary
        with fork_rng(seed):
            base = (
                build_base(Design(summary.model, summary.input_shape, num_classes=num_classes))
                if module is None
                else Base(copy_model(module), summary.input_shape)
            )
            refuse_bam(base.module)
            self._base = replace(base, module=base.module.to(self.device))
            self._base.network  # noqa: B018 - traced here, so an error comes at once

    def share_weights(self) -> None:
        """Let all later networks share the base's weights instead of copying them.

        Copying takes most of the time of an insertion. The shared weights must not be written to.
        """
        shared: dict[int, nn.Parameter] = {}
        for owner in self._base.module.modules():
            for name, value in owner._parameters.items():
                if value is not None:
                    new = _Shared(value.detach(), requires_grad=value.requires_grad)
                    owner._parameters[name] = shared.setdefault(id(value), new)

    def network(self, design: Design) -> nn.Module:
        """Build the network of a design, in the mode of the base.

        Raises:
            InvalidValueError: the model has no such site.
            ModelError: BAM cannot be inserted there.
        """
        with fork_rng():
            built = self._base.insert(design).module
            initialise_bams(built, design, self.seed)
        return built

    def batch(self, size: int) -> Batch:
        """Random images for the scored part, see :attr:`ModelSummary.part`."""
        like = next((p for p in self._base.module.parameters() if p.is_floating_point()), None)
        dtype = torch.float32 if like is None else like.dtype
        with fork_rng():
            return make_batch(self._summary.part_input, size, self.seed, self.device, dtype)

    def seeded(self, function: Callable[[], T]) -> Callable[[], T]:
        """Wrap a function to run with torch's generators seeded, restoring their state after."""

        def call() -> T:
            with preserve_torch_state(self.device, torch.get_num_threads()):
                torch.default_generator.manual_seed(self.seed)
                if self.device.type != "cpu":
                    getattr(torch, self.device.type).manual_seed(self.seed)
                return function()

        return call


class _Shared(nn.Parameter):
    """A weight that deep copies of a network share."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self
