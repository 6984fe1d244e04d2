"""The score of a supernet: by hand, whatever was scored before, and without a trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.data.drawing import permutation
from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.errors import DataError, DivergedError, InvalidValueError
from bamsearch.records import Design
from bamsearch.score.supernet import scoring
from bamsearch.score.supernet.scoring import supernet_scorer
from bamsearch.score.supernet.train import train_supernet
from bamsearch.score.supernet.trained import Supernet


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Supernet]:
    return {}


@pytest.fixture
def supernet(trained_once, plan_of, digits, quick) -> Supernet:
    """One for all tests: nothing may change it."""
    if not trained_once:
        plan = plan_of(paths=1, recalibration=3)
        trained_once["it"] = train_supernet(plan, digits, quick, seed=4, device="cpu")
    return trained_once["it"]


def inputs_of(data: Data, images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (data.mean, data.std))
    return (images / 255 - mean) / std


def norms_of(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if hasattr(part, "running_mean")]


def by_hand(network: nn.Module, data: Data, batches: int) -> float:
    """Accuracy in per cent with statistics that are the mean of those of the first batches."""
    found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms_of(network)}
    handles = []
    for norm in found:

        def note(part: nn.Module, args: tuple[Tensor]) -> None:
            x = args[0].transpose(0, 1).flatten(1)
            found[part].append((x.mean(1), x.var(1)))

        handles.append(norm.register_forward_pre_hook(note))
    order = permutation(len(data.train), 4, 0)
    network.train()
    with torch.no_grad():
        for rows in order.split(256)[:batches]:
            network(inputs_of(data, data.train.images[rows]))
    for handle in handles:
        handle.remove()
    for norm, seen in found.items():
        assert len(seen) == batches
        norm.running_mean.copy_(torch.stack([mean for mean, _ in seen]).mean(0))
        norm.running_var.copy_(torch.stack([var for _, var in seen]).mean(0))
    network.eval()
    scores = network(inputs_of(data, data.validation.images))
    return 100 * float((scores.argmax(1) == data.validation.labels).float().mean())


@pytest.mark.parametrize("batches", [1, 3])
def test_a_score_is_the_accuracy_of_the_recalibrated_design(supernet, digits, design, batches):
    options = replace(supernet.options, recalibration=batches)
    score = supernet_scorer(supernet, digits, options=options, device="cpu")
    for asked in (design(), design(("1", 4, 2)), design(("1", 2, 1), ("3", 8, 2))):
        alone = supernet.network.standalone(asked)
        assert len(norms_of(alone)) == 3 + 2 * len(asked.insertions)
        assert score(asked) == pytest.approx(by_hand(alone, digits, batches))
    assert 20 < score(design()) <= 100


def test_every_statistic_is_new_and_momentum_is_kept(supernet, digits, design, monkeypatch):
    seen = []
    plain = scoring.evaluate
    monkeypatch.setattr(
        scoring, "evaluate", lambda live, split: seen.append(live.module) or plain(live, split)
    )
    asked = design(("1", 2, 1), ("3", 2, 2))
    supernet_scorer(supernet, digits, device="cpu")(asked)
    expected = supernet.network.standalone(asked)
    by_hand(expected, digits, 3)
    pairs = list(zip(norms_of(seen[0]), norms_of(expected), strict=True))
    assert len(pairs) == 7
    for norm, other in pairs:
        torch.testing.assert_close(norm.running_mean, other.running_mean)
        torch.testing.assert_close(norm.running_var, other.running_var)
        assert norm.momentum == 0.1
        assert norm.num_batches_tracked == 3
        assert not norm.training


@pytest.mark.parametrize("steps", [0, 3])
def test_order_and_repetition_change_nothing(supernet, digits, design, bytes_of, steps):
    before = bytes_of(supernet.network.module)
    options = replace(supernet.options, fine_tune=steps)
    score = supernet_scorer(supernet, digits, options=options, device="cpu")
    designs = [design(), design(("1", 2, 1)), design(("3", 8, 2), ("1", 4, 2)), design(("3", 2, 1))]
    first = [score(one) for one in designs]
    torch.manual_seed(77)
    supernet.network.choose(designs[1])
    assert [score(one) for one in reversed(designs)] == first[::-1]
    assert bytes_of(supernet.network.module) == before
    assert all(value.grad is None for value in supernet.network.module.parameters())


def test_fine_tuning_is_sgd_on_a_copy_at_its_own_rate(supernet, digits, design, monkeypatch):
    seen = []
    plain = scoring.evaluate
    monkeypatch.setattr(
        scoring, "evaluate", lambda live, split: seen.append(live.module) or plain(live, split)
    )
    bare = replace(
        supernet, recipe=replace(supernet.recipe, augment="none", momentum=0.5, weight_decay=0.1)
    )
    asked = design(("1", 4, 2), ("3", 2, 1))
    options = replace(supernet.options, fine_tune=7, fine_tune_lr=0.02)
    supernet_scorer(bare, digits, options=options, device="cpu")(asked)
    alone = supernet.network.standalone(asked).train()
    sgd = torch.optim.SGD(alone.parameters(), lr=0.02, momentum=0.5, weight_decay=0.1)
    # five steps an epoch, after the two of the training
    rows = [*permutation(1445, 4, 2).split(256)[:5], *permutation(1445, 4, 3).split(256)[:2]]
    for one in rows:
        sgd.zero_grad()
        images, labels = digits.train.images[one], digits.train.labels[one]
        F.cross_entropy(alone(inputs_of(digits, images)), labels).backward()
        sgd.step()
    for ours, theirs in zip(seen[0].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_row_is_of_the_largest(plan_of, digits, quick):
    seen = []
    plan = plan_of(paths=0, recalibration=2)
    trained = train_supernet(plan, digits, quick, seed=4, device="cpu", watch=seen.append)
    row = seen[-1].rows[-1]

    def expected(asked: Design) -> tuple[float, float]:
        alone = trained.network.standalone(asked)
        accuracy = by_hand(alone, digits, 2)
        logits = alone(inputs_of(digits, digits.validation.images))
        return accuracy, F.cross_entropy(logits, digits.validation.labels).item()

    found = (100 * row.validation_accuracy, row.validation_loss)
    assert found == pytest.approx(expected(plan.largest), rel=1e-5)
    assert found != pytest.approx(expected(plan.space.base), rel=1e-5)
    assert supernet_scorer(trained, digits, device="cpu")(plan.largest) == pytest.approx(found[0])


def test_the_callers_random_state_is_left(supernet, digits, design):
    score = supernet_scorer(
        supernet, digits, options=replace(supernet.options, fine_tune=2), device="cpu"
    )
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    score(design(("1", 2, 1)))
    assert torch.equal(torch.rand(3), expected)


def test_the_test_split_is_not_touched(supernet, digits, design, monkeypatch):
    monkeypatch.setattr(Data, "test", lambda data: pytest.fail("the test split was read"))
    supernet_scorer(supernet, digits, device="cpu")(design())


def test_what_cannot_be_scored_is_refused(supernet, digits, design):
    with pytest.raises(InvalidValueError, match="no slot at 0"):
        supernet_scorer(supernet, digits, device="cpu")(design(("0", 2, 1)))
    with pytest.raises(DataError, match=f"trained on data with hash {digits.facts.hash}"):
        supernet_scorer(supernet, load_data("digits", split_seed=1), device="cpu")
    wild = replace(supernet.options, fine_tune=20, fine_tune_lr=1e30)
    with pytest.raises(DivergedError, match=r"fine-tuning at a learning rate of 1e\+30"):
        supernet_scorer(supernet, digits, options=wild, device="cpu")(design())
