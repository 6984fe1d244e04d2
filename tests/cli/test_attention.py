"""``bamsearch attention``: what it says, what it writes and how it fails."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bamsearch.graph.designs import build, load, save
from bamsearch.records import Design, Insertion

NETS = """\
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


def small(num_classes=10):
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.layer4, network.fc = nn.Conv2d(256, 8, 3, 2, 1), nn.Linear(8, num_classes)
    return network


def grey():
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(),
                         nn.Conv2d(4, 8, 3, 2, 1))


def fixed():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(),
                         nn.Conv2d(4, 8, 3, 2, 1), nn.Flatten(), nn.Linear(8 * 8 * 8, 10))
"""
SITES = (Insertion("layer1", 8, 2), Insertion("layer2", 8))
DESIGN = Design("nets.py:small", (3, 64, 64), SITES)
MEANS_NOTHING = "the weights are random (seed 0), so the maps are meaningless"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with a design and its weights in ``design``, and photographs."""
    folder = tmp_path_factory.mktemp("attention")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.manual_seed(0)
        Path("nets.py").write_text(NETS, encoding="utf-8")
        save(DESIGN, "design", build(DESIGN))
        noise = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
        Image.fromarray(noise).save("photo.png")
        Image.fromarray(noise[:, ::-1]).save("other.png")
    return folder


@pytest.fixture(autouse=True)
def folder(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which the command runs."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


def fail(result, code: int, text: str) -> None:
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    said = re.sub(r"^executes code of .*\n", "", result.stderr)
    assert said.count("\n") == 1, said
    assert re.search(text, said), said


@pytest.fixture
def content(bamsearch_cli):
    """``content(*line)`` is what ``--json`` prints."""

    def run(*line: str) -> dict:
        result = bamsearch_cli("attention", *line, "--json", "-q")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


def test_without_a_folder_it_prints_numbers_and_writes_nothing(bamsearch_cli, folder):
    before = {*folder.rglob("*")}
    result = bamsearch_cli("attention", "design", "photo.png")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "nets.py:small · 3×64×64 · weights design/model.safetensors · variant paper, init paper"
    )
    assert "photo.png · 120×80, seen as 64×64" in lines
    three = r"0\.\d{3} 0\.\d{3} [01]\.\d{3}"
    row = rf"  layer1 +64×16×16   8   2   {three}   {three}   {three}   \d+, \d+"
    assert any(re.fullmatch(row, line) for line in lines), result.stdout
    assert result.stderr == (
        "executes code of nets.py\n"
        "\nNothing written. Next:\n  keep  bamsearch attention design photo.png -o maps\n"
    )
    assert {path for path in folder.rglob("*") if "__pycache__" not in path.parts} <= before


def test_the_line_to_keep_it_has_all_options(bamsearch_cli):
    options = ["--with", "design", "--full", "--mean", "0.5", "--seed", "3"]
    result = bamsearch_cli("attention", "design", "photo.png", "other.png", *options)
    assert result.exit_code == 0, result.stderr
    line = "bamsearch attention design photo.png other.png " + " ".join(options)
    assert result.stderr.endswith(f"  keep  {line} -o maps\n")


def test_a_sheet_for_each_photograph(bamsearch_cli):
    result = bamsearch_cli("attention", "design", "photo.png", "other.png", "-o", "a/maps")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == (
        "executes code of nets.py\n"
        "\nWritten   a/maps/photo.png\nWritten   a/maps/other.png\n"
        "Next:\n  compare  bamsearch attention design photo.png --with DESIGN -o DIR\n"
    )
    assert sorted(path.name for path in Path("a/maps").iterdir()) == ["other.png", "photo.png"]
    with Image.open("a/maps/photo.png") as sheet:
        assert sheet.format == "PNG"
        assert 800 < sheet.width <= 2500
    first = Path("a/maps/photo.png").read_bytes()
    assert bamsearch_cli("attention", "design", "photo.png", "-o", "again").exit_code == 0
    assert Path("again/photo.png").read_bytes() == first
    assert Path("a/maps/other.png").read_bytes() != first


