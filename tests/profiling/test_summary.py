import sys

import pytest
import torch
from torch import nn

from bamsearch import build, count, find_sites
from bamsearch.errors import InvalidValueError, ModelError, NoSiteError
from bamsearch.graph.base import Base
from bamsearch.graph.models import build_model
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling import cache, summary
from bamsearch.profiling.costs import cost_of
from bamsearch.profiling.summary import check_has_sites, summarise, summarise_base
from bamsearch.records import Cost, Design, Insertion, ModelSummary

SMALL = "squeezenet1_1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BAMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def surveys(monkeypatch) -> list[str]:
    """The models that were really looked at."""
    seen, real = [], summary._survey

    def note(model, *args):
        seen.append(model)
        return real(model, *args)

    monkeypatch.setattr(summary, "_survey", note)
    return seen


def test_it_is_what_the_library_says():
    found = summarise(SMALL)
    module = build_model(SMALL)
    assert list(found.sites) == find_sites(module)
    assert found.base == count(module, (3, 224, 224))
    assert (found.part, found.input_shape, found.part_input) == ("", (3, 224, 224), (3, 224, 224))
    assert (found.published_params, found.published_gmacs) == (1235496, 0.349)


@pytest.mark.parametrize("args", [((64, 96), None), (None, 10)])
def test_published_numbers_are_for_the_published_network(args):
    found = summarise(SMALL, *args)
    assert (found.published_params, found.published_gmacs) == (None, None)
    if args[1] is None:
        assert found.input_shape == (3, 64, 96)
        assert summarise(SMALL, (224, 224)).published_params == 1235496


def test_a_second_call_looks_at_nothing(folder, surveys):
    first = summarise(SMALL)
    assert summarise(SMALL) == first
    assert surveys == [SMALL]
    summarise(SMALL, (96, 96))
    summarise(SMALL, (96, 96))
    summarise(SMALL, None, 7)
    assert len(surveys) == 3


def test_a_damaged_entry_is_made_again(folder, surveys):
    first = summarise(SMALL)
    (path,) = (folder / "summaries").iterdir()
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert summarise(SMALL) == first
    assert path.read_bytes() == good
    assert len(surveys) == 2


def test_without_a_place_for_the_cache_it_works(tmp_path, monkeypatch, surveys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BAMSEARCH_CACHE", str(tmp_path / "file"))
    assert summarise(SMALL) == summarise(SMALL)
    assert len(surveys) == 2


def test_a_newer_bamsearch_looks_again(folder, surveys, monkeypatch):
    summarise(SMALL)
    monkeypatch.setattr(cache, "_source_hash", lambda: "other")
    summarise(SMALL)
    assert len(surveys) == 2


NET = """
from torch import nn
def net(num_classes=5):
    return nn.Sequential(
        nn.Conv2d(3, {width}, 3, padding=1), nn.Conv2d({width}, 8, 3, padding=1), nn.MaxPool2d(2),
        nn.Conv2d(8, num_classes, 3, padding=1),
    )
"""


def test_a_model_of_the_users_own_is_looked_at_each_time(folder, surveys, tmp_path):
    path = tmp_path / "nets.py"
    widths = []
    for width in (4, 16):
        path.write_text(NET.format(width=width))
        found = summarise(f"{path}:net", (8, 8))
        widths.append(found.base.params - 8 * 9 * 5 - 5)
    # 3x3 convolutions with biases: 3 → width → 8
    assert widths == [27 * width + width + 72 * width + 8 for width in (4, 16)]
    assert len(surveys) == 2
    assert not folder.exists()
    sys.modules.pop("bamsearch_model_nets", None)


def test_what_goes_wrong_is_not_kept(folder):
    with pytest.raises(ModelError):
        summarise("resnet10")
    with pytest.raises(ModelError):
        summarise(SMALL, (4, 4))
    assert not folder.exists()


def test_looking_leaves_the_random_state_alone(folder):
    torch.manual_seed(3)
    summarise(SMALL)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("init", ["paper", "identity"])
def test_a_design_costs_what_a_count_of_its_network_says(variant, init):
    found = summarise(SMALL)
    insertions = plan_insertions(
        found.sites, "stages", overrides=[Insertion(found.sites[1].name, 3, 2)]
    )
    design = Design(SMALL, found.input_shape, insertions, variant, init)
    cost = cost_of(found, design)
    counted = count(build(design), found.input_shape)
    total = cost.total
    assert (total.params, total.macs, total.conv_linear_macs) == (
        counted.params,
        counted.macs,
        counted.conv_linear_macs,
    )
    assert len(cost.inserted) == len(insertions) > 1
    assert cost.base is found.base


def test_an_empty_design_costs_the_base():
    found = summarise(SMALL)
    cost = cost_of(found, Design(SMALL, found.input_shape))
    assert cost.total == found.base
    assert cost.added == Cost(0, 0, 0)


def test_a_site_of_another_model():
    found = summarise(SMALL)
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        cost_of(found, Design(SMALL, found.input_shape, (Insertion("layer9"),)))


def test_a_module_at_hand():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
    )
    found = summarise_base("mine", Base(module, (3, 8, 8)))
    # the last convolution has no padding: it makes 2x2 of 4x4
    assert [(site.name, site.reducer) for site in found.sites] == [("1", "2"), ("2", "3")]
    # biases are no MACs: 8·8·(27·4 + 36·8) + 2·2·72·8
    assert found.base.macs == 64 * (108 + 288) + 4 * 576
    assert found.published_params is None


def test_no_site_is_said_with_model_and_size():
    none = ModelSummary("vit", (3, 64, 32), "", (3, 64, 32), (), Cost(0, 0, 0))
    with pytest.raises(NoSiteError, match="vit has no spatial bottleneck at 3x64x32"):
        check_has_sites(none)
    check_has_sites(summarise(SMALL))
