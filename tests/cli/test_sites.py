import json

import pytest

from bamsearch.records import Site


@pytest.mark.parametrize(
    "line",
    [
        ["resnet18"],
        ["mobilenet_v2", "--no-blocks"],
        ["swin_t"],
        ["fasterrcnn_resnet50_fpn", "--no-blocks"],
        ["r3d_18"],
        ["densenet121", "--no-blocks", "-r", "8", "-d", "2", "--variant", "official"],
    ],
    ids=lambda line: line[0],
)
def test_as_text(bamsearch_cli, golden, line):
    result = bamsearch_cli("sites", *line)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == f"\nNext:\n  insert  bamsearch insert {line[0]}\n"
    golden(result.stdout, f"sites_{line[0]}.txt")


def bottlenecks(run, *line: str) -> list[tuple[str, int, int, str]]:
    """(name, C, H, layout) of the sites that the paper's rule takes."""
    content = json.loads(run("sites", *line, "--json", "-q").stdout)
    return [
        (site["name"], site["channels"], site["height"], site["layout"])
        for site in content["sites"]
        if site["paper"]
    ]


@pytest.mark.parametrize(
    ("model", "sites"),
    [
        (
            "mobilenet_v2",
            [
                ("features.3", 24, 56, "NCHW"),
                ("features.6", 32, 28, "NCHW"),
                ("features.13", 96, 14, "NCHW"),
            ],
        ),
        (
            "swin_t",
            [
                ("features.1", 96, 56, "NHWC"),
                ("features.3", 192, 28, "NHWC"),
                ("features.5", 384, 14, "NHWC"),
            ],
        ),
        (
            "fasterrcnn_resnet50_fpn",
            [
                ("backbone.body.layer1", 256, 200, "NCHW"),
                ("backbone.body.layer2", 512, 100, "NCHW"),
                ("backbone.body.layer3", 1024, 50, "NCHW"),
            ],
        ),
        (
            "r3d_18",
            [
                ("layer1", 64, 56, "NCTHW"),
                ("layer2", 128, 28, "NCTHW"),
                ("layer3", 256, 14, "NCTHW"),
            ],
        ),
    ],
)
def test_the_textbook_answer(bamsearch_cli, model, sites):
    assert bottlenecks(bamsearch_cli, model) == sites


def test_json_holds_every_field_and_what_bam_costs(bamsearch_cli, golden):
    result = bamsearch_cli("sites", "resnet18", "--json", "-q")
    golden(result.stdout, "sites_resnet18.json")
    content = json.loads(result.stdout)
    assert set(content) == {"model", "input_shape", "part", "part_input", "sites"}
    for site in content["sites"]:
        network_keys = {"params", "macs", "paper", "largest_dilation"}
        assert set(site) == {*Site.__dataclass_fields__, *network_keys}
        # From there on every outer tap of a 3x3 kernel reads padding.
        assert site["largest_dilation"] == max(site["height"], site["width"])
    # 3Ch + 18h² + 5h + 3C + 3 at C = 64, h = 4: 768 + 288 + 20 + 192 + 3
    assert next(s["params"] for s in content["sites"] if s["name"] == "layer1") == 1271


def test_a_clip_costs_its_frames(bamsearch_cli):
    content = json.loads(bamsearch_cli("sites", "r3d_18", "--json", "-q").stdout)
    layer1 = next(site for site in content["sites"] if site["name"] == "layer1")
    # C = 64, h = 4, T·HW = 16·56·56 = 50176: (256 + 288 + 4)·50176 + 512 + 64·50176 + 128 + 2·50176
    assert (layer1["frames"], layer1["macs"]) == (16, 30_808_704)


def test_blocks_can_be_left_out(bamsearch_cli):
    def names(*line):
        content = json.loads(bamsearch_cli("sites", "resnet18", "--json", *line).stdout)
        return [site["name"] for site in content["sites"]]

    assert set(names()) - set(names("--no-blocks")) == {"layer1.0"}


def test_dilations_that_are_one_function_are_marked(bamsearch_cli):
    # resnet18 at 64: maps of 32, 16, 8, 4 and 2; a dilation of 8 is the map's size at layer2.
    said = bamsearch_cli("sites", "resnet18", "--input-size", "64", "-d", "8", "--no-blocks").stdout
    marks = [line for line in said.splitlines() if "computes the same" in line]
    assert marks == [
        "  At layer4, d=8 computes the same as d=2: all outer taps fall into the padding.",
        "  At layer3, d=8 computes the same as d=4: all outer taps fall into the padding.",
    ]