def test_the_numbers_are_those_of_the_network(content):
    Image.open("photo.png").crop((0, 0, 96, 64)).save("exact.png")  # no pixel needs scaling
    actual = content("design", "exact.png", "--mean", "0.5", "--std", "0.25,0.25,0.25")
    middle = Image.open("photo.png").crop((16, 0, 80, 64))
    x = torch.from_numpy(np.asarray(middle) / 255.0).float().movedim(-1, 0)[None]
    network, seen = load("design").eval(), {}
    for name in ("layer1", "layer2"):
        bam = getattr(network.bam, name)
        bam.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    with torch.no_grad():
        network((x - 0.5) / 0.25)
        (image,) = actual["images"]
        assert [site_map["site"] for site_map in image["maps"]] == ["layer1", "layer2"]
        for site_map in image["maps"]:
            m_c, m_s, m = getattr(network.bam, site_map["site"]).attention(seen[site_map["site"]])
            for key, value in (("m_c", m_c.sigmoid()), ("m_s", m_s.sigmoid()), ("m", m)):
                numbers = [value.min().item(), value.mean().item(), value.max().item()]
                assert [*site_map[key].values()] == pytest.approx(numbers, abs=1e-5)
            row, column = divmod(m_s.argmax().item(), m_s.shape[-1])
            assert site_map["peak_cell"] == [row, column]
            cell = 64 / m_s.shape[-1]
            assert site_map["peak"] == pytest.approx(
                [16 + (column + 0.5) * cell, (row + 0.5) * cell]
            )


def test_all_the_facts_as_json(content):
    actual = content("design/design.json", "photo.png", "-o", "maps")
    (image,) = actual["images"]
    site_map = image["maps"][0]
    spread = {key: site_map.pop(key) for key in ("m_c", "m_s", "m", "peak_cell", "peak")}
    assert all({*spread[key]} == {"min", "mean", "max"} for key in ("m_c", "m_s", "m"))
    assert site_map == {
        "network": "design",
        "site": "layer1",
        "map_shape": [64, 16, 16],
        "reduction": 8,
        "dilation": 2,
        "gate": None,
        "seen": {"width": 64, "height": 64, "box": [20.0, 0.0, 100.0, 80.0]},
    }
    image.pop("maps")
    assert image == {"path": "photo.png", "width": 120, "height": 80, "sheet": "maps/photo.png"}
    assert actual["seed"] == 0
    assert actual["networks"] == [
        {
            "label": "design",
            "design": "design/design.json",
            "model": "nets.py:small",
            "input_shape": [3, 64, 64],
            "variant": "paper",
            "init": "paper",
            "weights": "design/model.safetensors",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        }
    ]


@pytest.fixture
def bright(folder):
    """A design whose M_s at layer1 grows with brightness, and with nothing else."""
    network = build(Design("nets.py:small", (3, 64, 64), (Insertion("layer1", 8, 1),)))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.startswith(("conv1", "layer1.0.conv", "bam.layer1.spatial")):
                value.zero_()
        network.conv1.weight[:, :, 3, 3] = 1  # each pixel for itself
        spatial = network.bam.layer1.spatial
        spatial.reduce.weight.fill_(1)
        for context in (spatial.context1, spatial.context2):
            context.weight[:, :, 1, 1] = 1
        spatial.project.weight.fill_(1)
        spatial.norm.weight.fill_(1e-5)  # far from the sigmoid's end
    save(Design("nets.py:small", (3, 64, 64), (Insertion("layer1", 8, 1),)), "bright", network)
    return "bright"


def spot(x: int, y: int, size=(160, 100)) -> Image.Image:
    image = Image.new("RGB", size, "black")
    image.paste("white", (x - 8, y - 8, x + 8, y + 8))
    return image


@pytest.mark.parametrize("position", [(50, 20), (110, 80), (80, 50)])
@pytest.mark.parametrize("full", [(), ("--full",)])
def test_the_peak_is_where_the_photograph_is_bright(content, bright, position, full):
    spot(*position).save("spot.png")
    (site_map,) = content(bright, "spot.png", *full)["images"][0]["maps"]
    assert site_map["map_shape"] == ([64, 16, 26] if full else [64, 16, 16])
    assert np.abs(np.subtract(site_map["peak"], position)).max() <= 10


