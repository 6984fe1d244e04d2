"""Search spaces as TOML files: the sites, reductions and dilations of a search.

A file::

    name = "stages"              # name in reports
    description = "…"            # one line
    sites = "stages"             # a placement, or names of sites; "layer3.*" matches several
    reductions = [4, 8, 16, 32]
    dilations = [1, 2, 4, 6]
    together = false             # true: one r and one d for all sites
    optional = true              # false: every site has BAM

    [at."layer3"]                # values for a single site; wildcards are allowed here too
    reductions = [8, 16]
    optional = false
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from bamsearch.errors import NoSiteError, SpaceError
from bamsearch.graph.placement import PLACEMENTS, place
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import Init, ModelSummary, Site, Variant
from bamsearch.records.formats import read_bytes
from bamsearch.records.hints import Misfit, shown
from bamsearch.space.choices import SearchSpace, make_choice

SHIPPED = ("stages", "bottlenecks", "paper", "blocks", "mobile")
"""The built-in spaces, the default first."""

_OPTIONAL = {"description": "", "together": False, "optional": True, "at": {}}
_MOST = 10**9
_MOST_BYTES = 1 << 20
_LISTS = ("reductions", "dilations")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class SiteRule:
    """The options at a site.

    Attributes:
        reductions: values of r.
        dilations: values of d.
        optional: whether the site may have no BAM.
    """

    reductions: tuple[int, ...]
    dilations: tuple[int, ...]
    optional: bool = True


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """The content of a space file, which does not depend on a model.

    Attributes:
        name: name in reports.
        description: one line.
        sites: placement, or patterns of site names.
        rule: options at all sites.
        together: whether all sites share one r and one d.
        at: patterns of site names, with the options there; the first match counts.
    """

    name: str
    description: str
    sites: str | tuple[str, ...]
    rule: SiteRule
    together: bool = False
    at: tuple[tuple[str, SiteRule], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The file's content, as :func:`parse_space` takes it."""
        content = {"name": self.name, "description": self.description, "sites": self.sites}
        at = {pattern: asdict(rule) for pattern, rule in self.at}
        return content | asdict(self.rule) | {"together": self.together, "at": at}


def shipped_spaces() -> list[SpaceFile]:
    """The built-in spaces."""
    return [read_space(name) for name in SHIPPED]


def read_space(name: str) -> SpaceFile:
    """Read a space by its name, or from a file.

    Raises:
        SpaceError: no such space or file, or an invalid file; the message names the key.
    """
    path = Path(name)
    if name in SHIPPED:
        # In the wheel, or beside the package in a checkout.
        packaged = Path(str(files("bamsearch"))) / "search_spaces"
        checkout = Path(__file__).parents[2] / "search_spaces"
        path = (packaged if packaged.is_dir() else checkout) / f"{name}.toml"
    elif path.suffix != ".toml":
        near = get_close_matches(name, SHIPPED, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(SHIPPED)}"
        raise SpaceError(f"no space is called {name!r:.200}: {hint}; a space file ends in .toml")
    try:
        content = tomllib.loads(read_bytes(path, _MOST_BYTES).decode())
    except Misfit as error:
        raise SpaceError(f"{path} {error}, which is not a space") from error
    except OSError as error:
        raise SpaceError(
            f"{path} cannot be read ({error.strerror}): 'bamsearch spaces' lists built-in spaces"
        ) from error
    except (ValueError, RecursionError) as error:
        # Invalid TOML, invalid UTF-8 and integers with too many digits are all ValueErrors.
        raise SpaceError(f"{path} is not a TOML file: {error}") from error
    return parse_space(content, str(path))


def parse_space(content: Mapping[str, Any], source: str) -> SpaceFile:
    """Check the content of a space file.

    Args:
        content: content of the file.
        source: name of the file in errors.

    Raises:
        SpaceError: with the path of the key: ``mine.toml: at.layer3.reductions[1]: …``.
    """
    table, where = {**_OPTIONAL, **content}, f"{source}: "
    _check_keys(table, ("name", "sites", *_LISTS, *_OPTIONAL), where)
    name, description = (_typed(table[key], str, where + key) for key in ("name", "description"))
    if not name:
        raise SpaceError(f"{where}name: must not be empty")
    rule = _rule(table, where)
    together, at = _typed(table["together"], bool, f"{where}together"), table["at"]
    if not isinstance(at, dict):
        raise SpaceError(f"{where}at: must be tables such as [at.layer3], not {at!r:.200}")
    if together and at:
        raise SpaceError(f"{where}at: cannot be combined with together = true")
    rules = []
    for pattern, values in at.items():
        key = f"{where}at.{pattern:.100}"
        if not isinstance(values, dict):
            raise SpaceError(f"{key}: must be a table, not {values!r:.200}")
        merged = {key: table[key] for key in (*_LISTS, "optional")} | values
        _check_keys(merged, (*_LISTS, "optional"), f"{key}.")
        rules.append((pattern, _rule(merged, f"{key}.")))
    sites = _sites(table["sites"], f"{where}sites")
    return SpaceFile(name, description, sites, rule, together, tuple(rules))


