"""Spaces as TOML files: what they may say, what is said of mistakes, what a model makes of them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pytest

from bamsearch.errors import NoSiteError, SpaceError
from bamsearch.records import Cost, ModelSummary, Site
from bamsearch.space.space import (
    SHIPPED,
    SiteRule,
    SpaceFile,
    parse_space,
    read_space,
    search_space,
    shipped_spaces,
)

GOOD = """
name = "mine"
sites = ["layer1", "layer3.*"]
reductions = [8, 16]
dilations = [1, 4]
"""


def site(name: str, kind: str, channels: int = 64, height: int = 56, width: int = 56) -> Site:
    return Site(name, channels, height, width, 4, "NCHW", kind)


SUMMARY = ModelSummary(
    "net",
    (3, 224, 224),
    "",
    (3, 224, 224),
    (
        site("stem", "stem"),
        site("layer1", "bottleneck"),
        site("layer2", "bottleneck", 128, 28, 28),
        site("layer3.0", "block", 256, 14, 14),
        site("layer3.1", "block", 256, 14, 14),
        site("layer3", "bottleneck", 256, 14, 14),
        site("layer4", "head", 512, 4, 4),
    ),
    Cost(1000, 1000, 1000),
)


def of(text: str) -> SpaceFile:
    return parse_space(tomllib.loads(text), "mine.toml")


def names(space) -> list[str]:
    return [choice.name for choice in space.choices]


def labels(space, number: int) -> list[str]:
    return [option.label for option in space.choices[number].options]


def test_a_file() -> None:
    assert of(GOOD) == SpaceFile(
        "mine", "", ("layer1", "layer3.*"), SiteRule((8, 16), (1, 4)), False, ()
    )
    space_file = of(
        GOOD + "description = 'some'\noptional = false\n"
        "[at.'layer3.*']\nreductions = [4]\noptional = true\n[at.layer1]\n"
    )
    assert space_file.description == "some"
    assert space_file.rule == SiteRule((8, 16), (1, 4), False)
    assert space_file.at == (
        ("layer3.*", SiteRule((4,), (1, 4), True)),
        ("layer1", SiteRule((8, 16), (1, 4), False)),
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces(name) -> None:
    space = read_space(name)
    assert space.name == name
    assert space.description
    assert "\n" not in space.description
    assert space in shipped_spaces()
    # A run keeps it as JSON.
    assert parse_space(json.loads(json.dumps(space.to_dict())), name) == space
    assert search_space(space, SUMMARY).designs > 1


def test_a_file_and_back() -> None:
    space = of(GOOD + "together = false\n[at.layer1]\noptional = false\n")
    assert parse_space(json.loads(json.dumps(space.to_dict())), "x") == space


def changed(line: str) -> str:
    """The good file with a line of its own, in place of the one with its key."""
    key = line.partition(" ")[0]
    others = [old for old in GOOD.splitlines() if old.partition(" ")[0] != key]
    return "\n".join([*others, line])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("name = ''", "name: must not be empty"),
        ("name = 3", "name: must be text, not 3"),
        ("description = 3", "description: must be text, not 3"),
        ("reduction = [3]", "reduction: unknown key: did you mean reductions?"),
        (
            "xyz = 1",
            "xyz: unknown key: choose from name, sites, reductions, dilations, description",
        ),
        ("reductions = []", "reductions: must be a list such as [4, 8, 16], not []"),
        ("reductions = 4", "reductions: must be a list such as [4, 8, 16], not 4"),
        ("reductions = [4, 0]", "reductions[1]: must be an integer of at least 1, not 0"),
        ("reductions = [4, 8, -1]", "reductions[2]: must be an integer of at least 1, not -1"),
        ("dilations = [1.5]", "dilations[0]: must be an integer of at least 1, not 1.5"),
        ("dilations = [true]", "dilations[0]: must be an integer of at least 1, not true"),
        (
            "dilations = [1000000001]",
            "dilations[0]: must be an integer of at most 1000000000, not 1",
        ),
        ("dilations = ['1']", "dilations[0]: must be an integer of at least 1, not '1'"),
        ("dilations = [1, 2, 1]", "dilations: repeats a value: [1, 2, 1]"),
        ("together = 'no'", "together: must be true or false, not 'no'"),
        ("optional = 1", "optional: must be true or false, not 1"),
        ("sites = 'layer1'", "sites: 'layer1' is not one of paper, bottlenecks, stages, blocks; "),
        ("sites = []", "sites: must be a placement or a list of names, not []"),
        ("sites = 4", "sites: must be a placement or a list of names, not 4"),
        ("sites = ['layer1', 3]", "sites[1]: must be a site's name, not 3"),
        ("sites = ['']", "sites[0]: must be a site's name, not ''"),
        ("at = 3", "at: must be tables such as [at.layer3], not 3"),
        ("at = {layer1 = 3}", "at.layer1: must be a table, not 3"),
        ("[at.layer1]\nsites = 3", "at.layer1.sites: unknown key: choose from reductions, "),
        ("[at.layer1]\ndilation = 3", "at.layer1.dilation: unknown key: did you mean dilations?"),
        ("[at.layer1]\nreductions = [4, 0]", "at.layer1.reductions[1]: must be an integer"),
        ("[at.layer1]\ndilations = []", "at.layer1.dilations: must be a list"),
        ("[at.layer1]\noptional = 0", "at.layer1.optional: must be true or false, not 0"),
        ("together = true\n[at.layer1]\ndilations = [1]", "at: cannot be combined with together"),
    ],
)
def test_mistakes_name_the_key(line, message) -> None:
    with pytest.raises(SpaceError) as failure:
        of(changed(line))
    assert str(failure.value).startswith(f"mine.toml: {message}")


@pytest.mark.parametrize("key", ["name", "sites", "reductions", "dilations"])
def test_a_missing_key_is_named(key) -> None:
    content = {k: v for k, v in tomllib.loads(GOOD).items() if k != key}
    with pytest.raises(SpaceError, match=f"^mine.toml: {key}: is missing$"):
        parse_space(content, "mine.toml")


def test_files_in_another_format(tmp_path) -> None:
    with pytest.raises(SpaceError, match=r"^no space is called 'stage': did you mean stages\?"):
        read_space("stage")
    with pytest.raises(SpaceError, match=r"^no space is called 'zzz': choose from stages, bottle"):
        read_space("zzz")
    with pytest.raises(SpaceError, match=r"gone\.toml cannot be read \(No such file"):
        read_space(str(tmp_path / "gone.toml"))
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(SpaceError, match=r"broken.toml is not a TOML file: Invalid value"):
        read_space(str(path))
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(SpaceError, match=r"broken.toml is not a TOML file: .*can't decode"):
        read_space(str(path))
    path.write_text(changed("dilations = [0]"))
    with pytest.raises(SpaceError, match=r"broken.toml: dilations\[0\]: must be an integer"):
        read_space(str(path))


def test_sites_by_placement() -> None:
    assert names(search_space(read_space("bottlenecks"), SUMMARY)) == ["layer1", "layer2", "layer3"]
    stages = ["layer1", "layer2", "layer3", "layer4"]
    assert names(search_space(read_space("stages"), SUMMARY)) == stages
    assert names(search_space(read_space("mobile"), SUMMARY)) == stages
    blocks = names(search_space(read_space("blocks"), SUMMARY))
    assert blocks == [site.name for site in SUMMARY.sites[1:]]


def test_one_decision_for_all_sites() -> None:
    space = search_space(read_space("paper"), SUMMARY)
    assert names(space) == ["layer1 to layer3"]
    assert space.designs == 17
    assert [site.name for site in space.choices[0].sites] == ["layer1", "layer2", "layer3"]
    assert {
        (insertion.site, insertion.reduction, insertion.dilation)
        for insertion in space.insertions((16,))
    } == {(name, 32, 6) for name in ("layer1", "layer2", "layer3")}


def test_names_and_globs_are_in_network_order() -> None:
    assert names(search_space(of(GOOD), SUMMARY)) == ["layer1", "layer3.0", "layer3.1"]
    everywhere = search_space(of(changed("sites = ['layer4', '*', 'layer1']")), SUMMARY)
    assert names(everywhere) == [site.name for site in SUMMARY.sites]
    with pytest.raises(SpaceError) as failure:
        search_space(of(changed("sites = ['layer1', 'layr2']")), SUMMARY)
    assert str(failure.value) == (
        "space mine names 'layr2', but net has no such site: did you mean layer2, layer4, layer3? "
        "'bamsearch sites net' lists all"
    )


def test_the_stem_where_it_is_asked_for() -> None:
    space = search_space(read_space("bottlenecks"), SUMMARY, with_stem=True)
    assert names(space) == ["stem", "layer1", "layer2", "layer3"]
    only = replace(SUMMARY, sites=SUMMARY.sites[:1])
    with pytest.raises(NoSiteError, match=r"^net, space stages: no site in placement 'stages'"):
        search_space(read_space("stages"), only)
    assert names(search_space(read_space("stages"), only, with_stem=True)) == ["stem"]


def test_a_model_without_sites() -> None:
    none = replace(SUMMARY, sites=())
    for with_stem in (False, True):
        with pytest.raises(NoSiteError, match=r"^net, space stages: no spatial bottleneck"):
            search_space(read_space("stages"), none, with_stem=with_stem)


def test_rules_of_their_own() -> None:
    rules = "[at.'layer3.1']\nreductions = [2]\noptional = false\n[at.'layer3*']\ndilations = [6]\n"
    space = search_space(of(GOOD + rules), SUMMARY)
    assert labels(space, 0) == ["off", "r8 d1", "r8 d4", "r16 d1", "r16 d4"]
    assert labels(space, 1) == ["off", "r8 d6", "r16 d6"]
    # The first rule that matches, and no other.
    assert labels(space, 2) == ["r2 d1", "r2 d4"]
    assert space.designs == 5 * 3 * 2
    with pytest.raises(SpaceError, match=r"^space mine: at.layer4: no such site in the space"):
        search_space(of(GOOD + "[at.layer4]\ndilations = [6]\n"), SUMMARY)
    with pytest.raises(SpaceError, match=r"^space mine names 'layer9', but net has no such site"):
        search_space(of(GOOD + "[at.layer9]\ndilations = [6]\n"), SUMMARY)


def test_sites_that_must_have_bam() -> None:
    space = search_space(of(changed("optional = false")), SUMMARY)
    assert labels(space, 0) == ["r8 d1", "r8 d4", "r16 d1", "r16 d4"]
    assert space.designs == 4**3
    together = search_space(of(changed("optional = false\ntogether = true")), SUMMARY)
    assert together.designs == 4


def test_a_function_is_counted_once() -> None:
    """On a 4x4 map d = 4 and d = 6 are equal; of 64 channels r = 64 and r = 100 both leave one."""
    text = changed("sites = ['layer1', 'layer4']").replace("[8, 16]", "[100, 64, 8]")
    space = search_space(of(text.replace("[1, 4]", "[6, 4, 1]")), SUMMARY)
    assert labels(space, 0) == ["off", *(f"r{r} d{d}" for r in (8, 64) for d in (1, 4, 6))]
    assert labels(space, 1) == ["off", *(f"r{r} d{d}" for r in (8, 64, 100) for d in (1, 4))]
    assert space.designs == 7 * 7


def test_what_bam_it_is_changes_the_costs() -> None:
    plain = search_space(of(GOOD), SUMMARY)
    gated = search_space(of(GOOD), SUMMARY, init="identity", num_classes=10)
    encoding = (1, 1, 0)
    assert gated.added(encoding, "params") == plain.added(encoding, "params") + 2
    assert gated.added(encoding, "gflops") == plain.added(encoding, "gflops")
    design = gated.design(gated.insertions(encoding))
    assert (design.init, design.variant, design.num_classes) == ("identity", "paper", 10)
    assert [insertion.site for insertion in design.insertions] == ["layer1", "layer3.0"]
    official = search_space(of(GOOD), SUMMARY, variant="official")
    # 13h + C + 1 in place of 5h + 3C + 3, with C = 64, h = 8 and with C = 256, h = 32
    difference = sum(8 * h - 2 * c - 2 for c, h in ((64, 8), (256, 32)))
    assert official.added(encoding, "params") == plain.added(encoding, "params") + difference