def test_a_photograph_stored_on_its_side_is_the_upright_one(content, bright, bamsearch_cli):
    upright = spot(110, 30)
    upright.save("upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned right by 90 degrees
    upright.rotate(90, expand=True).save("stored.png", exif=exif)
    first, second = content(bright, "upright.png", "stored.png")["images"]
    assert first.pop("path") != second.pop("path")
    assert first == second
    assert (first["width"], first["height"]) == (160, 100)


def test_an_even_map_has_no_peak(content, bright, bamsearch_cli):
    Image.new("RGB", (64, 64), "black").save("black.png")
    network = load(bright)
    with torch.no_grad():
        network.bam.layer1.spatial.norm.weight.zero_()
    save(DESIGN_OF_BRIGHT, "even", network)
    (site_map,) = content("even", "black.png")["images"][0]["maps"]
    assert (site_map["peak"], site_map["peak_cell"]) == (None, None)
    assert "nowhere" in bamsearch_cli("attention", "even", "black.png").stdout


DESIGN_OF_BRIGHT = Design("nets.py:small", (3, 64, 64), (Insertion("layer1", 8, 1),))


def test_designs_side_by_side(bamsearch_cli, content):
    other = Design("nets.py:small", (3, 32, 48), (Insertion("layer1", 4, 1), Insertion("layer3")))
    save(other, "wide", build(other))
    line = ["design", "photo.png", "--with", "wide", "-o", "maps"]
    result = bamsearch_cli("attention", *line)
    assert result.exit_code == 0, result.stderr
    compared = content(*line[:-2])
    maps = compared["images"][0]["maps"]
    assert [(site_map["network"], site_map["site"]) for site_map in maps] == [
        ("design", "layer1"), ("design", "layer2"), ("wide", "layer1"), ("wide", "layer3"),
    ]  # fmt: skip
    assert maps[3]["map_shape"] == [256, 2, 3]
    assert maps[2]["seen"] == {"width": 48, "height": 32, "box": [0.0, 0.0, 120.0, 80.0]}
    alone = content("wide", "photo.png")["images"][0]["maps"]
    assert alone == maps[2:]


def test_rows_are_in_network_order_whatever_each_design_has(monkeypatch, bamsearch_cli):
    for name, site in (("late", "layer3"), ("early", "relu"), ("middle", "layer2")):
        design = Design("nets.py:small", (3, 64, 64), (Insertion(site),))
        save(design, name, build(design))
    seen = []
    monkeypatch.setattr(
        "bamsearch.attention.pictures.contact_sheet",
        lambda title, columns, sites: (
            seen.append((title, [c.label for c in columns], sites)) or b""
        ),
    )
    line = ["late", "photo.png", "--with", "early", "--with", "middle", "-o", "maps"]
    assert bamsearch_cli("attention", *line).exit_code == 0
    columns = ["late", "early", "middle"]
    assert seen == [("photo.png · 120×80", columns, ["relu", "layer2", "layer3"])]


def test_weights_side_by_side(content):
    for name, seed in (("a/best.pt", 1), ("b/best.pt", 2), ("last.pt", 3)):
        torch.manual_seed(seed)
        Path(name).parent.mkdir(exist_ok=True)
        torch.save(build(DESIGN).state_dict(), name)
    weights = ["--weights", "a/best.pt", "--weights", "b/best.pt", "--weights", "last.pt"]
    actual = content("design", "photo.png", *weights)
    assert [entry["label"] for entry in actual["networks"]] == ["a/best.pt", "b/best.pt", "last"]
    assert [entry["weights"] for entry in actual["networks"]] == weights[1::2]
    numbers = {json.dumps(entry["m"]) for entry in actual["images"][0]["maps"]}
    assert len(numbers) == 6
    (alone,) = content("design", "photo.png", "--weights", "last.pt")["networks"]
    assert (alone["label"], alone["weights"]) == ("design", "last.pt")


def test_one_design_twice_has_two_names(content):
    actual = content("design", "photo.png", "--with", "design")
    assert [network["label"] for network in actual["networks"]] == ["design", "design (2)"]


def test_random_weights_are_said_to_mean_nothing(bamsearch_cli, content):
    save(DESIGN, "random")
    result = bamsearch_cli("attention", "random", "photo.png", "-q")
    assert result.exit_code == 0
    assert result.stderr == (
        f"bamsearch: warning: random: {MEANS_NOTHING}: --weights FILE loads trained weights\n"
    )
    beside = bamsearch_cli("attention", "design", "photo.png", "--with", "random", "-q")
    assert f"random: {MEANS_NOTHING}: put trained weights beside its design.json" in beside.stderr
    first, same, another = (
        content("random", "photo.png", "--seed", seed)["images"] for seed in ("1", "1", "2")
    )
    assert first == same
    assert first != another


def test_closed_gates_are_said(bamsearch_cli):
    design = Design("nets.py:small", (3, 64, 64), SITES, init="identity")
    network = build(design)
    save(design, "closed", network)
    result = bamsearch_cli("attention", "closed", "photo.png", "-q")
    assert result.stderr == (
        "bamsearch: warning: closed: all gates are 0, as before training: M has no effect yet\n"
    )
    assert re.search(r"layer1 .* 8 +2 +0 +0\.", result.stdout)
    with torch.no_grad():
        network.bam.layer1.gate.fill_(0.25)
    save(design, "open", network)
    result = bamsearch_cli("attention", "open", "photo.png", "-q")
    assert result.stderr == ""
    assert re.search(r"layer1 .* 8 +2 +0\.25 +0\.", result.stdout)


def test_a_network_of_one_channel(content):
    design = Design("nets.py:grey", (1, 32, 32), (Insertion("3", 2, 1),))
    save(design, "grey", build(design))
    actual = content("grey", "photo.png")
    assert actual["networks"][0]["mean"] == pytest.approx([0.449])
    assert actual["images"][0]["maps"][0]["map_shape"] == [4, 16, 16]


def test_pictures_of_one_name_get_sheets_of_their_own(bamsearch_cli):
    for path in ("a/photo.png", "photo.jpg", "photo-2.png"):
        Path(path).parent.mkdir(exist_ok=True)
        Image.open("other.png").save(path)
    images = ["photo.png", "a/photo.png", "photo.jpg", "photo-2.png", "photo.png"]
    result = bamsearch_cli("attention", "design", *images, "-o", "maps", "-n")
    assert result.exit_code == 0, result.stderr
    assert re.findall(r"Would write +maps/(.*)", result.stderr) == [
        "photo.png", "photo-3.png", "photo-4.png", "photo-2.png",
    ]  # fmt: skip
    assert not Path("maps").exists()


def test_nothing_is_overwritten_without_force(bamsearch_cli):
    Path("maps").mkdir()
    Path("maps/other.txt").write_text("mine")
    Path("maps/photo.png").write_text("mine")
    line = ["attention", "design", "photo.png", "-o", "maps"]
    fail(bamsearch_cli(*line), 2, r"maps/photo\.png exists already: .* or add --force")
    assert Path("maps/photo.png").read_text() == "mine"
    assert bamsearch_cli(*line, "--force").exit_code == 0
    assert Path("maps/photo.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path("maps").iterdir()) == ["other.txt", "photo.png"]


def test_a_picture_is_never_overwritten_by_its_sheet(bamsearch_cli):
    before = Path("photo.png").read_bytes()
    line = ["attention", "design", "photo.png", "-o", ".", "--force"]
    fail(bamsearch_cli(*line), 2, r"photo\.png is one of the pictures to show: choose another")
    assert Path("photo.png").read_bytes() == before


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["nowhere", "photo.png"], "error: no design at nowhere: "),
        (["resnet18", "photo.png"], "error: no design at resnet18: "),
        (["design", "none.png"], r"error: no image at none\.png"),
        (["design", "."], "error: . is a folder: pass the images in it"),
        (["design", "nets.py"], r"error: nets\.py is not a readable image"),
        (["design", "photo.png", "nets.py"], r"error: nets\.py is not a readable image"),
        (["design"], "Missing argument 'IMAGE…'"),
        (["design", "photo.png", "-o", "nets.py"], r"error: nets\.py is a file, not a folder"),
        (["design", "photo.png", "-o", "nets.py/a"], r"nets\.py/a/photo\.png cannot be created"),
        (["design", "photo.png", "--weights", "none.pt"], r"error: no weights at none\.pt"),
        (["design", "photo.png", "--with", "nowhere"], "error: no design at nowhere"),
        (["design", "photo.png", *["--with", "design"] * 6], "7 networks do not fit .* at most 6"),
        (["design", "photo.png", "--mean", "a"], "'a' is not R,G,B, such as"),
        (["design", "photo.png", "--mean", "1,2"], "'1,2' is not R,G,B"),
        (
            ["design", "photo.png", "--std", "1,0,1"],
            "--std must be at least 1e-06",
        ),
        (["design", "photo.png", "--device", "cuda:99"], "error: device cuda:99 does not exist"),
    ],
)
def test_bad_input_is_one_line(bamsearch_cli, line, text, folder):
    fail(bamsearch_cli("attention", *line), 2, text)
    assert not list(folder.rglob(".writing*"))


