"""Scores by name as functions of a design: the same number on every call."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, ModelError, ScoreError
from bamsearch.graph.models import build_model
from bamsearch.profiling.costs import cost_of
from bamsearch.records import Design, Insertion
from bamsearch.score import zero_cost
from bamsearch.score.batch import make_batch
from bamsearch.score.networks import Networks
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import DEFAULT_SCORE, SCORES

BUILT = [name for name, score in SCORES.items() if score.needs_module]


def function_of(name: str):
    return getattr(zero_cost, name)


def test_the_table() -> None:
    assert list(SCORES) == [
        *("synflow", "grad_norm", "snip", "jacob_cov", "naswot", "zico", "params", "macs")
    ]
    assert DEFAULT_SCORE in SCORES
    for name, score in SCORES.items():
        assert score.name == name
        assert (score.batch > 0) == score.needs_module == ("arXiv" in score.paper)
        assert score.passes
        assert score.failure
        assert not score.needs_module or callable(function_of(name))


@pytest.mark.parametrize("name", BUILT)
def test_a_score_is_its_function_of_the_designs_network(name, summary, toy, design) -> None:
    wanted = design(("layer1", 4, 2), ("layer3", 8, 1))
    network = Networks(summary, module=toy, seed=5).network(wanted)
    batch = make_batch((3, 16, 16), SCORES[name].batch, 5)
    result = make_scorer(name, summary, module=toy, seed=5)(wanted)
    assert result == function_of(name)(network, batch)
    assert isinstance(result, float)
    assert math.isfinite(result)


@pytest.mark.parametrize("name", BUILT)
def test_the_order_and_the_past_do_not_matter(name, summary, toy, design) -> None:
    two_bams, other = design(("layer1", 4, 1), ("layer2", 8, 2)), design(("layer2", 16, 1))
    scorer = make_scorer(name, summary, module=toy)
    first = [scorer(each) for each in (two_bams, other, design(), two_bams)]
    torch.manual_seed(99)
    with torch.inference_mode():
        again = make_scorer(name, summary, module=toy)
        backwards = [again(each) for each in (design(), other, two_bams)]
    assert first == [*reversed(backwards), first[0]]
    assert len(set(first)) == 3
    if name != "synflow":  # which looks at no images
        assert make_scorer(name, summary, module=toy, seed=1)(design()) != first[2]


@pytest.mark.parametrize("name", BUILT)
def test_the_caller_has_all_as_it_was(name, summary, toy, design) -> None:
    module = copy.deepcopy(toy).train()
    before = copy.deepcopy(module.state_dict())
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        make_scorer(name, summary, module=module)(design(("layer1", 16, 4)))
        assert not torch.is_grad_enabled()
    assert torch.equal(random, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert module.training
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("name", ["params", "macs"])
def test_costs(name, summary, design) -> None:
    scorer = make_scorer(name, summary)
    for wanted in (
        design(),
        design(("layer1", 16, 4)),
        design(("layer1", 4, 1), ("layer3", 8, 2), init="identity"),
        design(("layer3", 4, 1), variant="official"),
    ):
        assert scorer(wanted) == getattr(cost_of(summary, wanted).total, name)
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        scorer(design(("layer9", 16, 4)))


def test_behind_a_closed_gate_a_design_is_scored_as_if_it_were_open(summary, toy, design) -> None:
    scorer = make_scorer("naswot", summary, module=toy)
    for at in (("layer1", 16, 4), ("layer1", 4, 1)):
        assert scorer(design(at, init="identity")) == scorer(design(at))


def test_synflow_cannot_tell_r_and_d(resnet18, design) -> None:
    # What the table says of it, on a network by its name.
    scorer = make_scorer("synflow", resnet18)
    base = scorer(design(model="resnet18"))
    for sites, r, d in ((["layer1"], 4, 1), (["layer1"], 32, 2), (["layer1", "layer2"], 4, 2)):
        wanted = design(*[(site, r, d) for site in sites], model="resnet18")
        assert scorer(wanted) == pytest.approx(base + len(sites) * math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    ("model", "input_shape"),
    [
        ("googlenet", (3, 64, 64)),
        ("lraspp_mobilenet_v3_large", (3, 64, 64)),
        ("mobilenet_v2", (3, 64, 64)),
        ("swin_t", (3, 64, 64)),
        ("r3d_18", (3, 2, 16, 16)),
    ],
)
def test_other_networks(model, input_shape, summary_of) -> None:
    # named tuples in train mode, dense maps in a dictionary, ReLU6, GELU and NHWC, video
    base = build_model(model, input_shape, num_classes=10)
    summary = summary_of(model, base, input_shape)
    site = next(site for site in summary.sites if site.kind == "bottleneck")
    wanted = [
        Design(model, input_shape, insertions) for insertions in ((), (Insertion(site.name, 4, 1),))
    ]
    for name in ("synflow", "jacob_cov", "naswot"):
        scorer = make_scorer(name, summary, module=base)
        without, with_bam = map(scorer, wanted)
        assert without != with_bam


def test_of_a_detector_the_backbone_is_scored(summary_of, toy) -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = copy.deepcopy(toy)

        def forward(self, x: Tensor) -> list[int]:
            # what it returns depends on what it finds: neither traceable nor a tensor
            result = self.backbone(nn.functional.interpolate(x, scale_factor=2))
            return [0] * int(result.sum().item() > 0)

    detector = Detector()
    summary = summary_of("detector", detector, (3, 16, 16))
    assert (summary.part, summary.part_input) == ("backbone", (3, 32, 32))
    expected = function_of("snip")(copy.deepcopy(toy), make_batch((3, 32, 32), 4, 0))
    scorer = make_scorer("snip", summary, module=detector)
    assert scorer(Design("detector", (3, 16, 16))) == expected
    placed = (Insertion("backbone.layer1", 16, 1),)
    assert scorer(Design("detector", (3, 16, 16), placed)) != expected


def test_a_callable_is_given_the_design(summary, design) -> None:
    def sites_less_dilation(scored_design: Design) -> float:
        return len(scored_design.insertions) - sum(i.dilation for i in scored_design.insertions)

    scorer = make_scorer(sites_less_dilation, summary)
    assert scorer(design(("layer1", 16, 4), ("layer2", 16, 1))) == -3.0
    with pytest.raises(ScoreError, match="<lambda> failed on toy without BAM: ZeroDivision"):
        make_scorer(lambda _: 1 / 0, summary)(design())


@pytest.mark.parametrize(
    "kind", ["function", "optional", "object", "class", "method", "name", "name of the design"]
)
def test_functions_and_names_have_one_contract(kind, summary, toy, design, tmp_path) -> None:
    class Score:
        def __call__(self, module: nn.Module, design: Design) -> float:
            return self.method(module, design)

        def method(self, module: nn.Module, design: Design) -> float:
            assert module.training
            return sum(isinstance(part, BAM) for part in module.modules()) + 10.0

        @staticmethod
        def alone(design: Design, scale: float = 1.0) -> float:
            return scale * len(design.insertions) + 10.0

    file = tmp_path / "scores.py"
    file.write_text(
        "def both(module, design):\n"
        "    return sum(type(m).__name__ == 'BAM' for m in module.modules()) + 10\n"
        "def alone(design):\n    return len(design.insertions) + 10\n"
    )
    score = {
        "function": lambda module, design: Score().method(module, design),
        "optional": Score.alone,
        "object": Score(),
        "class": lambda *both: Score().method(*both),
        "method": Score().method,
        "name": f"{file}:both",
        "name of the design": f"{file}:alone",
    }[kind]
    scorer = make_scorer(score, summary, module=toy)
    assert scorer(design(("layer1", 16, 4), ("layer2", 16, 1))) == 12.0


@pytest.mark.parametrize(
    "score", [lambda: 1, lambda a, b, c: 1, lambda a, *, b: 1, lambda a, b, *, c: 1]
)
def test_a_function_of_anything_else_is_refused(score, summary) -> None:
    with pytest.raises(ScoreError, match=r"a score takes \(design\) or \(module, design\)"):
        make_scorer(score, summary)


SCORE_FILE = """
import torch
from helper_of_score import factor
def sites(module, design):
    modules = list(module.modules())
    assert module.training and torch.is_grad_enabled()
    return factor * sum(type(m).__name__ == "BAM" for m in modules) + len(design.insertions)
