"""The picture of a network: its stages as values, and what it looks like in a terminal."""

import pytest
from rich.cells import cell_len

from bamsearch.errors import InvalidValueError
from bamsearch.graph.placement import plan_insertions
from bamsearch.records import Cost, Insertion, ModelSummary, Site
from bamsearch.reporting.network import name_range, network_picture, shorten
from bamsearch.reporting.network_text import network_text


def summary(sites, model="net", shape=(3, 224, 224), part=""):
    return ModelSummary(model, shape, part, shape, tuple(sites), Cost(0, 0, 0))


def site(name, channels, size, kind="block", reducer=None, frames=None):
    layout = "NCHW" if frames is None else "NCTHW"
    return Site(name, channels, size, size, 224 // size, layout, kind, reducer, frames)


def resnet(blocks=(3, 4, 23, 3), prefix="", head_pool="avgpool"):
    """Sites as of torchvision's ResNets with bottleneck blocks, at 224."""
    sites = [site(f"{prefix}relu", 64, 112, "stem", f"{prefix}maxpool")]
    for stage, count in enumerate(blocks, 1):
        channels, size = 128 * 2**stage, 112 // 2**stage
        first = 0 if stage == 1 else 1
        name = f"{prefix}layer{stage}"
        sites += [site(f"{name}.{at}", channels, size) for at in range(first, count - 1)]
        if stage < 4:
            sites.append(site(name, channels, size, "bottleneck", f"{prefix}layer{stage + 1}"))
        else:
            sites.append(site(name, channels, size, "head", head_pool))
    return sites


MOBILENET = [
    site("features.1", 16, 112, "bottleneck", "features.2"),
    site("features.3", 24, 56, "bottleneck", "features.4"),
    site("features.5", 32, 28),
    site("features.6", 32, 28, "bottleneck", "features.7"),
    *(site(f"features.{at}", 64, 14) for at in range(8, 11)),
    *(site(f"features.{at}", 96, 14) for at in range(11, 13)),
    site("features.13", 96, 14, "bottleneck", "features.14"),
    *(site(f"features.{at}", 160, 7) for at in range(15, 17)),
    site("features.17", 320, 7),
    site("features", 1280, 7, "head", "adaptive_avg_pool2d"),
]
DENSENET = [
    site("features.relu0", 64, 112, "stem", "features.pool0"),
    site("features.denseblock1", 256, 56, "bottleneck", "features.transition1"),
    site("features.denseblock2", 512, 28, "bottleneck", "features.transition2"),
    site("features.denseblock3", 1024, 14, "bottleneck", "features.transition3"),
    site("features.denseblock4", 1024, 7),
    site("relu", 1024, 7, "head", "adaptive_avg_pool2d"),
]
VIDEO = [
    site("layer1.0", 64, 56, frames=16),
    site("layer1", 64, 56, "bottleneck", "layer2", frames=16),
    site("layer2", 128, 28, "head", "avgpool", frames=8),
]
HOSTILE = [
    site("<script>alert(1)</script>", 8, 112, "stem", "a&b"),
    site("quo\"te's & ]]>", 16, 56, "bottleneck", "line\nbreak"),
    site("\x1b[31mred\x00", 32, 28),
    site("層の名前" * 9, 64, 28, "bottleneck", "‮evil"),
    site("features.denseblock3.denselayer24.conv2.and.so.on", 128, 14, "head"),
]


@pytest.mark.parametrize(
    ("sites", "stages"),
    [
        (
            resnet((2, 2, 3, 2)),
            [
                ("stem", ["relu"], "maxpool"),
                # the next stage is the reducer: its label says so
                ("layer1", [".0", "layer1"], ""),
                ("layer2", ["layer2"], ""),
                ("layer3", [".1", "layer3"], ""),
                ("layer4", ["layer4"], "avgpool"),
            ],
        ),
        (
            MOBILENET,
            [
                ("features.1", ["features.1"], "features.2"),
                ("features.3", ["features.3"], "features.4"),
                ("features.5–6", ["features.5", "features.6"], "features.7"),
                ("features.8–13", [f"features.{at}" for at in range(8, 14)], "features.14"),
                # "features" holds all other stages too, so it cannot name this one
                (
                    "features.15–17",
                    ["features.15", "features.16", "features.17", "features"],
                    "adaptive_avg_pool2d",
                ),
            ],
        ),
        (
            DENSENET,
            [
                ("stem", ["features.relu0"], "pool0"),
                ("features.denseblock1", ["features.denseblock1"], "transition1"),
                ("features.denseblock2", ["features.denseblock2"], "transition2"),
                ("features.denseblock3", ["features.denseblock3"], "transition3"),
                (
                    "features.denseblock4–relu",
                    ["features.denseblock4", "relu"],
                    "adaptive_avg_pool2d",
                ),
            ],
        ),
        ([], []),
    ],
    ids=["resnet", "mobilenet", "densenet", "vit"],
)
def test_stages_end_where_the_map_is_reduced(sites, stages):
    result = network_picture(summary(sites), []).stages
    assert [(s.label, [p.label for p in s.sites], s.reducer) for s in result] == stages


def test_channels_and_sizes_of_a_stage():
    stages = network_picture(summary(MOBILENET), []).stages
    assert [stage.channels for stage in stages] == ["16", "24", "32", "64–96", "160–1280"]
    assert stages[3].sizes == (14, 14)
    assert network_picture(summary(VIDEO), []).stages[0].sizes == (16, 56, 56)


def test_a_part_is_named_once_in_the_heading():
    sites = resnet((2, 2, 2, 2), prefix="backbone.body.", head_pool=None)
    picture = network_picture(summary(sites, "detector", part="backbone.body"), [])
    assert picture.heading == "detector · 3×224×224 · backbone.body gets 3×224×224"
    assert [stage.label for stage in picture.stages] == ["stem", *(f"layer{n}" for n in "1234")]
    assert [stage.reducer for stage in picture.stages] == ["maxpool", "", "", "", ""]


def test_title_and_description_say_what_is_inserted_where():
    insertions = [Insertion("layer2", 8, 1), Insertion("layer1.0", 16, 4)]
    picture = network_picture(summary(VIDEO, "r3d", (3, 16, 112, 112)), insertions)
    assert picture.title == "r3d: BAM at 2 of 3 sites"
    assert picture.description == (
        "r3d · 3×16×112×112. Stages: layer1 64×16×56×56, layer2 128×8×28×28. "
        "BAM after: layer1.0 r16 d4, layer2 r8 d1."
    )
    base = network_picture(summary([], "vit"), [])
    assert base.title == "vit: BAM at 0 of 0 sites"
    assert "BAM after: no site." in base.description


def test_an_unknown_site_is_refused():
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        network_picture(summary(VIDEO), [Insertion("layer9")])


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("features.8", "features.13", "features.8–13"),
        ("features.14", "features.15", "features.14–15"),
        ("inception4a", "inception4e", "inception4a–4e"),
        ("Mixed_5b", "Mixed_5d", "Mixed_5b–5d"),
        (".0", ".21", ".0–21"),
        ("backbone.layer2", "backbone.neck", "backbone.layer2–neck"),
        # "features.4.1–5" would be read as up to features.4.5
        ("features.4.1", "features.5", "features.4.1–features.5"),
        ("layer", "lane", "layer–lane"),
        ("denseblock4", "relu", "denseblock4–relu"),
        ("same", "same", "same"),
    ],
)
def test_a_range_of_names(first, last, text):
    assert name_range(first, last) == text