def test_a_design_without_bam_is_nothing_to_do(bamsearch_cli):
    save(Design("nets.py:small", (3, 64, 64)), "base")
    for line in (["base", "photo.png"], ["design", "photo.png", "--with", "base"]):
        text = (
            "nothing to do: base has no BAM, so no attention maps: 'bamsearch insert nets.py:small"
        )
        fail(bamsearch_cli("attention", *line), 3, text)


def test_a_design_for_clips(bamsearch_cli):
    save(Design("r3d_18", (3, 4, 32, 32), (Insertion("layer1"),)), "clips")
    text = r"clips expects video clips, not photographs: use bamsearch\.attention_maps\("
    fail(bamsearch_cli("attention", "clips", "photo.png"), 2, text)


def test_a_network_of_one_size_shows_no_whole_photograph(bamsearch_cli):
    design = Design("nets.py:fixed", (3, 32, 32), (Insertion("3", 2, 1),))
    save(design, "fixed", build(design))
    assert bamsearch_cli("attention", "fixed", "photo.png").exit_code == 0
    text = r"does not accept images of shape \(1, 3, 32, 48\): .*; leave out --full"
    fail(bamsearch_cli("attention", "fixed", "photo.png", "--full"), 2, text)


def test_weights_that_are_not_finite(bamsearch_cli, monkeypatch):
    network = build(DESIGN)
    with torch.no_grad():
        network.bam.layer2.channel.expand.bias.fill_(float("nan"))
    save(DESIGN, "broken", network)
    text = r"broken/model\.safetensors has NaN or infinite weights in bam\.layer2\.channel\.expand"
    fail(bamsearch_cli("attention", "broken", "photo.png"), 2, text)
    # Finite weights can overflow: maps are checked too.
    monkeypatch.setattr("bamsearch.graph.designs.check_finite", lambda state, source: None)
    text = "error: broken has maps at layer2 that are not finite: .*broken/model.safetensors"
    fail(bamsearch_cli("attention", "broken", "photo.png", "-o", "maps", "--json"), 2, text)
    assert not Path("maps").exists()