def search_space(
    space: SpaceFile,
    summary: ModelSummary,
    *,
    with_stem: bool = False,
    variant: Variant = "paper",
    init: Init = "paper",
    num_classes: int | None = None,
) -> SearchSpace:
    """The search space of one model.

    Args:
        space: space from :func:`read_space`.
        summary: summary of the model.
        with_stem: add the stem.
        variant: variant of BAM.
        init: initialisation of BAM.
        num_classes: classes of the head.

    Raises:
        NoSiteError: no site of the model is in the space.
        SpaceError: a pattern matches no site.
    """
    sites = _chosen(space, summary, with_stem=with_stem)
    costs = DesignCosts(summary, variant=variant, init=init)
    choices = []
    for group in [sites] if space.together else [[site] for site in sites]:
        matching = (rule for pattern, rule in space.at if fnmatchcase(group[0].name, pattern))
        rule = next(matching, space.rule)
        pairs = product(rule.reductions, rule.dilations)
        choices.append(make_choice(group, pairs, costs, optional=rule.optional))
    return SearchSpace(space.name, summary, tuple(choices), variant, init, num_classes)


def _chosen(space: SpaceFile, summary: ModelSummary, *, with_stem: bool) -> list[Site]:
    """The model's sites in the space, in network order."""
    if isinstance(space.sites, str):
        try:
            names = {site.name for site in place(summary.sites, space.sites)}
        except NoSiteError as error:
            if not with_stem or not summary.sites:
                raise NoSiteError(f"{summary.model}, space {space.name}: {error}") from None
            names = set()
    else:
        names = {name for pattern in space.sites for name in _matching(pattern, space, summary)}
    if with_stem:
        names |= {site.name for site in summary.sites if site.kind == "stem"}
    for pattern, _ in space.at:
        if not names & _matching(pattern, space, summary):
            raise SpaceError(f"space {space.name}: at.{pattern}: no such site in the space")
    return [site for site in summary.sites if site.name in names]


def _matching(pattern: str, space: SpaceFile, summary: ModelSummary) -> set[str]:
    names = [site.name for site in summary.sites]
    # Wildcards do not match decoder sites.
    matching = {
        site.name
        for site in summary.sites
        if site.name == pattern or (site.kind != "neck" and fnmatchcase(site.name, pattern))
    }
    if not matching:
        near = get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
        raise SpaceError(
            f"space {space.name} names {pattern!r}, but {summary.model} has no such site: "
            f"did you mean {', '.join(near)}? 'bamsearch sites {summary.model}' lists all"
        )
    return matching


def _check_keys(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(keys)}"
            raise SpaceError(f"{where}{key:.100}: unknown key: {hint}")
    missing = next((key for key in keys if key not in table), None)
    if missing is not None:
        raise SpaceError(f"{where}{missing}: is missing")


def _rule(table: Mapping[str, Any], where: str) -> SiteRule:
    reductions, dilations = (_numbers(table[key], where + key) for key in _LISTS)
    return SiteRule(reductions, dilations, _typed(table["optional"], bool, f"{where}optional"))


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise SpaceError(f"{where}: must be a list such as [4, 8, 16], not {value!r:.200}")
    for index, number in enumerate(value):
        if type(number) is not int or not 1 <= number <= _MOST:
            limit = "at least 1" if type(number) is not int or number < 1 else f"at most {_MOST}"
            raise SpaceError(
                f"{where}[{index}]: must be an integer of {limit}, not {shown(number)}"
            )
    if len(set(value)) != len(value):
        raise SpaceError(f"{where}: repeats a value: {value!r:.200}")
    return tuple(value)


def _typed(value: Any, kind: type[_Value], where: str) -> _Value:
    if not isinstance(value, kind):
        expected = "true or false" if kind is bool else "text"
        raise SpaceError(f"{where}: must be {expected}, not {value!r:.200}")
    return value


def _sites(value: Any, where: str) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if value not in PLACEMENTS:
            raise SpaceError(
                f"{where}: {value!r:.200} is not one of {', '.join(PLACEMENTS)}; "
                f'give names of sites as a list: ["{value:.100}"]'
            )
        return value
    if not isinstance(value, list | tuple) or not value:
        raise SpaceError(f"{where}: must be a placement or a list of names, not {value!r:.200}")
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise SpaceError(f"{where}[{index}]: must be a site's name, not {name!r:.200}")
    return tuple(value)
