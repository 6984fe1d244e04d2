"""Random images, their labels, and a loss over whatever a network returns."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple

import pytest
import torch

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch, logits_of, loss_of, make_batch

Outputs = namedtuple("Outputs", ["logits", "aux"])


def test_a_batch_depends_on_its_seed_alone() -> None:
    state = torch.get_rng_state()
    batch, same, other = (make_batch((3, 4, 5), 6, seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(batch.images, same.images)
    assert torch.equal(batch.targets, same.targets)
    assert not torch.equal(batch.images, other.images)
    assert not torch.equal(batch.targets, other.targets)
    assert batch.images.shape == (6, 3, 4, 5)
    assert batch.targets.shape == (6,)
    assert make_batch((3, 2, 4, 5), 6, 1, dtype=torch.float64).images.dtype == torch.float64


def test_labels_cover_the_classes() -> None:
    batch = Batch(torch.zeros(4, 1), torch.tensor([0.0, 0.26, 0.5, 1 - 2**-53], dtype=torch.double))
    assert batch.labels(4).tolist() == [0, 1, 2, 3]
    assert batch.labels(1000).tolist() == [0, 260, 500, 999]
    assert batch.labels(1).tolist() == [0, 0, 0, 0]


def test_halves() -> None:
    batch = make_batch((1, 2, 2), 4, 0)
    first, second = batch.halves()
    assert torch.equal(torch.cat([first.images, second.images]), batch.images)
    assert torch.equal(torch.cat([first.targets, second.targets]), batch.targets)
    assert len(first.images) == len(second.targets) == 2


def test_every_floating_tensor_is_an_output() -> None:
    flat, maps = torch.randn(2, 3), torch.randn(2, 5, 4, 6)
    clip = torch.randn(2, 7, 3, 4, 6)
    left_out = [
        torch.zeros(2, 3, dtype=torch.long),
        torch.zeros(2),
        torch.zeros(3, 3),
        "text",
        None,
    ]
    output = OrderedDict(out=maps, more=Outputs(flat, [clip, *left_out]))
    result = logits_of(output, 2)
    assert [tuple(tensor.shape) for tensor in result] == [(2, 5), (2, 3), (2, 7)]
    assert torch.equal(result[1], flat)
    assert result[0][1, 4].item() == pytest.approx(maps[1, 4].double().mean().item(), abs=1e-6)
    assert result[2][1, 4].item() == pytest.approx(clip[1, 4].double().mean().item(), abs=1e-6)


def test_losses_of_all_outputs_are_summed() -> None:
    batch = Batch(torch.zeros(2, 1), torch.tensor([0.0, 0.5], dtype=torch.double))
    # Equal logits: the cross-entropy is log of the number of classes.
    output = Outputs(torch.zeros(2, 4), torch.ones(2, 6, 3, 3))
    assert loss_of(output, batch).item() == pytest.approx(math.log(4) + math.log(6))
    # log(1 + e^-1) where the label is the class with 1, log(1 + e) where it is not
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2
    assert loss_of(first, batch).item() == pytest.approx(expected)


def test_one_logit_is_two_classes() -> None:
    batch = Batch(torch.zeros(2, 1), torch.tensor([0.0, 0.5], dtype=torch.double))
    # binary cross-entropy: softplus(z) where the label is 0, softplus(-z) where it is 1
    expected = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(-3))) / 2
    assert loss_of(torch.tensor([[2.0], [3.0]]), batch).item() == pytest.approx(expected)


def test_no_output_to_score() -> None:
    with pytest.raises(ScoreError, match=r"no tensor of shape \(2, channels, …\)"):
        logits_of({"boxes": torch.zeros(7, 4)}, 2)