def test_a_detector_resizes_itself(bamsearch_cli):
    site = "backbone.features.0.3"
    save(Design("ssdlite320_mobilenet_v3_large", (3, 320, 320), (Insertion(site),)), "ssd")
    result = bamsearch_cli("attention", "ssd", "photo.png", "-q", "--json")
    assert result.exit_code == 0, result.stderr
    (site_map,) = json.loads(result.stdout)["images"][0]["maps"]
    assert (site_map["site"], site_map["map_shape"][1:]) == (site, [80, 80])
    text = "ssd resizes photographs itself, .*: leave out --full"
    fail(bamsearch_cli("attention", "ssd", "photo.png", "--full"), 2, text)


def test_a_part_that_is_called_twice_has_a_row_for_each_call(content, bamsearch_cli):
    source = NETS.replace("def fixed", "class Twice(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.backbone = grey()\n\n"
        "    def forward(self, x):\n        if x.mean() > 1e9:\n            return x\n"
        "        return self.backbone(x) - self.backbone(-x)\n\n\ndef fixed")  # fmt: skip
    Path("nets.py").write_text(source, encoding="utf-8")
    save(Design("nets.py:Twice", (1, 32, 32), (Insertion("backbone.3", 1, 1),)), "twice")
    maps = content("twice", "photo.png")["images"][0]["maps"]
    assert [site_map["site"] for site_map in maps] == ["backbone.3", "backbone.3 (call 2)"]
    assert maps[0]["m_c"] != maps[1]["m_c"]
    whole = bamsearch_cli("attention", "twice", "photo.png", "-o", "maps")
    assert whole.exit_code == 0, whole.stderr
    with Image.open("maps/photo.png") as sheet:
        assert sheet.height > 3 * 320
