"""The network of a supernet: a base with a slot at each site of a space."""

from __future__ import annotations

from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError
from bamsearch.graph.bams import refuse_bam
from bamsearch.graph.initial import initialise_bams, undisturbed
from bamsearch.graph.insertion import insert
from bamsearch.graph.network import find_network
from bamsearch.graph.sites import sites_of
from bamsearch.records import Design
from bamsearch.score.supernet.options import Share
from bamsearch.score.supernet.slot import Slot
from bamsearch.score.supernet.space import SlotSpace

_SAME = ("model", "input_shape", "variant", "init")


class SlotNetwork:
    """All designs of a space in one module; at first it is the base.

    Args:
        space: what it can become.
        base: the network without BAM, which is kept and not changed.
        share: which weights the designs have in common at a site.
        seed: of BAM's weights.

    Attributes:
        space: what it can become.
        module: computes the design that was chosen last.

    Raises:
        InvalidValueError: a site that the model does not have.
        ModelError: it has BAM already, cannot be traced, or takes no BAM there.
    """

    def __init__(
        self, space: SlotSpace, base: nn.Module, share: Share = "width", seed: int = 0
    ) -> None:
        refuse_bam(base)
        self.space = space
        self._base = base
        self._slots: dict[str, Slot] = {}
        self._paths: list[str] = []
        widest = space.widest()
        with undisturbed():
            self._found = find_network(base, space.base.input_shape)
            self._sites = sites_of(self._found)
            self.module = insert(base, self._found, self._sites, widest)
            initialise_bams(self.module, widest, seed)
            by_name = {site.name: site for site in self._sites}
            for (name, rule), (path, bam) in zip(
                space.sites.items(), _bams(self.module), strict=True
            ):
                self._slots[name] = Slot(by_name[name], bam, rule, share, seed)
                self.module.set_submodule(path, self._slots[name])
                self._paths.append(path)

    @property
    def fresh(self) -> frozenset[str]:
        """Names of the parameters that the base has not."""
        names = (name for name, _ in self.module.named_parameters())
        return frozenset(name for name in names if self._in_slot(name))

    def choose(self, design: Design) -> None:
        """Let the module compute a design.

        Raises:
            InvalidValueError: as :meth:`check`; what was chosen before stays so.
        """
        self.check(design)
        chosen = {one.site: one for one in design.insertions}
        for name, slot in self._slots.items():
            slot.chosen = chosen.get(name)

    def check(self, design: Design) -> None:
        """Raise InvalidValueError for another base, a site without a slot, or an r or d beyond it.

        With ``share="width"`` each r and d between those of the space is within.
        """
        for name in _SAME:
            ours, theirs = getattr(self.space.base, name), getattr(design, name)
            if ours != theirs:
                raise InvalidValueError(
                    f"the supernet has {name} {ours}, and the design {theirs}: train one for it"
                )
        for one in design.insertions:
            if one.site not in self._slots:
                raise InvalidValueError(
                    f"the supernet has no slot at {one.site}: it has {', '.join(self._slots)}"
                )
            self._slots[one.site].check(one)

    def standalone(self, design: Design) -> nn.Module:
        """The ordinary network of a design, as :func:`bamsearch.build` makes it, with our weights.

        Nothing is shared with the supernet. The batch norms' statistics are those that all designs
        have moved: recalibrate them (:func:`bamsearch.score.supernet.scoring.recalibrate`).

        Returns:
            The network on the supernet's device, in the base's mode.

        Raises:
            InvalidValueError: as :meth:`check`.
        """
        self.check(design)
        with undisturbed():
            built = insert(self._base, self._found, self._sites, design)
        held = self.module.state_dict()
        state = {name: value for name, value in held.items() if not self._in_slot(name)}
        for one, (path, _) in zip(design.insertions, _bams(built), strict=True):
            tensors = self._slots[one.site].tensors(one)
            state.update({f"{path}.{name}": value for name, value in tensors.items()})
        built.load_state_dict(state, strict=True)
        return built.to(_device_of(held))

    def _in_slot(self, name: str) -> bool:
        return name.startswith(tuple(f"{path}." for path in self._paths))


def _bams(module: nn.Module) -> list[tuple[str, BAM]]:
    """All BAMs with their paths, in the order in which a design has named them."""
    return [(path, layer) for path, layer in module.named_modules() if isinstance(layer, BAM)]


def _device_of(state: dict[str, Tensor]) -> str:
    return str(next(iter(state.values())).device)
