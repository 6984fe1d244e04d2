"""The training of a supernet: its steps by hand, which designs they see, and its remedies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bamsearch.data.drawing import permutation
from bamsearch.errors import DesignError, InvalidValueError
from bamsearch.graph.models import build_model
from bamsearch.records import Design
from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.train import train_supernet
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import start_with

ONE_STEP = Recipe("one", 1, 1445, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="step")


@pytest.fixture
def chosen(monkeypatch) -> list[Design]:
    """What a supernet computes, in order."""
    found: list[Design] = []
    plain = SlotNetwork.choose

    def spied(network: SlotNetwork, design: Design) -> None:
        found.append(design)
        plain(network, design)

    monkeypatch.setattr(SlotNetwork, "choose", spied)
    return found


def gradients(plan, digits, seed: int) -> Iterator[dict[str, torch.Tensor]]:
    """The gradient of each design of the first step, from a network of its own."""
    base = start_with(plan.space.base, digits, seed=seed).module
    network = SlotNetwork(plan.space, base, plan.options.share, seed)
    order = permutation(1445, seed, 0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (digits.mean, digits.std))
    inputs = (digits.train.images[order] / 255 - mean) / std
    labels = digits.train.labels[order]
    teacher = None
    for design in plan.designs(seed, 0, 0):
        alone = network.standalone(design).train()
        logits = alone(inputs)
        loss = F.cross_entropy(logits, labels)
        if teacher is None:
            teacher = logits.detach().log_softmax(1)
        elif plan.options.distil:
            soft = -(teacher.exp() * logits.log_softmax(1)).sum(1).mean()
            loss = (1 - plan.options.distil) * loss + plan.options.distil * soft
        loss.backward()
        yield {name: value.grad for name, value in alone.named_parameters()}


@pytest.mark.parametrize("distil", [0.0, 0.4])
def test_a_step_goes_down_the_sum_of_all_designs_gradients(plan_of, digits, distil):
    plan = plan_of(paths=2, distil=distil)
    before = start_with(plan.space.base, digits, seed=7).module.state_dict()
    wide = SlotNetwork(plan.space, build_model(plan.space.base.model, (3, 8, 8)), seed=7)
    before |= {k: v for k, v in wide.module.state_dict().items() if ".parts.all." in k}
    trained = train_supernet(plan, digits, ONE_STEP, seed=7, device="cpu")
    sums: dict[str, torch.Tensor] = {}
    for one in gradients(plan, digits, 7):
        for name, slope in one.items():
            key = name.replace("bam.1.", "bam.1.parts.all.").replace("bam.3.", "bam.3.parts.all.")
            total = sums.setdefault(key, torch.zeros_like(before[key]))
            total[tuple(slice(size) for size in slope.shape)] += slope
    for name, value in trained.network.module.named_parameters():
        expected = before[name] - 0.1 * sums[name]
        torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_sandwich_is_the_largest_the_smallest_and_random_ones(plan_of, digits, quick, chosen):
    plan = plan_of(paths=2)
    train_supernet(plan, digits, quick.changed(epochs=1), seed=3, device="cpu")
    steps = [chosen[i : i + 4] for i in range(0, 20, 4)]
    assert len(chosen) == 20
    assert all(step[:2] == [plan.largest, plan.smallest] for step in steps)
    for number, step in enumerate(steps):
        numbers = np.random.default_rng([3, 0, number])
        assert step[2:] == [plan.draw(numbers), plan.draw(numbers)]
    assert len({one for step in steps for one in step[2:]}) > 4


def test_without_a_sandwich_there_are_random_designs_only(plan_of, digits, quick, chosen):
    plan = plan_of(paths=1, sandwich=False)
    train_supernet(plan, digits, quick.changed(epochs=1), seed=3, device="cpu")
    assert chosen == [plan.draw(np.random.default_rng([3, 0, step])) for step in range(5)]


def test_a_design_that_is_largest_and_smallest_is_trained_once(plan_of):
    plan = replace(plan_of(paths=0), smallest=plan_of().largest)
    assert plan.designs(0, 0, 0) == [plan.largest]


def test_in_the_warm_up_the_base_alone_is_trained(plan_of, digits, quick, chosen):
    plan = plan_of(warmup=1, paths=1)
    train_supernet(plan, digits, quick, seed=3, device="cpu")
    assert set(chosen[:5]) == {plan.space.base}
    assert len(chosen) == 5 + 3 * 5
    assert plan.largest in chosen
    assert [plan.shown(epoch) for epoch in (0, 1)] == [plan.space.base, plan.largest]


def test_the_warm_up_is_a_training_of_the_base(plan_of, digits, quick):
    from bamsearch.training.engine import train

    class EnoughError(Exception):
        pass

    plan, rows = plan_of(warmup=1), []

    def watch(progress) -> None:
        if progress.epoch == 1:
            rows.extend(progress.rows)
            raise EnoughError

    with pytest.raises(EnoughError):
        train_supernet(plan, digits, quick, seed=3, device="cpu", watch=watch)
    plain = train(plan.space.base, digits, quick, seed=3, device="cpu").rows[0]
    assert rows[0].train_loss == pytest.approx(plain.train_loss, rel=1e-6)
    assert rows[0].train_accuracy == plain.train_accuracy


def test_it_starts_from_trained_weights(plan_of, digits, quick, tmp_path):
    from bamsearch.training.engine import train

    plan = plan_of(paths=0)
    train(plan.space.base, digits, quick, device="cpu", output=tmp_path / "base")
    file = str(tmp_path / "base" / "model.safetensors")
    start = start_with(plan.space.base, digits, weights=file)
    before = {name: value.clone() for name, value in start.module.state_dict().items()}
    still = replace(quick, epochs=1, lr=1e-30, new_lr_factor=1e29, weight_decay=0.0)
    trained = train_supernet(replace(plan, start=start), digits, still, device="cpu")
    fresh = SlotNetwork(plan.space, start.module).module
    for name, value in trained.network.module.named_parameters():
        if name in before:
            assert torch.equal(value, before[name]), name
    # BAM is new, and has the rate of what is new
    moved = [
        (value - fresh.get_parameter(name)).abs().max().item()
        for name, value in trained.network.module.named_parameters()
        if name not in before
    ]
    assert max(moved) > 1e-3


def test_identity_opens_its_gates(plan_of, digits, quick):
    plan = plan_of()
    base = replace(plan.space.base, init="identity")

    def gated(design: Design) -> Design:
        return replace(design, init="identity")

    plan = replace(
        plan,
        space=replace(plan.space, base=base),
        draw=lambda numbers: gated(plan_of().draw(numbers)),
        largest=gated(plan.largest),
        smallest=base,
    )
    trained = train_supernet(plan, digits, quick, device="cpu")
    gates = [v for n, v in trained.network.module.named_parameters() if n.endswith("gate")]
    assert len(gates) == 2
    assert all(gate.item() != 0 for gate in gates)


def test_the_callers_random_state_is_left(plan_of, digits, quick):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train_supernet(plan_of(), digits, quick.changed(epochs=1), device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_what_cannot_be_trained_is_refused(plan_of, design, digits, quick, monkeypatch):
    def fails(plan, says: str, error=InvalidValueError) -> None:
        with pytest.raises(error, match=says):
            train_supernet(plan, digits, quick, device="cpu")

    fails(plan_of(warmup=2), "warmup of 2 epochs: of 2 none is left for BAM")
    fails(replace(plan_of(), largest=design(("3", 1, 1))), "no r=1, d=1")
    small = replace(plan_of().space, base=design(num_classes=7))
    fails(replace(plan_of(), space=small), "7 classes, and digits has", DesignError)
    monkeypatch.setenv("WORLD_SIZE", "2")
    fails(plan_of(), "in one process: start it without torchrun")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup": -1}, "warmup must be an integer of at least 0, not -1"),
        ({"paths": 1.5}, "paths must be an integer"),
        ({"fine_tune": True}, "fine_tune must be an integer"),
        ({"recalibration": 0}, "recalibration must be an integer of at least 1"),
        ({"distil": 1.1}, "distil of 1.1: give a number from 0 to 1"),
        ({"distil": float("nan")}, "distil of nan"),
        ({"distil": 0.5, "sandwich": False}, "distil needs the largest design"),
        ({"fine_tune_lr": 0.0}, "fine_tune_lr of 0.0: give one above 0"),
        ({"share": "all"}, "share must be one of width, dilation, none, not 'all'"),
        ({"paths": 0, "sandwich": False}, "no paths and no sandwich"),
    ],
)
def test_options_out_of_range(options, says):
    with pytest.raises(InvalidValueError, match=says):
        SupernetOptions(**options)


def test_options_as_json():
    options = SupernetOptions(warmup=1, distil=0.5, share="dilation")
    assert SupernetOptions.from_dict(options.to_dict()) == options
