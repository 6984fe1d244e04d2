"""The base of a design: a network without BAM, traced at most once, that takes BAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from bamsearch.errors import BamsearchError, ModelError, first_line
from bamsearch.graph.bams import Bams, attach, fork_rng, make_bams
from bamsearch.graph.checking import LARGEST_RUN, Check, ComparedBy
from bamsearch.graph.models import base_model, published
from bamsearch.graph.network import FeatureNetwork, find_network
from bamsearch.graph.placement import place
from bamsearch.graph.rewrite import rewrite
from bamsearch.graph.sites import sites_of
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.records import Design, How, Site
from bamsearch.records.sources import user_code


@dataclass(frozen=True, slots=True, eq=False)
class Inserted:
    """A network with BAM, and the method of its insertion.

    Attributes:
        module: the network.
        how: ``rewrite`` or ``attach``; the requested value if the design has no BAM.
        why: the reason for attaching instead of rewriting, if ``auto`` did so.
        compared: the properties compared with the base; None if nothing was run.
    """

    module: nn.Module
    how: How
    why: str | None = None
    compared: ComparedBy | None = None


_MOST_TRACED = 8
_TRACED: dict[tuple[object, ...] | None, tuple[FeatureNetwork, tuple[Site, ...]]] = {}
# Tracing and probing resnet20 takes 0.8 s, most of a short training's start.


@dataclass(frozen=True, eq=False)
class Base:
    """A network without BAM.

    Attributes:
        module: the network, which is never changed.
        input_shape: shape of one input without the batch.
        example_inputs: see :func:`bamsearch.find_sites`.
        known_sites: its sites, if a summary has them.
        key: identity of a MODEL, whose graph and sites are traced once; None for other modules.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    example_inputs: Any = None
    known_sites: tuple[Site, ...] | None = None
    key: tuple[object, ...] | None = None

    @cached_property
    def network(self) -> FeatureNetwork:
        """The feature network."""
        if self.key in _TRACED:
            traced, _ = _TRACED[self.key]
            return replace(traced, module=self.module.get_submodule(traced.path))
        return find_network(self.module, self.input_shape, self.example_inputs)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """All sites, in network order; raises ModelError as :attr:`network`."""
        if self.known_sites is not None:
            return self.known_sites
        if self.key in _TRACED:
            return _TRACED[self.key][1]
        sites = tuple(sites_of(self.network))
        # A recording holds tensors of its run.
        if self.key is not None and self.network.recording is None:
            if len(_TRACED) >= _MOST_TRACED:
                del _TRACED[next(iter(_TRACED))]
            _TRACED[self.key] = replace(self.network, module=nn.Identity()), sites
        return sites

    def insert(self, design: Design, *, check: bool = False) -> Inserted:
        """Insert BAM into a copy by the method that the design names.

        Args:
            design: the BAMs and the method; its model and input_shape are ignored.
            check: run base and result and compare them; False accepts the first method without an
                error.
        """
        if not design.insertions:
            return Inserted(copy_model(self.module), design.how)
        chosen = place(self.sites, [insertion.site for insertion in design.insertions])
        bams = make_bams(self.network.module, chosen, design)
        comparison = None
        if check:
            shape, example = self.input_shape, self.example_inputs
            comparison = Check(self.module, self.network, self.sites, shape, example)
        reasons: dict[How, str] = {}
        methods: tuple[How, ...] = ("rewrite", "attach") if design.how == "auto" else (design.how,)
        for how in methods:
            try:
                module = self._insert(chosen, bams, how)
                compared = comparison.compare(module) if comparison else None
            except ModelError as error:
                reasons[how] = str(error)
            else:
                return Inserted(module, how, reasons.get("rewrite"), compared)
        why = "; ".join(f"{how}: {reason}" for how, reason in reasons.items())
        raise ModelError(f"{type(self.module).__name__} cannot take BAM at these sites ({why})")

    def _insert(self, chosen: Sequence[Site], bams: Bams, how: How) -> nn.Module:
        """A copy of the model with the BAMs inserted."""
        result = copy_model(self.module)
        part = result.get_submodule(self.network.path)
        prefix = f"{self.network.path}." if self.network.path else ""
        names = [site.name.removeprefix(prefix) for site in chosen]
        if how == "attach":
            attach(part, self.network.deep, names, chosen, bams)
            return result
        try:
            rewritten = rewrite(part, names, chosen, bams)
        except BamsearchError:
            raise
        except Exception as error:  # torch.fx fails in many ways on unusual code
            reason = first_line(error)[:150]
            raise ModelError(f"torch.fx cannot rewrite it: {reason}") from error
        if not self.network.path:
            return rewritten
        result.set_submodule(self.network.path, rewritten)
        return result


def base_to_examine(design: Design) -> Base:
    """A newly built base that can be traced, counted and checked; keeps torch's random state.

    A network that is published as too large for a check with values has uninitialised weights.
    """
    numbers = published(design.model)
    runs = numbers is None or numbers.params <= LARGEST_RUN
    with fork_rng():
        return build_base(design, initialise=runs)


def build_base(design: Design, *, initialise: bool = True) -> Base:
    """Build the base of a design, see :func:`bamsearch.graph.models.build_model`."""
    module = base_model(design, initialise=initialise)
    # The imports of the user's code may change, in a notebook for instance.
    if user_code(design.model) is not None:
        return Base(module, design.input_shape)
    # With the parameters, which arguments of the builder alone need not determine.
    parameters = tuple((name, tuple(value.shape)) for name, value in module.named_parameters())
    key = (design.model, design.input_shape, design.num_classes, design.weights, parameters)
    return Base(module, design.input_shape, key=key)
