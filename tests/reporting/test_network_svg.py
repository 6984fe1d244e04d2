"""The picture of a network as SVG: what a page and a reader rely on, read back from its XML."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bamsearch.records import Cost, Insertion, ModelSummary, Site
from bamsearch.reporting.network import network_picture
from bamsearch.reporting.network_svg import network_svg
from bamsearch.text import printable

SVG = "{http://www.w3.org/2000/svg}"


def site(name, channels, size, kind="block", reducer=None):
    return Site(name, channels, size, size, 224 // size, "NCHW", kind, reducer)


def summary(sites, model="net"):
    return ModelSummary(model, (3, 224, 224), "", (3, 224, 224), tuple(sites), Cost(0, 0, 0))


FOUR = [
    site("relu", 64, 112, "stem", "maxpool"),
    site("layer1", 256, 56, "bottleneck", "layer2"),
    site("layer2.0", 512, 28),
    site("layer2", 512, 28, "head", "avgpool"),
]
MANY = [
    site("stem", 16, 112, "bottleneck", "pool"),
    *(site(f"features.denseblock1.denselayer{at}", 24 + 4 * at, 56) for at in range(40)),
    site("features.denseblock1", 256, 56, "bottleneck", "features.transition1"),
    site("features.denseblock2", 2048, 7, "head"),
]
HOSTILE = [
    site("<script>alert(1)</script>", 8, 112, "stem", "a&b"),
    site("quo\"te's & ]]> | ,", 16, 56, "bottleneck", "<b>"),
    site("line\nbreak\tand\rmore", 32, 28),
    site("層の名前" * 20, 64, 14, "head", "\x00"),
]
NETWORKS = {"four": FOUR, "many": MANY, "hostile": HOSTILE, "none": []}
EVERYWHERE = {name: [Insertion(site.name) for site in sites] for name, sites in NETWORKS.items()}


def draw(sites, insertions=()):
    return network_svg(network_picture(summary(sites), insertions))


def groups(svg):
    return list(ElementTree.fromstring(svg).iter(f"{SVG}g"))


def part(group, name):
    """The element of a site that has this class."""
    (element,) = (child for child in group if child.get("class") == name)
    return element


def number(element, name):
    return float(element.get(name))


def view_box(svg):
    return [float(text) for text in ElementTree.fromstring(svg).get("viewBox").split()]


def test_every_site_is_there_and_marked_where_there_is_bam():
    svg = draw(FOUR, [Insertion("layer2.0", 32, 1), Insertion("layer1", 16, 6)])
    result = [
        (g.get("data-site"), g.get("class"), part(g, "r").text, part(g, "d").text)
        for g in groups(svg)
    ]
    assert result == [
        ("relu", "site", None, None),
        ("layer1", "site on", "r16", "d6"),
        ("layer2.0", "site on", "r32", "d1"),
        ("layer2", "site", None, None),
    ]
    assert all(part(g, name) is not None for g in groups(svg) for name in ("map", "dot", "lead"))


def test_designs_of_one_network_differ_in_marks_and_words_alone():
    """So that a page can show another design by class and text."""

    def without_design(svg):
        root = ElementTree.fromstring(svg)
        for element in root.iter():
            if element.get("class") in ("site on", "r", "d", "net-title", "net-desc"):
                element.set("class", element.get("class").removesuffix(" on"))
                element.text = None
        return [(e.tag, e.attrib, (e.text or "").strip()) for e in root.iter()]

    base, full = draw(MANY), draw(MANY, EVERYWHERE["many"])
    assert base != full
    assert without_design(base) == without_design(full)


def test_resolution_falls_and_channels_grow():
    maps = [part(g, "map") for g in groups(draw(FOUR))]
    heights = [number(site_map, "height") for site_map in maps]
    widths = [number(site_map, "width") for site_map in maps]
    assert heights[0] > heights[1] > heights[2] == heights[3]
    assert widths[0] < widths[1] < widths[2] == widths[3]
    centres = {number(site_map, "y") + number(site_map, "height") / 2 for site_map in maps}
    assert max(centres) - min(centres) < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_overlaps_or_leaves_the_picture(name):
    svg = draw(NETWORKS[name], EVERYWHERE[name])
    _, _, width, height = view_box(svg)
    edge = 0.0
    for group in groups(svg):
        box, mark = part(group, "map"), part(group, "bam")
        assert number(box, "x") > edge
        edge = number(box, "x") + number(box, "width")
        assert number(mark, "x") > edge, "BAM comes after its site"
        edge = number(mark, "x") + number(mark, "width")
        assert number(part(group, "r"), "y") < number(part(group, "d"), "y") < height
        assert number(box, "y") > 0
    assert edge < width


def test_r_and_d_of_neighbours_do_not_touch():
    """A digit of the bold 10-pixel font is 6 to 7 pixels wide: r16 about 18."""
    for name in ("four", "many"):
        places = [number(part(g, "r"), "x") for g in groups(draw(NETWORKS[name]))]
        assert min(after - before for before, after in pairwise(places)) >= 20


def test_labels_of_neighbouring_stages_do_not_touch():
    root = ElementTree.fromstring(draw(MANY))
    names = [element for element in root if element.get("class") == "name"]
    assert [name.text for name in names][-2:] == ["features.denseblock1", "features.denseblock2"]
    for before, after in pairwise(names):
        half = 7 * (len(before.text) + len(after.text)) / 2
        assert number(after, "x") - number(before, "x") > half


@pytest.mark.parametrize("name", NETWORKS)
def test_names_of_any_kind_survive(name):
    svg = draw(NETWORKS[name], EVERYWHERE[name])
    names = [printable(site.name) for site in NETWORKS[name]]
    assert [g.get("data-site") for g in groups(svg)] == names
    assert "<script" not in svg
    assert "<b>" not in svg


def test_what_xml_cannot_hold_is_shown_by_its_code():
    (group,) = groups(draw([site("a\x00\x1b\ud800b", 8, 112, "head")]))
    assert group.get("data-site") == r"a\x00\x1b\ud800b"


@pytest.mark.parametrize("name", NETWORKS)
def test_it_stands_alone(name):
    svg = draw(NETWORKS[name])
    root = ElementTree.fromstring(svg)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"script", "image", "use", "a", "foreignObject", "animate", "set", "link"}
    assert svg.count("http") == 1, "the name of SVG's namespace"
    assert not re.search(r"href|url\(|@import|@font-face| on\w+=", svg)


def test_it_is_said_in_words():
    root = ElementTree.fromstring(draw(FOUR, [Insertion("layer1", 8, 2)]))
    assert root.get("role") == "img"
    assert [element.tag for element in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "net: BAM at 1 of 4 sites"
    assert root[1].text.endswith("BAM after: layer1 r8 d2.")
    tooltip = next(iter(groups(draw(FOUR))))[0]
    assert (tooltip.tag, tooltip.text) == (f"{SVG}title", "relu, stem, 64×112×112, before maxpool")


def test_a_network_without_sites_says_so():
    assert "no site for BAM" in draw([])


def test_a_design_has_one_picture_whatever_the_order():
    insertions = EVERYWHERE["four"]
    assert draw(FOUR, insertions) == draw(FOUR, insertions[::-1])


def test_numbers_have_two_decimals_at_most():
    for sites in NETWORKS.values():
        svg = draw(sites)
        numbers = re.findall(r'="(-?[\d.]+)"', svg)
        assert not [number for number in numbers if not re.fullmatch(r"-?\d+(\.\d{1,2})?", number)]


def test_styles_reach_nothing_outside_the_picture():
    style = ElementTree.fromstring(draw(FOUR)).find(f"{SVG}style").text
    rules = re.sub(r"@media[^{]*{", "", style)
    selectors = [
        selector for group in re.findall(r"([^{}]+){", rules) for selector in group.split(",")
    ]
    assert len(selectors) > 20
    assert {selector.split()[0].split(":")[0] for selector in selectors} == {".net"}


def luminance(colour):
    """WCAG 2.2's relative luminance of ``#rrggbb`` or ``#rgb``."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * s for w, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(scheme):
    style = ElementTree.fromstring(draw(FOUR)).find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    rules = light if scheme == "light" else dark
    (paper,) = re.findall(r"background: (#\w+)", rules)
    colours = dict(re.findall(r"--net-(\w+), (#\w+)", rules))
    assert set(colours) == {"ink", "fill", "bam", "muted"}
    for name in ("ink", "bam", "muted"):
        dim, bright = sorted((luminance(colours[name]), luminance(paper)))
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, f"{name} on the background, {scheme}"