def spoils(module, design):
    value = sum(p.double().sum() for p in module.parameters()) + torch.rand(())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7)
    return value
def raises(module, design):
    raise RuntimeError("first line\\nsecond line")
def exits(module, design):
    raise SystemExit(3)
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a score file and a package, as the current one."""
    (tmp_path / "my-score.py").write_text(SCORE_FILE)
    (tmp_path / "helper_of_score.py").write_text("factor = 10\n")
    (tmp_path / "package_of_score").mkdir()
    (tmp_path / "package_of_score" / "__init__.py").write_text("")
    (tmp_path / "package_of_score" / "scores.py").write_text(SCORE_FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.endswith("_of_score") or "_of_score." in n]:
        del sys.modules[name]


def test_scores_of_the_users(folder, summary, toy, design) -> None:
    for home in ("my-score.py", f"{folder}/my-score.py", "package_of_score.scores"):
        scorer = make_scorer(f"{home}:sites", summary, module=toy)
        assert [scorer(design()), scorer(design(("layer1", 16, 4), ("layer2", 8, 2)))] == [0, 22]


@pytest.mark.usefixtures("folder")
def test_a_users_score_is_given_a_network_of_its_own(summary, toy, design) -> None:
    before = copy.deepcopy(toy.state_dict())
    scorer = make_scorer("my-score.py:spoils", summary, module=toy)
    random = torch.get_rng_state()
    wanted = design(("layer1", 16, 4))
    first = scorer(wanted)
    assert isinstance(first, float)
    assert scorer(wanted) == first
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in toy.state_dict().items())


@pytest.mark.usefixtures("folder")
def test_a_users_score_that_fails(summary, toy, design) -> None:
    wanted = design(*[(f"layer{i}", 16, 4) for i in (1, 2, 3)])
    with pytest.raises(ScoreError) as caught:
        make_scorer("my-score.py:raises", summary, module=toy)(wanted)
    assert str(caught.value) == (
        "my-score.py:raises failed on toy with BAM after layer1 (r=16, d=4), "
        "layer2 (r=16, d=4), layer3 (r=16, d=4): RuntimeError: first line"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(ScoreError, match="failed on toy without BAM: SystemExit: 3"):
        make_scorer("my-score.py:exits", summary, module=toy)(design())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "is nan"),
        (math.inf, "is inf"),
        (-math.inf, "is -inf"),
        (None, "is None"),
        ("3.5", "is '3.5'"),
        (True, "is True"),
        (1j, "is 1j"),
        ([1.0], r"is \[1.0\]"),
        (torch.tensor([1.0, 2.0]), r"is tensor\(\[1., 2.\]\)"),
        (torch.tensor(math.nan), r"is tensor\(nan\)"),
        ("x" * 99, "is 'x{59}…"),
    ],
    ids=str,
)
def test_what_is_not_a_finite_number(value, said, summary, design) -> None:
    scorer = make_scorer(lambda _: value, summary)
    with pytest.raises(ScoreError, match=f"<lambda> of toy without BAM {said}, not a finite"):
        scorer(design())


@pytest.mark.parametrize(
    "value", [3, 3.0, torch.tensor(3), torch.tensor([3.0]), torch.ones(()) * 3]
)
def test_what_is_a_number(value, summary, design) -> None:
    result = make_scorer(lambda _: value, summary)(design())
    assert type(result) is float
    assert result == 3


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synflwo", "no score is called 'synflwo'.*did you mean synflow"),
        ("Param", "did you mean params"),
        ("xyzzy", r"FILE.py:function.*choose from train, synflow, .*, macs$"),
        ("no-such.py:score", "no file no-such.py: a score is given as path/file.py:score"),
        ("my-score.py:site", "no score in my-score.py is called 'site': did you mean sites"),
        ("my-score.py:number", "no score in my-score.py is called 'number': it has sites, spoils"),
        ("no_such_package_x:score", "no_such_package_x cannot be imported"),
    ],
)
def test_no_such_score(name, message, summary) -> None:
    with pytest.raises(ScoreError, match=message) as caught:
        make_scorer(name, summary)
    assert "\n" not in str(caught.value)


def test_a_score_that_fails_on_a_network(summary, summary_of, toy, design) -> None:
    layers = (nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2))
    plain = nn.Sequential(*layers, nn.Conv2d(8, 8, 3), nn.Flatten())
    plain_summary = summary_of("plain", plain, (3, 32, 32))
    said = "naswot failed on plain without BAM: Sequential has no ReLU-like activation"
    with pytest.raises(ScoreError, match=said):
        make_scorer("naswot", plain_summary, module=plain)(Design("plain", (3, 32, 32)))
    with pytest.raises(ModelError, match="already has BAM"):
        make_scorer("naswot", plain_summary, module=nn.Sequential(plain, BAM(8)))
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        make_scorer("snip", summary, module=toy)(design(("layer9", 16, 4)))


def test_a_design_of_many_sites_is_named_in_one_line(summary, design) -> None:
    sites = [Insertion(f"features.{i}", 8, i) for i in range(1, 9)]
    with pytest.raises(ScoreError) as caught:
        make_scorer(lambda _: None, summary)(Design("net", (3, 16, 16), tuple(sites)))
    assert (
        "net with BAM after features.1 (r=8, d=1), features.2 (r=8, d=2), features.3 (r=8, d=3)"
        " and 5 more sites is None" in str(caught.value)
    )


def test_torch_is_not_loaded(summary, design) -> None:
    code = (
        "import sys\n"
        "from bamsearch.score.table import SCORES\n"
        "from bamsearch.score.scorer import make_scorer\n"
        "from bamsearch.records import Design, Insertion, ModelSummary\n"
        "summary = ModelSummary.from_json(sys.stdin.read())\n"
        "design = Design('toy', (3, 16, 16), (Insertion('layer1', 16, 4),))\n"
        "print([make_scorer(name, summary)(design) for name in ('params', 'macs')])\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=summary.to_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    total = cost_of(summary, design(("layer1", 16, 4))).total
    assert json.loads(result.stdout) == [total.params, total.macs]
