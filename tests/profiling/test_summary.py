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
    summary = summarise(SMALL)
    module = build_model(SMALL)
    assert list(summary.sites) == find_sites(module)
    assert summary.base == count(module, (3, 224, 224))
    assert (summary.part, summary.input_shape, summary.part_input) == (
        "",
        (3, 224, 224),
        (3, 224, 224),
    )
    assert (summary.published_params, summary.published_gmacs) == (1235496, 0.349)


@pytest.mark.parametrize("args", [((64, 96), None), (None, 10)])
def test_published_numbers_are_for_the_published_network(args):
    summary = summarise(SMALL, *args)
    assert (summary.published_params, summary.published_gmacs) == (None, None)
    if args[1] is None:
        assert summary.input_shape == (3, 64, 96)
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
        summary = summarise(f"{path}:net", (8, 8))
        widths.append(summary.base.params - 8 * 9 * 5 - 5)
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
    summary = summarise(SMALL)
    insertions = plan_insertions(
        summary.sites, "stages", overrides=[Insertion(summary.sites[1].name, 3, 2)]
    )
    design = Design(SMALL, summary.input_shape, insertions, variant, init)
    cost = cost_of(summary, design)
    counted = count(build(design), summary.input_shape)
    total = cost.total
    assert (total.params, total.macs, total.conv_linear_macs) == (
        counted.params,
        counted.macs,
        counted.conv_linear_macs,
    )
    assert len(cost.inserted) == len(insertions) > 1
    assert cost.base is summary.base


def test_an_empty_design_costs_the_base():
    summary = summarise(SMALL)
    cost = cost_of(summary, Design(SMALL, summary.input_shape))
    assert cost.total == summary.base
    assert cost.added == Cost(0, 0, 0)


def test_a_site_of_another_model():
    summary = summarise(SMALL)
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        cost_of(summary, Design(SMALL, summary.input_shape, (Insertion("layer9"),)))


def test_a_module_at_hand():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
    )
    summary = summarise_base("mine", Base(module, (3, 8, 8)))
    # the last convolution has no padding: it makes 2x2 of 4x4
    assert [(site.name, site.reducer) for site in summary.sites] == [("1", "2"), ("2", "3")]
    # biases are no MACs: 8·8·(27·4 + 36·8) + 2·2·72·8
    assert summary.base.macs == 64 * (108 + 288) + 4 * 576
    assert summary.published_params is None


def test_no_site_is_said_with_model_and_size():
    none = ModelSummary("vit", (3, 64, 32), "", (3, 64, 32), (), Cost(0, 0, 0))
    with pytest.raises(NoSiteError, match="vit has no spatial bottleneck at 3x64x32"):
        check_has_sites(none)
    check_has_sites(summarise(SMALL))
