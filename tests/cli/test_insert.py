"""What ``bamsearch insert`` says, against golden files, published numbers and sums done by hand."""

import json
import shlex
from pathlib import Path

import pytest
import torch
import torchvision

import bamsearch
from bamsearch.cli.next_steps import is_in_torchvision_models
from bamsearch.errors import InvalidValueError
from bamsearch.graph.models import default_input_shape, model_names
from bamsearch.records import Cost, ModelSummary


@pytest.fixture
def insert_json(bamsearch_cli):
    def run(*args: str) -> dict:
        result = bamsearch_cli("insert", *args, "--json", "-q")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


def test_resnet101_as_text(bamsearch_cli, golden):
    result = bamsearch_cli("insert", "resnet101")
    assert result.exit_code == 0
    golden(result.stdout, "insert_resnet101.txt")
    golden(result.stderr, "insert_resnet101_stderr.txt")


def test_resnet101_as_json(bamsearch_cli, golden):
    result = bamsearch_cli("insert", "resnet101", "--json", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    golden(result.stdout, "insert_resnet101.json")


def test_the_keys_of_the_json_are_the_contract(insert_json):
    content = insert_json("resnet101")
    promised = {"model", "input_shape", "flop_convention", "base", "bam", "added", "sites"}
    way = {"how", "why_attached", "compared"}
    assert set(content) == promised | way | {"part", "part_input", "variant", "init", "counter"}
    assert content["model"] == "resnet101"
    assert content["input_shape"] == [3, 224, 224]
    for name in ("base", "bam", "added"):
        assert list(content[name]) == ["params", "macs", "conv_linear_macs"]
        assert all(type(number) is int for number in content[name].values())
    for site in content["sites"]:
        assert list(site) == [
            "name",
            "channels",
            "height",
            "width",
            "stride",
            "kind",
            "reduction",
            "dilation",
            "params",
            "macs",
        ]
        assert [type(value) for value in site.values()] == [str, *[int] * 4, str, *[int] * 4]


def test_the_totals_are_sums(insert_json):
    content = insert_json("resnet101", "-r", "8")
    for key in ("params", "macs", "conv_linear_macs"):
        assert content["base"][key] + content["added"][key] == content["bam"][key]
    for key in ("params", "macs"):
        assert sum(site[key] for site in content["sites"]) == content["added"][key]


MEASURED_GMACS = {
    ("paper", 32): 7.8656,
    ("paper", 16): 7.9175,
    ("paper", 8): 8.0863,
    ("paper", 4): 8.6841,
    ("official", 32): 7.866,
    ("official", 16): 7.918,
    ("official", 8): 8.087,
    ("official", 4): 8.686,
}
"""resnet101 with BAM at its three bottlenecks, measured with fvcore before bamsearch was written.

Those of the paper's variant were cut off at the fourth decimal, the official ones rounded.
"""


@pytest.mark.parametrize(("variant", "reduction"), MEASURED_GMACS)
def test_resnet101_costs_what_was_measured_elsewhere(insert_json, variant, reduction):
    content = insert_json("resnet101", "-r", str(reduction), "--variant", variant)
    macs, measured = content["bam"]["macs"], MEASURED_GMACS[variant, reduction]
    if variant == "paper":
        assert macs // 10**5 == round(measured * 10**4)
    else:
        assert round(macs / 1e9, 3) == measured
    assert round(content["base"]["macs"] / 1e9, 3) == 7.834
    assert round(content["base"]["conv_linear_macs"] / 1e9, 3) == 7.801  # torchvision's _ops


@pytest.mark.parametrize("model", ["resnet18", "resnet101", "squeezenet1_1"])
def test_the_papers_parameters(insert_json, model):
    before_after = {
        "resnet18": (11.69, 11.71),
        "resnet101": (44.55, 44.91),
        "squeezenet1_1": (1.24, 1.26),
    }
    content = insert_json(model)
    result = tuple(round(content[key]["params"] / 1e6, 2) for key in ("base", "bam"))
    assert result == before_after[model]


# Site, r → parameters and MACs, summed by hand, term by term, with h = C / r.
# Parameters: W0, W1 2Ch + h + C; BN 2C and 2; 1x1 Ch + h; two 3x3 18h² + 2h; 1x1 h + 1:
# 3Ch + 18h² + 5h + 3C + 3. MACs: HW (Ch + 18h² + h) + 2Ch, pool CHW, norms 2C + 2HW.
BY_HAND = [
    # h = 16: 12288 + 4608 + 80 + 768 + 3; 3136·8720 + 8192 + 802816 + 512 + 6272
    ("layer1", 16, 17_747, 28_163_712),
    # h = 32: 49152 + 18432 + 160 + 1536 + 3; 784·34848 + 32768 + 401408 + 1024 + 1568
    ("layer2", 16, 69_283, 27_757_600),
    # h = 64: 196608 + 73728 + 320 + 3072 + 3; 196·139328 + 131072 + 200704 + 2048 + 392
    ("layer3", 16, 273_731, 27_642_504),
    # h = 32: 24576 + 18432 + 160 + 768 + 3; 3136·26656 + 16384 + 802816 + 512 + 6272
    ("layer1", 8, 43_939, 84_419_200),
]


@pytest.mark.parametrize(("site", "reduction", "params", "macs"), BY_HAND)
def test_a_site_costs_what_the_sum_by_hand_says(insert_json, site, reduction, params, macs):
    content = insert_json("resnet101", "--sites", site, "-r", str(reduction))
    assert [entry["name"] for entry in content["sites"]] == [site]
    assert content["sites"][0]["params"] == content["added"]["params"] == params
    assert content["sites"][0]["macs"] == content["added"]["macs"] == macs


def test_other_r_and_d_at_one_site(bamsearch_cli, insert_json, golden):
    line = ["resnet18", "-r", "32", "--at", "layer3:r=8,d=2", "--at", "layer4:d=6"]
    result = {
        site["name"]: (site["reduction"], site["dilation"]) for site in insert_json(*line)["sites"]
    }
    assert result == {"layer1": (32, 4), "layer2": (32, 4), "layer3": (8, 2), "layer4": (32, 6)}
    golden(bamsearch_cli("insert", *line).stdout, "insert_resnet18_at.txt")


def test_a_dilation_beyond_the_map_is_told(bamsearch_cli):
    result = bamsearch_cli("insert", "resnet18", "--sites", "layer4", "-d", "9")
    assert "At layer4, d=9 computes the same as d=7" in result.stdout


def test_sites_by_name_come_in_network_order(insert_json):
    content = insert_json("resnet18", "--sites", "layer4, layer1,layer1")
    assert [site["name"] for site in content["sites"]] == ["layer1", "layer4"]


@pytest.mark.parametrize(
    ("placement", "sites"),
    [
        ("paper", ["layer1", "layer2", "layer3"]),
        ("bottlenecks", ["layer1", "layer2", "layer3"]),
        ("stages", ["layer1", "layer2", "layer3", "layer4"]),
        ("blocks", ["layer1.0", "layer1", "layer2", "layer3", "layer4"]),
    ],
)
def test_placements(insert_json, placement, sites):
    content = insert_json("resnet18", "--sites", placement)
    assert [site["name"] for site in content["sites"]] == sites


def test_the_official_variant_and_the_gate(insert_json):
    # 3Ch + 18h² + 13h + C + 1 at C = 64, h = 4, and one gate: 768 + 288 + 52 + 64 + 1 + 1
    content = insert_json(
        "resnet18", "--sites", "layer1", "--variant", "official", "--init", "identity"
    )
    assert content["added"]["params"] == 1174
    assert (content["variant"], content["init"]) == ("official", "identity")


def test_other_classes_and_sizes(insert_json):
    plain, other = insert_json("resnet18"), insert_json("resnet18", "--num-classes", "10")
    assert plain["base"]["params"] - other["base"]["params"] == 990 * 513
    assert insert_json("resnet18", "--input-size", "64x96")["input_shape"] == [3, 64, 96]


def test_what_torchvision_counts_otherwise_is_reconciled(bamsearch_cli):
    text = bamsearch_cli("insert", "googlenet").stdout
    assert "torchvision: 1.498, conv + linear only" in text
    assert "torchvision publishes 6.625 M params" in text
    assert "publishes" not in bamsearch_cli("insert", "resnet18").stdout


def test_vit_has_nothing_to_do(bamsearch_cli):
    for command in ("insert", "sites"):
        result = bamsearch_cli(command, "vit_b_16", "--json")
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == (
            "bamsearch: nothing to do: vit_b_16 has no spatial bottleneck at 3x224x224: the "
            "resolution of its feature map never changes, so it has no site for BAM\n"
        )


def keep_line(stderr: str) -> list[str]:
    """What the last words of insert offer to keep the result with."""
    line = next(line for line in stderr.splitlines() if line.startswith("  keep"))
    return shlex.split(line)[1:]


@pytest.mark.parametrize(
    "line",
    [
        ["resnet18"],
        ["resnet18", "--sites", "layer2,layer4", "-r", "8", "-d", "2"],
        ["resnet18", "--sites", "stages", "--at", "layer4:r=4", "--at", "layer1:r=2,d=1"],
        ["resnet18", "--variant", "official", "--init", "identity", "--num-classes", "7"],
        ["resnet18", "--input-size", "64x96"],
    ],
)
def test_the_line_to_keep_it_keeps_just_this(bamsearch_cli, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = bamsearch_cli("insert", *line, "--json")
    program, *again = keep_line(shown.stderr)
    assert program == "bamsearch"
    written = bamsearch_cli(*again, "--json")
    assert written.exit_code == 0, written.stderr
    # only the network that is written was built, and checked
    way = {"how": "rewrite", "why_attached": None, "compared": "values"}
    assert json.loads(written.stdout) == json.loads(shown.stdout) | way
    assert (tmp_path / "resnet18-bam" / "design.json").is_file()


def test_the_line_of_python_is_offered_where_it_is_true(bamsearch_cli):
    assert "torchvision.models.resnet18())" in bamsearch_cli("insert", "resnet18").stderr
    assert "torchvision.models" not in bamsearch_cli("insert", "resnet18", "-r", "8").stderr
    for name in model_names():
        shape = default_input_shape(name)
        part = "backbone" if shape[-1] == 800 else ""
        summary = ModelSummary(name, shape, part, shape, (), Cost(0, 0, 0))
        callable_there = callable(getattr(torchvision.models, name, None))
        assert is_in_torchvision_models(summary) == (callable_there and len(shape) == 3), name


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pt"
    torch.save(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), path)
    return path


def test_weights_of_a_network_that_is_not_built_cannot_be_saved(weights_file, tmp_path):
    result = bamsearch.insert("squeezenet1_1", weights=str(weights_file), build=False)
    with pytest.raises(InvalidValueError, match="use build=True"):
        result.save(tmp_path / "design")
    assert list(tmp_path.iterdir()) == []


def test_weights_from_a_file_start_as_they_are(bamsearch_cli, weights_file, tmp_path):
    from bamsearch import load

    folder = tmp_path / "kept"
    line = ["insert", "squeezenet1_1", "--weights", str(weights_file), "-o", str(folder)]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()[:2]
    assert first.endswith(f"weights {weights_file} · BAM variant paper, init identity")
    assert second == "rewritten, equal to the base with all BAMs closed"
    assert (
        f"Written   {folder}/design.json\nWritten   {folder}/model.safetensors\n" in result.stderr
    )
    base = torchvision.models.squeezenet1_1(num_classes=5).eval()
    base.load_state_dict(torch.load(weights_file, weights_only=True))
    image = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(load(folder).eval()(image), base(image))


def test_other_classes_leave_the_head_out_and_say_so(bamsearch_cli, weights_file):
    line = ["insert", "squeezenet1_1", "--weights", str(weights_file), "--num-classes", "3", "-q"]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0
    assert result.stderr == (
        "bamsearch: warning: not loaded, random: classifier.1.weight, classifier.1.bias "
        "(other number of classes)\n"
    )


def test_what_is_left_random_depends_on_the_seed_alone(bamsearch_cli, weights_file, tmp_path):
    from safetensors.torch import load_file

    heads = []
    for number, seed in enumerate(["1", "1", "2"]):
        torch.rand(number)  # what ran before must not matter
        folder = tmp_path / str(number)
        line = ["insert", "squeezenet1_1", "--weights", str(weights_file), "--num-classes", "3"]
        result = bamsearch_cli(*line, "--seed", seed, "-o", str(folder))
        assert result.exit_code == 0
        heads.append(load_file(folder / "model.safetensors")["classifier.1.weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_init_paper_with_weights_warns(bamsearch_cli, weights_file):
    line = ["insert", "squeezenet1_1", "--weights", str(weights_file), "--init", "paper", "-q"]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0
    assert "init paper" in result.stdout.splitlines()[0]
    assert result.stderr.startswith("bamsearch: warning: init paper scales features by about 1.5")
    assert result.stderr.count("\n") == 1


COUNTED = """
from pathlib import Path
from torch import nn

def net(num_classes=10):
    with open(Path(__file__).with_name("builds"), "a") as file:
        file.write("x")
    conv, head = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, num_classes)
    return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
"""


@pytest.mark.parametrize("options", [["--weights", "w.pt"], [], ["--input-size", "64"]])
def test_the_model_is_built_once_and_traced_deeply_once(
    bamsearch_cli, tmp_path, monkeypatch, options
):
    from bamsearch.graph import base, network
    from bamsearch.graph.models import build_model

    monkeypatch.chdir(tmp_path)
    Path("counted.py").write_text(COUNTED)
    torch.save(build_model("counted.py:net").state_dict(), "w.pt")
    Path("builds").unlink()
    traces = []
    monkeypatch.setattr(base, "_TRACED", {})
    monkeypatch.setattr(
        network, "trace", lambda part, trace=network.trace: traces.append(1) or trace(part)
    )
    result = bamsearch_cli("insert", "counted.py:net", "--sites", "1", *options, "-o", "kept")
    assert result.exit_code == 0, result.stderr
    assert Path("builds").read_text() == "x"
    assert traces == [1]