@pytest.mark.parametrize(
    ("text", "cells", "short"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 7, "abc…hij"),
        ("abcdefghij", 6, "abc…ij"),
        ("abcdefghij", 3, "a…j"),
        # each of these takes two cells
        ("層の名前層の名前", 8, "層の…前"),
        ("層の名前層の名前", 3, "…"),
    ],
)
def test_a_long_name_loses_its_middle(text, cells, short):
    assert shorten(text, cells) == short


def test_the_sketch():
    insertions = [Insertion("layer2", 16, 2), Insertion("layer3", 8, 4)]
    text = network_text(network_picture(summary(resnet()), insertions))
    assert text == (
        "   image ─ stem ─ layer1 ─ layer2 ─■─ layer3 ─■─ layer4\n"
        "    224    112      56       28   r16   14   r8    7\n"
        "            64     256      512   d2   1024  d4   2048\n"
    )


def test_neighbouring_blocks_with_one_r_and_d_share_a_line():
    options = {1: (16, 4), 2: (16, 4), 3: (8, 4), 5: (8, 4)}
    insertions = [Insertion(f"layer3.{at}", *option) for at, option in options.items()]
    text = network_text(network_picture(summary(resnet()), insertions))
    assert [line.strip() for line in text.splitlines()[3:]] == [
        ".1–2 r16 d4",
        ".3 r8 d4",
        ".5 r8 d4",
    ]


CASES = {
    "resnet": (summary(resnet(), "resnet101"), "paper"),
    "blocks": (summary(resnet(), "resnet101"), "blocks"),
    "mobilenet": (summary(MOBILENET), "blocks"),
    "densenet": (summary(DENSENET), "stages"),
    "video": (summary(VIDEO, shape=(3, 16, 112, 112)), "stages"),
    "part": (
        summary(resnet(prefix="backbone.body.", head_pool=None), part="backbone.body"),
        "stages",
    ),
    "vit": (summary([]), None),
    "hostile": (summary(HOSTILE, "<script>\n|"), "blocks"),
}


def case(name):
    network, placement = CASES[name]
    return network_picture(network, plan_insertions(network.sites, placement) if placement else ())


@pytest.mark.parametrize("width", [100, 60])
@pytest.mark.parametrize("name", ["blocks", "mobilenet", "densenet", "video", "part", "vit"])
def test_as_text(golden, name, width):
    golden(network_text(case(name), width), f"network_{name}_{width}.txt")


@pytest.mark.parametrize("width", [1, 40, 47, 80, 200])
@pytest.mark.parametrize("name", CASES)
def test_no_line_is_too_wide_or_ends_in_blanks(name, width):
    picture = case(name)
    text = network_text(picture, width)
    lines = text.split("\n")
    assert lines.pop() == ""
    assert max(map(cell_len, lines)) <= max(width, 40)
    assert all(line == line.rstrip() for line in lines)
    assert all(line.isprintable() for line in lines)
    after_stage = [stage for stage in picture.stages if stage.sites[-1].insertion]
    assert text.count("■") == len(after_stage)


def test_a_map_that_is_not_square_shows_height_and_width():
    wide = Site("layer1", 64, 14, 28, 16, "NHWC", "bottleneck")
    text = network_text(network_picture(summary([wide], shape=(3, 224, 448)), []))
    assert text.splitlines()[1].split() == ["224×448", "14×28"]


@pytest.mark.parametrize("cells", [-4, 0, 2, 3])
def test_a_text_is_shortened_to_three_cells_at_least(cells):
    assert shorten("layer1.0", cells) == "l…0"
